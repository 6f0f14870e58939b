"""The best confirmed model of a dataset in the registry, and when the alias moves to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlflow.pytorch
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.scoring import load_scorer
from mlfd_tune.core.stages.weights import resolve_weights
from mlfd_tune.core.store import Artifact, Store
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.registry import Registered, model_name, register_best
from mlfd_tune.tracking.tracker import Tracker
from mlfd_tune.tracking.weights import mlflow_fetcher
from tests.helpers.pipelines import pipeline

Confirm = Callable[..., None]
Register = Callable[..., Registered]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("registry") / "store")


@pytest.fixture(scope="module")
def students(store: Store) -> list[Artifact]:
    """Students of three configurations on one dataset, and one on other images of its name."""
    plan = pipeline()
    other = pipeline(datasets={"one": {"split_seed": 5}})
    stages = [plan.student("one", "own_teacher", seed) for seed in (0, 1, 2)]
    return [
        store.get_or_compute(stage) for stage in [*stages, other.student("one", "own_teacher", 0)]
    ]


@pytest.fixture
def confirm(uri: str, tmp_path: Path) -> Confirm:
    """Record a confirmed configuration as a sweep does: two seeds, the first of them better."""

    def record(
        config: str, student: Artifact, val: float, *, seeds: int = 2, kind: str = "confirm"
    ) -> None:
        tracker = Tracker(uri, "exp", tmp_path / f"outbox-{config}", linger_s=0.01)
        tracker.start_run("S", "S", tags={"mlfd.kind": "sweep", "mlfd.sweep": config})
        for seed in range(seeds):
            name = f"{config} {seed}"
            tags = {
                "mlfd.kind": kind,
                "mlfd.sweep": config,
                "mlfd.dataset": "one",
                "mlfd.method": "mlfd",
                "mlfd.config": config,
                "mlfd.seed": str(seed),
                "mlfd.artifact_key": student.key if seed == 0 else "0" * 64,
            }
            tracker.start_run(name, name, parent="S", tags=tags, params={"alpha": 0.5})
            metrics = {"val/acc1": val + 1 - seed, "test/acc1": val - 5}
            tracker.log_metrics(name, metrics, step=1)
            tracker.end_run(name, "FINISHED")
        assert tracker.close(30)

    return record


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return open_client(uri)


@pytest.fixture
def register(uri: str, store: Store) -> Register:
    def call(**settings: object) -> Registered:
        (found,) = register_best(uri, "exp", str(store.root), **settings)
        return found

    return call


def champion(client: MlflowClient, name: str = "exp.one") -> str:
    return str(client.get_model_version_by_alias(name, "champion").version)


def test_the_best_confirmed_model_becomes_champion_and_tells_where_it_comes_from(
    confirm: Confirm, register: Register, client: MlflowClient, students: list[Artifact]
) -> None:
    confirm("aaaa", students[0], 80.0)
    found = register()

    assert (found.uri, found.version, found.is_new) == ("models:/exp.one@champion", "1", True)
    version = client.get_model_version_by_alias("exp.one", "champion")
    tags = version.tags
    assert float(tags["mlfd.val_acc1"]) == 80.5
    assert float(tags["mlfd.val_acc1_low"]) < 80.5 < float(tags["mlfd.val_acc1_high"])
    assert float(tags["mlfd.test_acc1"]) == 75.0
    assert tags["mlfd.artifact_key"] == students[0].key
    assert tags["mlfd.dataset_key"] == students[0].manifest.inputs["dataset"]
    assert json.loads(tags["mlfd.classes"]) == [str(digit) for digit in range(10)]
    run = client.get_run(version.run_id)
    assert run.data.tags["mlfd.artifact_key"] == students[0].key
    assert run.info.status == "FINISHED"
    (output,) = run.outputs.model_outputs
    assert client.get_logged_model(output.model_id).artifact_location == version.source


def test_the_registered_model_scores_raw_images_as_the_student_does(
    confirm: Confirm,
    register: Register,
    uri: str,
    store: Store,
    students: list[Artifact],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confirm("aaaa", students[0], 80.0)
    register()
    assert capfd.readouterr() == ("", "")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    model = mlflow.pytorch.load_model("models:/exp.one@champion")
    data = students[0].manifest.inputs["dataset"]
    packed = PackedDataset(store.root / "artifacts" / "dataset" / data)
    images = torch.from_numpy(packed.images("test").transpose(0, 2, 3, 1).copy())
    wide = torch.randint(0, 256, (3, 20, 70, 3), dtype=torch.uint8)
    scorer = load_scorer(store, students[0])
    with torch.inference_mode():
        for batch in (images[:1], images, wide):
            torch.testing.assert_close(model(batch), scorer(batch), rtol=1e-4, atol=1e-4)

    about = mlflow.models.get_model_info("models:/exp.one@champion")
    assert about.metadata == {"classes": list(packed.classes), "image_size": 32}
    (images_spec,) = about.signature.inputs.inputs
    assert (images_spec.type, images_spec.shape) == (np.dtype("uint8"), (-1, -1, -1, 3))
    plain = mlflow.pyfunc.load_model("models:/exp.one@champion").predict(images[:2].numpy())
    np.testing.assert_allclose(plain, scorer(images[:2]).detach(), rtol=1e-4, atol=1e-4)


def test_no_part_of_the_registered_model_is_a_pickle_of_objects(
    confirm: Confirm,
    register: Register,
    uri: str,
    students: list[Artifact],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confirm("aaaa", students[0], 80.0)
    register()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.pytorch.load_model("models:/exp.one@champion")  # refuses what is not tensors and JSON


def test_a_champion_can_be_a_teacher(
    confirm: Confirm, register: Register, uri: str, students: list[Artifact], tmp_path: Path
) -> None:
    confirm("aaaa", students[0], 80.0)
    register()
    fetch = mlflow_fetcher(uri, tmp_path / "weights")
    arch = students[0].manifest.spec["arch"]
    source = resolve_weights("models:/exp.one@champion", arch, fetch)
    assert source.path is not None
    original = (students[0].path / "model.safetensors").read_bytes()
    assert source.path.read_bytes() == original
    assert source.suits(tuple(str(digit) for digit in range(10)))
    assert source.description()["mean"]


def test_registering_again_adds_no_version(
    confirm: Confirm, register: Register, client: MlflowClient, students: list[Artifact]
) -> None:
    confirm("aaaa", students[0], 80.0)
    register()
    again = register()
    assert (again.version, again.is_new, again.is_champion) == ("1", False, True)
    assert len(client.search_model_versions("name = 'exp.one'")) == 1
    assert (
        len(client.search_logged_models([client.get_experiment_by_name("exp").experiment_id])) == 1
    )


def test_the_alias_moves_to_a_better_configuration_and_not_to_a_worse_one(
    confirm: Confirm,
    uri: str,
    register: Register,
    client: MlflowClient,
    students: list[Artifact],
) -> None:
    confirm("aaaa", students[0], 80.0)
    register()
    confirm("bbbb", students[1], 82.0)
    assert register().note == "before it: version 1"
    assert champion(client) == "2"
    # Without the best ones' runs, the best that is left is worse than the champion.
    experiment = client.get_experiment_by_name("exp").experiment_id
    for run in client.search_runs([experiment], "tags.`mlfd.kind` = 'confirm'"):
        client.delete_run(run.info.run_id)
    confirm("cccc", students[2], 81.0)
    worse = register(force=True)
    assert (worse.version, worse.is_new, worse.is_champion) == ("3", True, False)
    assert worse.uri == "models:/exp.one/3"
    assert "its validation accuracy is 82.50, and 81.50 is not higher" in worse.note
    assert champion(client) == "2"


def test_a_champion_on_other_data_gives_way_only_when_forced(
    confirm: Confirm, register: Register, client: MlflowClient, students: list[Artifact]
) -> None:
    confirm("aaaa", students[0], 80.0)
    register()
    confirm("dddd", students[3], 95.0)
    kept = register()
    assert "measured on other data" in kept.note
    assert champion(client) == "1"
    assert register(force=True).is_champion
    assert champion(client) == "2"


def test_what_is_not_confirmed_is_refused(
    confirm: Confirm, register: Register, students: list[Artifact]
) -> None:
    confirm("aaaa", students[0], 99.0, kind="trial", seeds=1)
    with pytest.raises(UserError, match=r"^one: not registered: .* is provisional, not confirmed"):
        register()


def test_weights_that_are_gone_are_one_clear_line(
    confirm: Confirm, uri: str, tmp_path: Path, students: list[Artifact], client: MlflowClient
) -> None:
    confirm("aaaa", students[0], 80.0)
    with pytest.raises(UserError, match=r"weights of run .* are not in the store"):
        register_best(uri, "exp", str(tmp_path / "empty"))
    assert client.search_registered_models() == []


def test_names_keep_clear_of_what_has_a_meaning_in_a_uri(register: Register) -> None:
    assert model_name("a/b:c@d", "digits") == "a-b-c-d.digits"
    with pytest.raises(UserError, match="--name"):
        register(prefix="a/b")
