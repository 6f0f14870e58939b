"""Trained models on disk: safetensors for the weights, JSON for what rebuilds the module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

__all__ = ["DESCRIPTION", "WEIGHTS", "load_description", "load_weights", "save_model"]

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


def save_model(module: nn.Module, description: dict[str, Any], out: Path) -> None:
    """Write the module's weights, and what is needed to build the module again."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()
    }
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    (out / DESCRIPTION).write_text(json.dumps(description, indent=1, sort_keys=True))


def load_description(path: Path) -> dict[str, Any]:
    """Read what `save_model` wrote beside the weights."""
    description: dict[str, Any] = json.loads((path / DESCRIPTION).read_text())
    return description


def load_weights(module: nn.Module, path: Path) -> None:
    """Load the weights that `save_model` wrote to the folder `path` into the module."""
    module.load_state_dict(load_file(path / WEIGHTS))
