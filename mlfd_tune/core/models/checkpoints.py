"""Checkpoints: local files of weights, loaded into a backbone whole or not at all."""

from __future__ import annotations

import argparse
import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mlfd_tune.core.models.backbones import Backbone
from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.timm_models import class_layers
from mlfd_tune.core.models.torch_files import check_container
from mlfd_tune.core.paths import not_a_file

__all__ = ["CheckpointReport", "checkpoint_digest", "load_checkpoint"]

# Where training programs keep the weights in their checkpoints. Averaged ones come first, as timm
# takes them; a self-distilled teacher (DINO) is the average of its student.
_ENTRIES = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "teacher",
    "student",
)

# What wrappers put before the names: DataParallel, torch.compile, and a network as an attribute.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")

_SHOWN = 5
_DEEPEST = 10  # entries inside one another


@dataclass(frozen=True)
class CheckpointReport:
    """What a checkpoint gave.

    Attributes:
        entry: The entry of the file that held the weights, such as ``state_dict``; None where they
            are the file.
        tensors: How many tensors were loaded.
        head: Whether the classifier's were among them.
        classes: The number of classes of the file's classifier; None where it has none.
    """

    entry: str | None
    tensors: int
    head: bool
    classes: int | None


def load_checkpoint(model: Backbone, path: Path, *, head: bool = True) -> CheckpointReport:
    """Load a local checkpoint into `model`; where that fails the model is as it was.

    The file is a ``.safetensors`` file or one of ``torch.save``, of which only weights are read:
    a pickle of anything else may run code when it is loaded, and is refused. The weights may be the
    file or an entry of it, and have timm's names, with or without the prefixes that DataParallel,
    ``torch.compile`` and this package's own files put before them.

    Args:
        model: The backbone.
        path: The file.
        head: Load the classifier too; without it, the model keeps its own, and the file's may have
            another number of classes or be missing.

    Raises:
        ModelChoiceError: There is no such file, it is no checkpoint, or it is one of another
            architecture, image size or number of classes.
    """
    entry, given = _weights(_read(path), path)
    own = model.model.state_dict()
    found = _by_own_names(given, own, path)
    layers = tuple(class_layers(model.model))
    classes = _classes(found, layers)
    wanted = dict(own)
    if not head:
        found, wanted = (
            {name: value for name, value in tensors.items() if not _is_in(name, layers)}
            for tensors in (found, own)
        )
    arch = f"{model.arch!r} at {model.image_size} px"
    problems = list(_problems(found, wanted, layers, arch))
    if problems:
        raise ModelChoiceError(*(f"{path}: {problem}" for problem in problems))
    model.model.load_state_dict(own | found)
    return CheckpointReport(entry, len(found), head, classes)


