"""Local checkpoints: weights of a backbone from safetensors or a torch file, never by pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mlfd_tune.core.models.backbones import Backbone
from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.timm_models import classifiers

__all__ = ["CheckpointReport", "checkpoint_digest", "load_checkpoint"]

# Where training programs keep the weights in what they save.
_NESTED = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "teacher",
    "student",
)
# What wrappers put before the names: DataParallel, torch.compile, Lightning, this program.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
_SHOWN = 5


@dataclass(frozen=True)
class CheckpointReport:
    """What a checkpoint gave.

    Attributes:
        loaded: How many tensors were loaded.
        classes: The classes of the file's classifier; None when it has none.
    """

    loaded: int
    classes: int | None


def checkpoint_digest(path: Path) -> str:
    """Return the SHA-256 of the file's content as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_checkpoint(model: Backbone, path: Path, *, head: bool = True) -> CheckpointReport:
    """Load a checkpoint's weights into a backbone, all or, when an error is raised, none.

    Takes a state dict, plain or below a key such as ``state_dict``, with timm's names or those of
    this program's files, and with the prefixes that wrappers put before them.

    Args:
        model: The backbone.
        path: A ``.safetensors`` file, or a torch file that loads without pickle.
        head: Load the classifier too; if not, it stays as it is.

    Raises:
        ModelChoiceError: The file is missing, no checkpoint, pickled, or of another architecture;
            one line each for the first tensors that do not fit.
    """
    own = model.model.state_dict()
    found = _named_as(_tensors(path), own)
    last = _classifier_names(model.model)
    classes = next((len(found[name]) for name in sorted(last & found.keys())), None)
    wanted = own if head else {name: value for name, value in own.items() if name not in last}
    given = found if head else {name: value for name, value in found.items() if name not in last}
    problems = _problems(given, wanted, last)
    if problems:
        raise ModelChoiceError(*(f"{path}: {line}" for line in problems))
    model.model.load_state_dict(given, strict=False)
    return CheckpointReport(len(given), classes)


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelChoiceError(f"{path}: no such checkpoint file")
    try:
        content: object = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelChoiceError(f"{path}: not a readable checkpoint ({reason})") from error
    except Exception as error:  # torch raises unpickling and runtime errors of many kinds
        raise ModelChoiceError(
            f"{path}: cannot be loaded without pickle, which could run any code (damaged, or not "
            "a state dict: save model.state_dict(), best as .safetensors)"
        ) from error
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = (
        {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise ModelChoiceError(f"{path}: holds no state dict (a mapping of names to tensors)")
    return tensors


def _named_as(tensors: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the prefixes that keep their names from matching."""
    best = tensors
    stripped = tensors
    for _ in _PREFIXES:  # prefixes may be nested
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in stripped)), None)
        if prefix is None:
            break
        stripped = {name.removeprefix(prefix): value for name, value in stripped.items()}
        if len(stripped.keys() & own.keys()) > len(best.keys() & own.keys()):
            best = stripped
    return best


def _classifier_names(model: nn.Module) -> set[str]:
    layers = set(classifiers(model))  # type: ignore[arg-type]
    return {
        f"{name}.{parameter}"
        for name, module in model.named_modules()
        if module in layers
        for parameter in module.state_dict()
    }


def _problems(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], last: set[str]
) -> list[str]:
    differing = [
        name for name in wanted.keys() & given.keys() if wanted[name].shape != given[name].shape
    ]
    if differing and set(differing) <= last and wanted.keys() == given.keys():
        name = min(differing)
        return [
            f"its classifier knows {len(given[name])} classes, and {len(wanted[name])} are wanted"
        ]
    lines = [
        f"{name} has shape {tuple(given[name].shape)}, and {tuple(wanted[name].shape)} is wanted"
        for name in sorted(differing)
    ]
    for kind, names in (
        ("lacks", wanted.keys() - given.keys()),
        ("has, unknown to the architecture,", given.keys() - wanted.keys()),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            lines.append(f"{kind} {len(names)} tensors: {shown}")
    more = len(lines) - _SHOWN
    return lines if more <= 0 else [*lines[:_SHOWN], f"and {more} more problems like these"]
