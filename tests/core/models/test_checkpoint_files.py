"""Checkpoints: loaded whole, whatever wrote them, or refused with a reason and nothing changed."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mlfd_tune.core.models import Backbone, ModelChoiceError
from mlfd_tune.core.models.checkpoints import checkpoint_digest, load_checkpoint
from mlfd_tune.core.stages.model_files import WEIGHTS, save_model

State = dict[str, Tensor]


def backbone(
    arch: str = "test_resnet", classes: int = 7, size: int = 32, seed: int = 0
) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(arch, classes, size)


def state(module: nn.Module) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def refused(path: Path, model: Backbone | None = None, **settings: bool) -> tuple[str, ...]:
    """Return the problems of loading `path`, after making sure that the model is as it was."""
    model = model or backbone()
    before = state(model)
    with pytest.raises(ModelChoiceError) as raised:
        load_checkpoint(model, path, **settings)
    assert same(state(model), before)
    assert all(problem.startswith(f"{path}: ") for problem in raised.value.problems)
    assert all("\n" not in problem for problem in raised.value.problems)
    return tuple(problem.removeprefix(f"{path}: ") for problem in raised.value.problems)


def prefixed(weights: State, prefix: str) -> State:
    return {prefix + name: value for name, value in weights.items()}


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod.model."],
    ids=lambda prefix: prefix or "none",
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_names_are_found_behind_the_prefixes_of_wrappers(
    suffix: str, prefix: str, tmp_path: Path
) -> None:
    source, model = backbone(seed=1), backbone(seed=2)
    path = tmp_path / f"weights{suffix}"
    weights = prefixed(state(source.model), prefix)
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    report = load_checkpoint(model, path)
    assert same(state(model), state(source))
    assert (report.entry, report.tensors, report.head, report.classes) == (
        None,
        len(weights),
        True,
        7,
    )


def test_what_dataparallel_saves_is_loaded(tmp_path: Path) -> None:
    source, model = backbone(seed=1), backbone(seed=2)
    torch.save(nn.DataParallel(source.model).state_dict(), tmp_path / "weights.pt")
    load_checkpoint(model, tmp_path / "weights.pt")
    assert same(state(model), state(source))


def test_a_file_of_our_own_is_loaded(tmp_path: Path) -> None:
    source, model = backbone(seed=1), backbone(seed=2)
    save_model(source, {}, tmp_path)
    assert load_checkpoint(model, tmp_path / WEIGHTS).classes == 7
    assert same(state(model), state(source))


@pytest.mark.parametrize(
    "entry",
    [
        "state_dict",
        "model",
        "model_state_dict",
        "state_dict_ema",
        "model_ema",
        "teacher",
        "student",
    ],
)
def test_weights_are_found_in_an_entry_of_the_file(entry: str, tmp_path: Path) -> None:
    source, model = backbone(seed=1), backbone(seed=2)
    checkpoint = {"epoch": 3, "optimizer": {"lr": 0.1}, entry: source.model.state_dict()}
    torch.save(checkpoint, tmp_path / "last.pth")
    assert load_checkpoint(model, tmp_path / "last.pth").entry == entry
    assert same(state(model), state(source))


def test_of_averaged_and_plain_weights_the_averaged_ones_are_taken(tmp_path: Path) -> None:
    plain, averaged, model = (backbone(seed=seed) for seed in (1, 2, 3))
    # As timm's training program writes it, with its command line.
    torch.save(
        {
            "arch": "test_resnet",
            "args": argparse.Namespace(lr=0.1),
            "state_dict": plain.model.state_dict(),
            "state_dict_ema": averaged.model.state_dict(),
        },
        tmp_path / "last.pth.tar",
    )
    assert load_checkpoint(model, tmp_path / "last.pth.tar").entry == "state_dict_ema"
    assert same(state(model), state(averaged))


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_mambaout", "levit_128s"])
def test_without_its_classifier_a_checkpoint_of_other_classes_is_loaded(
    arch: str, tmp_path: Path
) -> None:
    size = 224 if arch == "levit_128s" else 32
    source, model = backbone(arch, 11, size, seed=1), backbone(arch, 7, size, seed=2)
    before = state(model.model)
    torch.save(source.model.state_dict(), tmp_path / "weights.pth")
    report = load_checkpoint(model, tmp_path / "weights.pth", head=False)
    assert (report.head, report.classes) == (False, 11)

    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, features = model.eval()(images, tuple(model.level_shapes))
        _, expected = source.eval()(images, tuple(model.level_shapes))
    assert same(features, expected)
    others = source.model.state_dict()
    kept = [name for name, value in before.items() if value.shape != others[name].shape]
    assert kept
    assert all(torch.equal(state(model.model)[name], before[name]) for name in kept)
    assert report.tensors == len(before) - len(kept)


def test_without_its_classifier_a_model_keeps_its_own_even_where_the_file_has_none(
    tmp_path: Path,
) -> None:
    source, model = backbone(seed=1), backbone(seed=2)
    before = state(model.model)
    weights = {k: v for k, v in source.model.state_dict().items() if not k.startswith("fc.")}
    torch.save(weights, tmp_path / "weights.pth")
    assert refused(tmp_path / "weights.pth") == (
        "lacks 2 tensors of the classifier: fc.weight, fc.bias",
    )
    assert load_checkpoint(model, tmp_path / "weights.pth", head=False).classes is None
    assert torch.equal(model.model.state_dict()["fc.weight"], before["fc.weight"])
    assert same({k: v for k, v in state(model.model).items() if k in weights}, weights)


def test_a_checkpoint_of_half_the_precision_is_loaded(tmp_path: Path) -> None:
    source, model = backbone(seed=1), backbone(seed=2)
    half = {k: v.half() if v.is_floating_point() else v for k, v in state(source.model).items()}
    save_file(half, tmp_path / "weights.safetensors")
    load_checkpoint(model, tmp_path / "weights.safetensors")
    loaded = model.model.state_dict()["fc.weight"]
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, half["fc.weight"].float())


def test_old_files_without_counters_of_batches_are_loaded(tmp_path: Path) -> None:
    source, model = backbone(seed=1), backbone(seed=2)
    weights = {k: v for k, v in state(source.model).items() if "num_batches" not in k}
    torch.save(weights, tmp_path / "weights.pth")
    assert load_checkpoint(model, tmp_path / "weights.pth").tensors == len(weights)


def test_another_number_of_classes_is_told_with_both_numbers(tmp_path: Path) -> None:
    torch.save(backbone(classes=11).model.state_dict(), tmp_path / "weights.pth")
    assert refused(tmp_path / "weights.pth") == (
        "its classifier has 11 classes, and 7 are wanted; all else fits, so it can be loaded "
        "without its classifier",
    )


def test_another_architecture_is_told_with_counts_and_first_names(tmp_path: Path) -> None:
    own, other = backbone().model.state_dict(), backbone("test_vit").model.state_dict()
    torch.save(other, tmp_path / "weights.pth")
    missing = len([name for name in own if "num_batches" not in name])
    first, second = refused(tmp_path / "weights.pth")
    assert first.startswith(f"lacks {missing} tensors of 'test_resnet' at 32 px: conv1.0.weight, ")
    assert first.endswith(f" and {missing - 5} more")
    assert second.startswith(
        f"holds {len(other)} tensors that 'test_resnet' at 32 px has not: cls_token, "
    )
    assert len(refused(tmp_path / "weights.pth", head=False)) == 2


def test_other_shapes_are_told_by_name_and_after_five_by_number(tmp_path: Path) -> None:
    weights = state(backbone().model)
    wrong = [name for name, value in weights.items() if value.ndim == 1][:7]
    torch.save(weights | {name: torch.zeros(3) for name in wrong}, tmp_path / "weights.pth")
    problems = refused(tmp_path / "weights.pth")
    assert problems[0] == (
        f"{wrong[0]} has shape (3,) in the file, and {tuple(weights[wrong[0]].shape)} is wanted "
        "by 'test_resnet' at 32 px"
    )
    assert len(problems) == 6
    assert problems[5] == "and 2 more have another shape"


def test_another_image_size_is_told_where_there_is_a_table_of_positions(tmp_path: Path) -> None:
    torch.save(backbone("test_vit", size=64).model.state_dict(), tmp_path / "weights.pth")
    (problem,) = refused(tmp_path / "weights.pth", backbone("test_vit", size=32))
    assert problem.startswith("pos_embed has shape (1, 17, ")
    assert problem.endswith("is wanted by 'test_vit' at 32 px")


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    weights = state(backbone().model)
    torch.save(weights | {"module.fc.bias": torch.zeros(7)}, tmp_path / "weights.pth")
    assert refused(tmp_path / "weights.pth") == (
        "holds fc.bias twice, once with a prefix: module.fc.bias",
    )


class Malicious:
    """What runs a command when it is unpickled the usual way."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("written", ["by torch", "by torch before 1.6", "as a pickle"])