def checkpoint_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal.

    Raises:
        ModelChoiceError: There is no such file, or it cannot be read.
    """
    _require_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelChoiceError(f"{path}: cannot be read ({error.strerror})") from error


def _read(path: Path) -> object:
    """Return what a file holds, without running anything that is in it."""
    _require_file(path)
    # Beside an error there may be warnings, which tell a person to load the file unsafely.
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        warnings.simplefilter("ignore")
        try:
            if path.suffix == ".safetensors":
                return load_file(path)
            check_container(path)
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # on damaged files readers raise anything
            raise ModelChoiceError(f"{path}: {_unreadable(error)}") from error


def _require_file(path: Path) -> None:
    wrong = not_a_file(path)
    if wrong:
        told = "no such file" if wrong == "does not exist" else wrong
        raise ModelChoiceError(f"{path}: {told}")


def _unreadable(error: Exception) -> str:
    text = str(error)
    advice = (
        "loading such may run any code, so only weights are read (weights_only=True): "
        "save model.state_dict(), best as .safetensors"
    )
    code = re.search(r"GLOBAL (\w[\w.]*)", text)
    if code or "TorchScript" in text:
        what = f"Python objects ({code[1]})" if code else "a program (TorchScript)"
        return f"refused: beside weights it holds {what}; {advice}"
    unpickling = re.search(r"WeightsUnpickler error:\s*(.+)", text)
    if unpickling:
        return f"refused: is no checkpoint, or a pickle of other things ({unpickling[1]}); {advice}"
    reason = next(iter(text.splitlines()), "").split(". ")[0] or type(error).__name__
    return f"is no checkpoint, or is damaged ({reason})"


def _weights(content: object, path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """Return the state dict in what a file holds, and the entry it stands in."""
    entry = None
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        inner = next((key for key in _ENTRIES if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            # Counters and settings may stand beside the weights.
            tensors = {k: v for k, v in content.items() if _is_plain(k, v)}
            if tensors:
                return entry, tensors
            break
        entry, content = inner, content[inner]
    raise ModelChoiceError(
        f"{path}: holds no weights: neither tensors by name nor an entry that does "
        f"(one of {', '.join(sorted(_ENTRIES))})"
    )


def _is_plain(name: object, value: object) -> bool:
    """Tell a named tensor of values from counters, settings, and tensors that have none in memory.

    Sparse, quantised and meta tensors have no place in a state dict that a backbone takes.
    """
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _by_own_names(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """Return the file's tensors by the model's names, where it has such, and else by their own."""
    found: dict[str, Tensor] = {}
    for name, value in given.items():
        known = next((inner for inner in _unwrapped(name) if inner in own), name)
        if known in found:
            raise ModelChoiceError(f"{path}: holds {known} twice, once with a prefix: {name}")
        found[known] = value
    return found


def _unwrapped(name: str | None) -> Iterator[str]:
    """Give a name, and what is left of it as one wrapper's prefix after another is taken off."""
    while name:
        yield name
        name = next((name.removeprefix(p) for p in _PREFIXES if name.startswith(p)), None)


def _classes(found: Mapping[str, Tensor], layers: Sequence[str]) -> int | None:
    weights = [found[f"{layer}.weight"] for layer in layers if f"{layer}.weight" in found]
    return len(weights[0]) if weights and weights[0].dim() else None


def _is_in(name: str, layers: Sequence[str]) -> bool:
    return any(name.startswith(f"{layer}.") for layer in layers)


def _problems(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], layers: Sequence[str], arch: str
) -> Iterator[str]:
    """Say what keeps `found` from being loaded."""
    # Files of before 2018 have no such counters, which only matter to a rare kind of BatchNorm.
    missing = [
        name for name in wanted if name not in found and not name.endswith(".num_batches_tracked")
    ]
    unexpected = [name for name in found if name not in wanted]
    shapes = {
        name: (tuple(found[name].shape), tuple(wanted[name].shape))
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    }
    if missing:
        of = "the classifier" if all(_is_in(name, layers) for name in missing) else arch
        yield f"lacks {_count(missing)} of {of}: {_named(missing)}"
    if unexpected:
        yield f"holds {_count(unexpected)} that {arch} has not: {_named(unexpected)}"
    classes = _classes(found, layers), _classes(wanted, layers)
    only_classifier = not missing and not unexpected and all(_is_in(n, layers) for n in shapes)
    if shapes and only_classifier and classes[0] is not None and classes[0] != classes[1]:
        yield (
            f"its classifier has {classes[0]} classes, and {classes[1]} are wanted; all else fits, "
            "so it can be loaded without its classifier"
        )
        return
    kinds = [
        name
        for name in wanted
        if name in found
        and (found[name].is_complex() or _is_real(found[name]) != _is_real(wanted[name]))
    ]
    if kinds:
        told = _named([f"{name} ({found[name].dtype})" for name in kinds])
        yield f"holds {_count(kinds)} of another type than {arch} has: {told}"
    for name, (in_file, own) in list(shapes.items())[:_SHOWN]:
        yield f"{name} has shape {in_file} in the file, and {own} is wanted by {arch}"
    if len(shapes) > _SHOWN:
        yield f"and {len(shapes) - _SHOWN} more have another shape"


def _is_real(value: Tensor) -> bool:
    return value.is_floating_point()


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
