"""`torch.compile` for the networks of a training, which stay the modules they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mlfd_tune.core.errors import UserError

__all__ = ["compile_networks", "explained_compiling"]

_TRUNK = ("forward_features", "forward_intermediates")


def compile_networks(model: nn.Module) -> None:
    """Compile, in place, what takes the time in `model`, when it is first called.

    Of timm's networks that is all before the head. The head stays as it is: methods hang hooks on
    it from batch to batch, which a compiled one would not see. Where there is no timm network, as
    in a joint teacher, all of `model` is compiled. Names of weights, and so checkpoints, stay.

    Args:
        model: A network, or a module that holds networks.
    """
    trunks = [module for module in model.modules() if hasattr(module, _TRUNK[0])]
    for module in trunks:
        for name in _TRUNK:
            if hasattr(module, name):
                setattr(module, name, torch.compile(getattr(module, name)))
    if not trunks:
        model.compile()


@contextmanager
def explained_compiling() -> Iterator[None]:
    """Turn a failure to compile inside the block into one line for the user.

    Raises:
        UserError: A network cannot be compiled.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_compiling(error):
            raise
        cause = getattr(error, "inner_exception", error)  # of the backend, not of its caller
        reason = next((line for line in str(cause).splitlines() if line.strip()), "").strip()
        raise UserError(
            f"train.compile: torch.compile fails with {type(cause).__name__}: {reason}; "
            "set compile: false"
        ) from error


def _is_of_compiling(error: Exception) -> bool:
    # Without a look at torch's compiler, which takes seconds to load and here may not be in use.
    exceptions = sys.modules.get("torch._dynamo.exc")
    return exceptions is not None and isinstance(error, exceptions.TorchDynamoException)
