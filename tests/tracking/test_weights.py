from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow.pytorch
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import save_file

from mlfd_tune.core.data import DatasetSpec
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.stages import DatasetStage, TeacherStage
from mlfd_tune.core.stages.loaded_teacher import LoadedTeacherStage
from mlfd_tune.core.stages.normalisation import choose_normalisation
from mlfd_tune.core.stages.weights import resolve_weights
from mlfd_tune.core.store import Artifact, Store
from mlfd_tune.core.training import TrainSpec
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.weights import mlflow_fetcher

ARCH = "test_resnet"
DATA = DatasetStage("one", DatasetSpec(source="digits", train_size=96), 32)
Fetch = Callable[[str], Path]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("stages") / "store")


@pytest.fixture(scope="module")
def original(store: Store) -> Artifact:
    train = TrainSpec(epochs=2, batch_size=32, lr=3e-3, precision="fp32")
    return store.get_or_compute(TeacherStage(DATA, ARCH, train, seed=0))


@pytest.fixture
def client(uri: str, tmp_path: Path) -> MlflowClient:
    client: MlflowClient = open_client(uri)
    client.create_experiment("exp", (tmp_path / "artifacts").as_uri())
    return client


@pytest.fixture
def fetch(uri: str, tmp_path: Path) -> Fetch:
    return mlflow_fetcher(uri, tmp_path / "weights")


def log_run(client: MlflowClient, folder: Path, ended: bool = True) -> str:
    """Log a folder's files as a run's artifact ``teacher``, and return the run's id."""
    experiment = client.get_experiment_by_name("exp")
    run_id: str = client.create_run(experiment.experiment_id).info.run_id
    client.log_artifacts(run_id, str(folder), "teacher")
    if ended:
        client.set_terminated(run_id)
    return run_id


def register(client: MlflowClient, run_id: str, path: str = "teacher") -> str:
    """Register a run's artifact as the next version of the model ``digits``."""
    if not client.search_registered_models():
        client.create_registered_model("digits")
    return str(client.create_model_version("digits", f"runs:/{run_id}/{path}", run_id).version)


def only_weights(folder: Path, value: float, name: str = "model.safetensors") -> Path:
    """Write weights that can be told apart, and return the folder."""
    folder.mkdir(exist_ok=True)
    save_file({"weight": torch.full((2,), value)}, folder / name)
    return folder


def downloads(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "weights").glob("*")}