def test_a_malicious_pickle_is_refused_and_does_not_run(written: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "was_here", tmp_path / "weights.pth"
    content = {"state_dict": backbone().model.state_dict(), "note": Malicious(marker)}
    if written == "as a pickle":
        path.write_bytes(pickle.dumps(content["note"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=written == "by torch")
    (problem,) = refused(path)
    assert problem.startswith("refused: ")
    assert "may run any code, so only weights are read (weights_only=True)" in problem
    assert written == "as a pickle" or f"({os.system.__module__}.system)" in problem
    assert not marker.exists()


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    (problem,) = refused(tmp_path / "model.pth")
    assert problem.startswith("refused: beside weights it holds Python objects (torch.nn.modules")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", ["half", "nothing", "another format"])
def test_a_damaged_file_is_told_as_one(kept: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    weights = state(backbone().model)
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    whole = path.read_bytes()
    contents = {"half": whole[: len(whole) // 2], "nothing": b"", "another format": b"hello"}
    path.write_bytes(contents[kept])
    (problem,) = refused(path)
    assert problem.startswith("is no checkpoint, or is damaged (")


@pytest.mark.parametrize("content", [{"epoch": 3}, {"state_dict": {}}, [1, 2], torch.zeros(2)])
def test_a_file_without_weights_is_told_as_one(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    (problem,) = refused(tmp_path / "weights.pth")
    assert problem.startswith("holds no weights: neither tensors by name nor an entry that does")


def test_a_file_that_is_not_there_is_told_as_one(tmp_path: Path) -> None:
    assert refused(tmp_path / "weights.pth") == ("no such file",)
    assert refused(tmp_path) == ("is a folder",)
    with pytest.raises(ModelChoiceError, match="no such file"):
        checkpoint_digest(tmp_path / "weights.pth")


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(b"weights" * 1000)
    expected = hashlib.sha256(b"weights" * 1000).hexdigest()
    assert {checkpoint_digest(tmp_path / name) for name in ("one", "other")} == {expected}
