"""An exception keeps its worker where it says nothing about the process."""

from __future__ import annotations

import pytest
import torch

from mlfd_tune.core.errors import NonFiniteLossError, UserError
from mlfd_tune.tune.scheduler import reason_in
from mlfd_tune.tune.soundness import FAILED, FAILED_AFTER, FAILED_BY, as_result, leaves_worker_sound


def caused_by(cause: Exception) -> Exception:
    error = RuntimeError("the epoch failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "sound"),
    [
        (RuntimeError("bad luck"), True),
        (UserError("levels: no such level"), True),
        (OSError(5, "Input/output error"), True),
        (MemoryError(), False),
        (torch.OutOfMemoryError("CUDA out of memory."), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (caused_by(MemoryError()), False),
        (caused_by(ValueError()), True),
    ],
)
def test_memory_and_devices_cost_the_worker(error: Exception, sound: bool) -> None:
    assert leaves_worker_sound(error) == sound


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ValueError("too\nmany"), "raised", "ValueError: too many"),
        (AssertionError(), "raised", "AssertionError"),
        (NonFiniteLossError("train/loss"), "certain", "NonFiniteLossError: train/loss"),
        (UserError("a: bad", "b: bad"), "certain", "UserError: a: bad b: bad"),
    ],
)
def test_a_result_says_how_it_failed_and_why(error: Exception, kind: str, reason: str) -> None:
    try:
        raise error
    except Exception as caught:
        result = as_result(caught, after=2)

    assert "Traceback" in result[FAILED]
    assert reason_in(result[FAILED]) == reason
    assert (result[FAILED_BY], result[FAILED_AFTER]) == (kind, 2)