def assert_refused(fetch: Fetch, uri: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch(uri)
    message = str(caught.value)
    assert message.startswith("weights: ")
    assert part in message
    assert "\n" not in message


def test_a_registered_model_becomes_a_teacher_that_measures_as_it_did(
    client: MlflowClient, fetch: Fetch, store: Store, original: Artifact
) -> None:
    register(client, log_run(client, original.path))
    client.set_registered_model_alias("digits", "champion", "1")
    source = resolve_weights("models:/digits@champion", ARCH, fetch)
    stage = LoadedTeacherStage(
        DATA, ARCH, source, normalisation=choose_normalisation("auto", ARCH, source)
    )
    metrics = store.get_or_compute(stage).manifest.metrics
    assert metrics == {k: v for k, v in original.manifest.metrics.items() if k.startswith("val/")}


def test_every_way_to_name_a_version_gives_its_file_and_its_description(
    client: MlflowClient, fetch: Fetch, original: Artifact
) -> None:
    run_id = log_run(client, original.path)
    register(client, run_id)
    client.set_registered_model_alias("digits", "champion", "1")
    content = (original.path / "model.safetensors").read_bytes()
    for uri in (
        "models:/digits/1",
        "models:/digits/latest",
        "models:/digits@champion",
        "models:/digits/1/model.safetensors",
        f"runs:/{run_id}/teacher",
        f"runs:/{run_id}/teacher/model.safetensors",
    ):
        file = fetch(uri)
        assert file.read_bytes() == content, uri
        assert (file.parent / "model.json").is_file(), uri


def test_a_logged_model_is_served_by_its_id_and_by_the_version_made_of_it(
    client: MlflowClient,
    fetch: Fetch,
    uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only_weights(tmp_path / "source", 1)
    experiment = client.get_experiment_by_name("exp")
    model = client.create_logged_model(experiment.experiment_id, name="net")
    client.log_model_artifacts(model.model_id, str(tmp_path / "source"))
    client.create_registered_model("digits")
    with monkeypatch.context() as patch:  # MLflow registers out of the global tracking URI only
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        client.create_model_version("digits", model.model_uri, model_id=model.model_id)
    content = (tmp_path / "source" / "model.safetensors").read_bytes()
    assert fetch(model.model_uri).read_bytes() == content
    assert fetch("models:/digits/1").read_bytes() == content
    assert fetch(f"{model.model_uri}/model.safetensors").read_bytes() == content


def test_a_fetcher_travels_to_other_processes(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    register(client, log_run(client, only_weights(tmp_path / "source", 1)))
    again = pickle.loads(pickle.dumps(fetch))
    assert again("models:/digits/1") == fetch("models:/digits/1")


def test_an_alias_and_latest_follow_their_version(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    for number in (1, 2):
        register(client, log_run(client, only_weights(tmp_path / "source", number)))
    client.set_registered_model_alias("digits", "champion", "1")
    first, latest = fetch("models:/digits@champion"), fetch("models:/digits/latest")
    assert first == fetch("models:/digits/1")
    assert latest == fetch("models:/digits/2")
    assert first.read_bytes() != latest.read_bytes()
    client.set_registered_model_alias("digits", "champion", "2")
    assert fetch("models:/digits@champion") == latest


def test_a_version_is_downloaded_once_and_nothing_half_is_left(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    register(client, log_run(client, only_weights(tmp_path / "source", 1)))
    file = fetch("models:/digits/1")
    shutil.rmtree(tmp_path / "artifacts")
    assert fetch("models:/digits/latest") == file
    assert len(downloads(tmp_path)) == 1
    assert_refused(fetch, "models:/digits/1/other.safetensors", "other.safetensors")
    assert len(downloads(tmp_path)) == 1


def test_a_model_registered_anew_under_an_old_name_is_downloaded_anew(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    register(client, log_run(client, only_weights(tmp_path / "source", 1)))
    old = fetch("models:/digits/1").read_bytes()
    client.delete_registered_model("digits")
    register(client, log_run(client, only_weights(tmp_path / "source", 2)))
    assert fetch("models:/digits/1").read_bytes() != old


def test_what_a_run_still_writes_is_downloaded_at_every_call(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    run_id = log_run(client, only_weights(tmp_path / "source", 1), ended=False)
    uri = f"runs:/{run_id}/teacher"
    first = fetch(uri)
    assert fetch(uri) == first
    client.log_artifacts(run_id, str(only_weights(tmp_path / "source", 2)), "teacher")
    second = fetch(uri)
    assert second.read_bytes() != first.read_bytes()
    client.set_terminated(run_id)
    assert fetch(uri).read_bytes() == second.read_bytes()


def test_a_state_dict_by_torch_is_of_use_too(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    torch.save({"weight": torch.ones(2)}, tmp_path / "source" / "state_dict.pth")
    (tmp_path / "source" / "notes.txt").write_text("from the cluster")
    run_id = log_run(client, tmp_path / "source")
    assert fetch(f"runs:/{run_id}/teacher").name == "state_dict.pth"


def test_a_pickled_model_is_refused_with_what_to_log_instead(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    """As mlflow.pytorch saves it."""
    mlflow.pytorch.save_model(
        torch.nn.Linear(2, 2),
        str(tmp_path / "source"),
        pip_requirements=["torch"],
        serialization_format="pickle",
    )
    register(client, log_run(client, tmp_path / "source"))
    message = "holds only a pickled model (teacher/data/model.pth)"
    assert_refused(fetch, "models:/digits/1", message)
    assert_refused(fetch, "models:/digits/1", "log the weights as a state dict instead: ")
    assert downloads(tmp_path) == set()


def test_several_weights_files_are_refused_by_name_and_each_can_be_asked_for(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    only_weights(tmp_path / "source", 1, "best.safetensors")
    run_id = log_run(client, only_weights(tmp_path / "source", 2, "last.safetensors"))
    uri = f"runs:/{run_id}/teacher"
    assert_refused(fetch, uri, "2 files with weights (teacher/best.safetensors, teacher/last")
    assert fetch(f"{uri}/last.safetensors").name == "last.safetensors"


def test_what_holds_no_weights_is_refused_with_what_it_has(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "notes.txt").write_text("to do")
    run_id = log_run(client, tmp_path / "source")
    part = "holds no .safetensors or .pth file (it has: teacher/notes.txt)"
    assert_refused(fetch, f"runs:/{run_id}/teacher", part)


def test_what_mlflow_does_not_have_is_refused_in_one_line(
    client: MlflowClient, fetch: Fetch, tmp_path: Path
) -> None:
    assert_refused(fetch, "models:/digits/1", "unknown model 'digits' (none is registered)")
    client.create_registered_model("empty")
    assert_refused(fetch, "models:/empty/latest", "model 'empty' has no versions")
    client.delete_registered_model("empty")
    run_id = log_run(client, only_weights(tmp_path / "source", 1))
    register(client, run_id)
    client.set_registered_model_alias("digits", "champion", "1")
    for uri, part in (
        ("models:/digit/1", "unknown model 'digit' (allowed: digits; did you mean 'digits'?)"),
        ("models:/digits/2", "has no version '2' (allowed: 1, @champion, latest)"),
        ("models:/digits@champ", "has no alias '@champ' (allowed: 1, @champion, latest; did you"),
        ("models:/digits/Production", "has no version 'Production'"),
        (f"models:/m-{'0' * 32}", "not found"),
        (f"runs:/{'0' * 32}/teacher", "not found"),
        (f"runs:/{run_id}/techer", "no artifact 'techer' (allowed: teacher; did you mean"),
        (f"runs:/{run_id}", "is no URI of MLflow's (allowed: "),
        ("models:/digits", "is no URI of MLflow's (allowed: "),
        ("mlflow-artifacts:/some/path", "tracking URI must be a valid http or https URI"),
    ):
        assert_refused(fetch, uri, part)
    assert downloads(tmp_path) == set()


def test_a_tracking_database_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    fetch = mlflow_fetcher(f"sqlite:///{tmp_path}/none.db", tmp_path / "weights")
    assert_refused(fetch, "models:/digits/1", "cannot be reached (there is no database ")
    assert list(tmp_path.iterdir()) == []


def test_a_tracking_server_that_does_not_answer_is_refused(tmp_path: Path) -> None:
    fetch = mlflow_fetcher("http://127.0.0.1:9", tmp_path / "weights")
    assert_refused(fetch, "models:/digits/1", "MLflow at http://127.0.0.1:9 cannot be reached")
