"""A bundle holds what was asked for, whole or not at all, and says of every file what it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from mlfd_tune.config import TrainConfig, load_experiment
from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.scoring import load_scorer
from mlfd_tune.core.store import Artifact, Store
from mlfd_tune.core.store.artifact import library_versions
from mlfd_tune.tracking.export import FORMATS, Exported, export_best, parse_formats
from mlfd_tune.tracking.export_reading import differences, read_bundles
from tests.helpers.command import write_yaml
from tests.helpers.experiments import tiny_sweep
from tests.helpers.exported import SEEDS, TARGET, record_experiment


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A folder with a confirmed experiment: ``mlflow.db`` and ``store``."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    record_experiment(folder, f"sqlite:///{folder}/mlflow.db", methods=("none", "kd"))
    return folder


@pytest.fixture(scope="module")
def bundle(home: Path) -> Exported:
    """Everything that there is to export of it."""
    pytest.importorskip("onnxruntime")
    (exported,) = export(home, home / "all", FORMATS)
    return exported


def export(home: Path, folder: Path, formats: Any, store: str = "store") -> list[Exported]:
    uri = f"sqlite:///{home}/mlflow.db"
    return export_best(uri, "exp", folder, str(home / store), formats=formats)


def content(file: Path | None) -> dict[str, Any]:
    assert file is not None
    loaded: dict[str, Any] = yaml.safe_load(file.read_text())
    return loaded


def student(home: Path, exported: Exported) -> Artifact:
    key = content(exported.config)["provenance"]["artifacts"]["student"]
    (path,) = (home / "store" / "artifacts").glob(f"*/{key}")
    return Artifact.open(path)


def test_by_default_it_is_the_configuration_the_weights_and_the_card(home, tmp_path) -> None:
    uri = f"sqlite:///{home}/mlflow.db"
    (exported,) = export_best(uri, "exp", tmp_path / "out", str(home / "store"))

    names = {"one.yaml", "one.safetensors", "one.md"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    assert exported.row.method == "kd", "baselines and controls are no candidates"


def test_provenance_names_every_file_with_its_checksum(bundle) -> None:
    provenance = content(bundle.config)["provenance"]

    assert set(provenance["files"]) == {"one.safetensors", "one.onnx", "one.md"}
    told = json.loads(bundle.files["json"].read_text())
    sums = {**provenance["files"], "one.yaml": told["files"]["one.yaml"]}
    for name, recorded in sums.items():
        data = (bundle.config.parent / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == recorded
    assert provenance["weights_sha256"] == provenance["files"]["one.safetensors"]


def test_the_expected_values_of_every_seed_are_recorded(home, bundle) -> None:
    provenance = content(bundle.config)["provenance"]
    expected, row = provenance["expected"], bundle.row

    for metric, interval in (("val/acc1", row.val), ("test/acc1", row.test)):
        values = [expected[f"{metric} seed {seed}"] for seed in SEEDS]
        assert np.mean(values) == pytest.approx(expected[f"{metric} mean"])
        assert expected[f"{metric} low"] == interval.low
    best = max(SEEDS, key=lambda seed: expected[f"val/acc1 seed {seed}"])
    assert provenance["seed"] == best
    assert expected["val/acc1"] == student(home, bundle).manifest.metrics["val/acc1"]


def test_json_says_the_same_and_the_leaderboards_row(bundle) -> None:
    told = json.loads(bundle.files["json"].read_text())

    assert told["config"] == content(bundle.config)
    assert told["leaderboard"] == bundle.row.as_json()
    assert told["network"]["classes"] == [str(digit) for digit in range(10)]


def test_the_configuration_is_one_that_train_takes(bundle) -> None:
    config = load_experiment(bundle.config).config

    assert isinstance(config, TrainConfig)
    assert config.target == TARGET
    assert config.provenance.files


def test_weights_are_those_of_the_store_and_say_what_network_they_are(home, bundle) -> None:
    artifact = student(home, bundle)
    stored, given = load_file(artifact.path / "model.safetensors"), load_file(bundle.weights)

    assert stored.keys() == given.keys()
    assert all(torch.equal(stored[name], given[name]) for name in stored)
    with safe_open(bundle.weights, "pt") as file:
        about = json.loads(file.metadata()["mlfd_tune"])
    assert about["arch"] == "test_resnet"
    assert about["artifact_key"] == artifact.key
    described = json.loads((artifact.path / "model.json").read_text())
    assert {name: about[name] for name in described} == described


def test_the_same_export_twice_gives_the_same_files(home, bundle, tmp_path) -> None:
    (again,) = export(home, tmp_path / "again", FORMATS)

    for form, file in bundle.files.items():
        assert file.read_bytes() == again.files[form].read_bytes()


def test_onnx_answers_on_test_images_as_the_student_does(home, bundle) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    artifact = student(home, bundle)
    scorer = load_scorer(Store(home / "store"), artifact)
    data = home / "store" / "artifacts" / "dataset" / artifact.manifest.inputs["dataset"]
    images = np.asarray(PackedDataset(data).images("test")).transpose(0, 2, 3, 1)

    session = onnxruntime.InferenceSession(bundle.files["onnx"])
    (logits,) = session.run(None, {"images": np.ascontiguousarray(images)})

    with torch.inference_mode():
        own = scorer(torch.from_numpy(images.copy())).numpy()
    assert np.abs(logits - own).max() < 1e-4
    assert (logits.argmax(1) == own.argmax(1)).all()
    about = session.get_modelmeta().custom_metadata_map
    assert (about["dataset"], about["artifact_key"]) == (TARGET, artifact.key)
    assert bundle.onnx_difference < 1e-4


def test_the_cards_code_blocks_run(bundle, tmp_path, monkeypatch, capsys) -> None:
    for file in bundle.files.values():
        shutil.copy(file, tmp_path)
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    blocks = (tmp_path / "one.md").read_text().split("```python\n")[1:]
    assert len(blocks) == 2

    for block in blocks:
        exec(block.partition("```")[0], {})

    answers = capsys.readouterr().out.split()
    assert answers[0] == answers[1]


def test_nothing_is_left_where_one_file_cannot_be_made(home, tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    shutil.copytree(home / "store", home / "no-data", dirs_exist_ok=True)
    shutil.rmtree(home / "no-data" / "artifacts" / "dataset")

    with pytest.raises(UserError, match="the packed dataset is no longer in the store"):
        export(home, tmp_path / "deep" / "out", ("yaml", "safetensors", "onnx"), "no-data")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_keeps_its_files_where_an_export_fails(home, tmp_path) -> None:
    (tmp_path / "one.yaml").write_text("older")

    with pytest.raises(UserError, match="onnx: one: the weights are not in the store"):
        export(home, tmp_path, ("yaml", "onnx"), "empty")

    assert [file.name for file in tmp_path.iterdir()] == ["one.yaml"]
    assert (tmp_path / "one.yaml").read_text() == "older"


def test_without_the_store_the_configuration_is_exported_alone(home, tmp_path) -> None:
    (exported,) = export(home, tmp_path, ("yaml", "safetensors", "card"), "empty")

    assert exported.weights is None
    provenance = content(exported.config)["provenance"]
    assert provenance["weights"] is None
    assert set(provenance["files"]) == {"one.md"}
    assert "no longer" in (tmp_path / "one.md").read_text()


def test_an_unknown_format_is_told_with_the_nearest() -> None:
    assert parse_formats("yaml, onnx,yaml") == ("yaml", "onnx")
    with pytest.raises(UserError, match=r"--format: unknown 'onxx' .*did you mean 'onnx'"):
        parse_formats("yaml,onxx")


def test_a_bundle_is_read_back_from_either_file(bundle, tmp_path) -> None:
    (of_yaml,) = read_bundles(bundle.config)
    (of_json,) = read_bundles(bundle.files["json"])
    (of_folder,) = read_bundles(bundle.config.parent)

    assert of_yaml.config == of_json.config
    assert of_folder.path == bundle.config


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("one.safetensors", b"!", "one.safetensors is not the file that was exported with it"),
        ("one.md", b"!", "one.md is not the file"),
        ("one.onnx", None, "one.onnx was exported with it and is missing"),
    ],
)
def test_files_that_are_not_those_exported_are_refused(
    bundle, tmp_path, name: str, change: bytes | None, told: str
) -> None:
    for file in bundle.files.values():
        shutil.copy(file, tmp_path)
    if change is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + change)

    with pytest.raises(UserError, match=told):
        read_bundles(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"provenance": None}, r"provenance: this key is needed; `mlfd-tune export` writes it"),
        ({"kind": "bundle"}, r"kind: .*'bundle'"),
    ],
)
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_is_no_exported_configuration_is_refused(
    bundle, tmp_path, form: str, change: dict[str, Any], told: str
) -> None:
    changed = content(bundle.config) | change
    if form == "json":
        (tmp_path / "one.json").write_text(json.dumps({"config": changed}))
    else:
        (tmp_path / "one.yaml").write_text(yaml.safe_dump(changed))

    with pytest.raises(UserError, match=told):
        read_bundles(tmp_path)


def test_a_sweep_is_no_bundle(tmp_path) -> None:
    write_yaml(tmp_path / "tiny.yaml", tiny_sweep())

    with pytest.raises(UserError, match=r"kind: 'sweep' is no exported .*\(allowed: train\)"):
        read_bundles(tmp_path / "tiny.yaml")


def test_a_missing_bundle_is_told_with_the_nearest(bundle) -> None:
    with pytest.raises(UserError, match=r"no such file or folder: .*did you mean 'one.yaml'"):
        read_bundles(bundle.config.parent / "ones.yaml")


def test_on_this_machine_nothing_differs_and_elsewhere_it_is_named(bundle) -> None:
    (read,) = read_bundles(bundle.config)
    origin = read.provenance
    hardware = {name: kind for name, kind in origin.versions.items() if name.startswith("hardware")}
    now = library_versions() | hardware
    key = origin.artifacts["student"]

    assert differences(origin, now, "cpu", key) == []
    newer = now | {"torch": "9.9"}
    assert differences(origin, newer, "cpu", key) == [f"torch {now['torch']}, here 9.9"]
    assert "fixed order" in differences(origin, now, "cuda", key)[0]
    assert "the student's identity" in differences(origin, now, "cpu", "0" * 64)[0]
