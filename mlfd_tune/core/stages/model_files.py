"""Trained models on disk: safetensors for the weights, JSON for what rebuilds the module.

An artifact's size is known before the model is trained: `model_bytes` reads it off a module made
`without_memory`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

__all__ = [
    "ABOUT",
    "DESCRIPTION",
    "NPY_HEADER",
    "WEIGHTS",
    "load_description",
    "load_weights",
    "model_bytes",
    "save_model",
    "without_draws",
    "without_memory",
]

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"

ABOUT = "mlfd_tune"
"""The entry in the metadata of exported weights that holds their description, as JSON."""

NPY_HEADER = 128
"""Bytes before the values in a .npy file, as NumPy writes it for these shapes."""

_TENSOR_ENTRY = 256  # a tensor's name, type, shape and place in the header of safetensors
_DESCRIPTION_BASE = 2048
_DESCRIPTION_NAME = 128  # a class or dataset by its name


def save_model(module: nn.Module, description: dict[str, Any], out: Path) -> None:
    """Write the module's weights, and what is needed to build the module again."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()
    }
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    (out / DESCRIPTION).write_text(json.dumps(description, indent=1, sort_keys=True))


def model_bytes(module: nn.Module, names: int = 0) -> int:
    """Return a bound on the bytes that `save_model` writes.

    Args:
        module: The module; one without memory will do.
        names: How many classes, teachers and datasets the description lists.
    """
    tensors = list(module.state_dict().values())
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    description = _DESCRIPTION_BASE + names * _DESCRIPTION_NAME
    return weights + len(tensors) * _TENSOR_ENTRY + description


@contextmanager
def without_draws() -> Iterator[None]:
    """Leave the caller's random state as it is; for modules whose first weights are replaced."""
    with torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def without_memory() -> Iterator[None]:
    """Make modules that have shapes but no weights, and leave the random state as it is."""
    with without_draws(), torch.device("meta"):
        yield


def load_description(path: Path) -> dict[str, Any]:
    """Read what `save_model` wrote beside the weights."""
    description: dict[str, Any] = json.loads((path / DESCRIPTION).read_text())
    return description


def load_weights(module: nn.Module, path: Path) -> None:
    """Load the weights that `save_model` wrote to the folder `path` into the module."""
    module.load_state_dict(load_file(path / WEIGHTS))
