"""Checkpoints, exported bundles, and pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import strategies as st
from safetensors.torch import save_file

from mlfd_tune.core.data.image_files import open_file
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.models.checkpoints import load_checkpoint
from mlfd_tune.core.stages.weights import resolve_weights
from mlfd_tune.core.store.artifact import file_digest
from mlfd_tune.tracking.export_reading import read_bundles
from tests.helpers.fuzzing import Fuzz, attempt
from tests.helpers.fuzzing.documents import Samples, damaged, json_text, yaml_text
from tests.helpers.fuzzing.files import (
    old_torch_files,
    picture_files,
    safetensors_file,
    torch_file,
)


@pytest.fixture(scope="module")
def model() -> Backbone:
    torch.manual_seed(0)
    return Backbone("test_resnet", 3, 32)


def weights_of(model: Backbone) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.model.state_dict().items()}


@pytest.mark.parametrize("kind", ["safetensors", "pth", "old pth"])
def test_checkpoints(fuzz: Fuzz, tmp_path: Path, model: Backbone, kind: str) -> None:
    path = tmp_path / f"w.{'safetensors' if kind == 'safetensors' else 'pth'}"
    before = weights_of(model)

    def run(content: bytes) -> None:
        path.unlink(missing_ok=True)  # the last one may still be mapped
        path.write_bytes(content)
        told = attempt(lambda: load_checkpoint(model, path), tmp_path)
        if told is not None:
            after = model.model.state_dict()
            assert all(torch.equal(value, after[name]) for name, value in before.items())
        attempt(lambda: load_checkpoint(model, path, head=False), tmp_path)
        attempt(lambda: resolve_weights(str(path), "test_resnet").suits(("a", "b")), tmp_path)
        model.model.load_state_dict(before)

    few = {name: before[name] for name in before if before[name].numel() < 200}
    few |= {name: before[name] for name in list(before)[:8]}
    made = {
        "safetensors": safetensors_file(few) | safetensors_file(before),
        "pth": torch_file(few) | torch_file(before),
        "old pth": damaged(old_torch_files(before)),
    }[kind]
    fuzz(f"checkpoints, {kind}", made, run, whole=1_000, reduced=30)


def bundle(folder: Path) -> dict[str, Any]:
    """Write what an export has beside its configuration, and return that."""
    save_file({"x": torch.zeros(2)}, folder / "one.safetensors")
    (folder / "card.md").write_text("# one\n")
    sums = {name: file_digest(folder / name) for name in ("one.safetensors", "card.md")}
    return {
        "kind": "train",
        "target": "one",
        "datasets": {"one": {"source": "digits"}, "two": {"source": "letters"}},
        "teacher": {"arch": "test_resnet"},
        "student": {"arch": "test_vit"},
        "students": {"one": {"seed": 3}},
        "provenance": {
            "experiment": "exp",
            "run_id": "abc",
            "tracking_uri": "sqlite:///mlflow.db",
            "versions": {"torch": "2.8"},
            "data": {"one": "0" * 64},
            "artifacts": {"student": "1" * 64},
            "seed": 3,
            "status": "confirmed",
            "expected": {"val/acc1": 90.0},
            "weights": "one.safetensors",
            "weights_sha256": sums["one.safetensors"],
            "files": sums,
        },
    }


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_bundles(fuzz: Fuzz, tmp_path: Path, ending: str) -> None:
    sound = bundle(tmp_path)
    path = tmp_path / f"one.{ending}"
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "../one.safetensors", "/etc/passwd", "/dev/zero", "."):
        sound["provenance"]["files"].setdefault(name, "0" * 64)
        assert attempt(lambda: write_and_read(path, sound), None)
        del sound["provenance"]["files"][name]
    write_and_read(path, sound)

    def run(content: bytes) -> None:
        path.write_bytes(content)
        attempt(lambda: read_bundles(path), tmp_path)
        attempt(lambda: read_bundles(tmp_path, {"datasets.one.path": "/x"}), tmp_path)

    made = yaml_text(Samples([sound])) if ending == "yaml" else json_text([{"config": sound}])
    fuzz(f"export bundles, {ending}", made, run, whole=1_500, reduced=60)


def write_and_read(path: Path, sound: dict[str, Any]) -> None:
    import json

    text = yaml.safe_dump(sound) if path.suffix == ".yaml" else json.dumps({"config": sound})
    path.write_text(text)
    read_bundles(path)


def test_pictures(fuzz: Fuzz, tmp_path: Path) -> None:
    def run(given: tuple[bytes, str]) -> None:
        path = tmp_path / f"a.{given[1]}"
        path.write_bytes(given[0])
        attempt(lambda: open_file(tmp_path, path.name), tmp_path)

    endings = st.sampled_from(("png", "jpg", "txt", "tif", "gif"))
    given = st.tuples(damaged(picture_files()), endings)
    fuzz("pictures", given, run, whole=8_000, reduced=400)
