"""Which errors of a piece of work say something about the worker, and which only about the work."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any, Final

import torch

from mlfd_tune.core.errors import NonFiniteLossError, UserError
from mlfd_tune.tune.failures import FailureKind

__all__ = ["FAILED", "FAILED_AFTER", "FAILED_BY", "as_refusal", "as_result", "leaves_worker_sound"]

FAILED: Final = "failed"
"""In a result: the work failed; the traceback, whose last line is the reason."""
FAILED_BY: Final = "failed_by"
"""In such a result: a `FailureKind`, or ``refused``."""
FAILED_AFTER: Final = "failed_after"
"""In such a result: epochs that were over."""

_LONGEST = 20_000  # characters of a traceback
_OF_A_DEVICE = ("CUDA", "cuDNN", "CUDNN", "CUBLAS", "NCCL")
_OF_MEMORY = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)


def leaves_worker_sound(error: BaseException) -> bool:
    """Tell whether the process may go on to other work after an exception.

    A process that asked for more memory than there is, or whose device reported an error, may not
    be what it was; a new one takes its place.
    """
    return not any(
        isinstance(one, _OF_MEMORY)
        or (isinstance(one, RuntimeError) and any(name in str(one) for name in _OF_A_DEVICE))
        for one in _chain(error)
    )


def as_result(error: Exception, after: int) -> dict[str, Any]:
    """Return an exception as a result, so that the worker that raised it stays.

    Args:
        error: What was raised.
        after: Epochs that were over before it.
    """
    kind: FailureKind = "certain" if isinstance(error, NonFiniteLossError | UserError) else "raised"
    text = "".join(traceback.format_exception(error))[-_LONGEST:]
    return {FAILED: f"{text}\n{_in_one_line(error)}", FAILED_BY: kind, FAILED_AFTER: after}


def as_refusal(reason: str) -> dict[str, Any]:
    """Return the result of a trial that is not to be trained."""
    return {FAILED: reason, FAILED_BY: "refused", FAILED_AFTER: 0}


def _in_one_line(error: Exception) -> str:
    kind = type(error)
    at_home = kind.__module__ in ("builtins", UserError.__module__)
    name = kind.__qualname__ if at_home else f"{kind.__module__}.{kind.__qualname__}"
    return ": ".join(filter(None, [name, " ".join(str(error).split())]))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
