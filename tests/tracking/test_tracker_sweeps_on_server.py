"""Sweeps tracked by a real ``mlflow server`` on PostgreSQL, and all that reads them back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlfd_tune.tracking import leaderboard, open_client, reachable
from tests.helpers.command import ENVIRONMENT, command, mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_sweep
from tests.helpers.servers import MlflowServer, free_port, shared_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mlflow server")]

NAME = "served"


@pytest.fixture(scope="module")
def server() -> MlflowServer:
    return shared_server()


@pytest.fixture(scope="module")
def home(server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep on one dataset that the server tracked."""
    folder = tmp_path_factory.mktemp("served")
    content = tiny_sweep(resources={"workers": 1}, targets=["digits"], tracking={"uri": server.uri})
    content["search"] |= {"trials": 2, "scheduler": "none"}
    write_yaml(folder / f"{NAME}.yaml", content)
    mlfd_tune("run", f"{NAME}.yaml", cwd=folder)
    return folder


def client_of(server: MlflowServer) -> MlflowClient:
    return open_client(server.uri)


def kinds(server: MlflowServer) -> Counter[str]:
    client = client_of(server)
    experiment = client.get_experiment_by_name(NAME)
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    assert {run.info.status for run in found} == {"FINISHED"}
    return Counter(run.data.tags["mlfd.kind"] for run in found)


def test_a_leaderboard_is_read_from_the_server_and_from_its_database(
    home: Path, server: MlflowServer
) -> None:
    told = mlfd_tune("leaderboard", NAME, "--uri", server.uri, "--json", cwd=home)
    rows = json.loads(told.stdout)
    methods = Counter((row["status"], row["method"]) for row in rows)
    assert methods["confirmed", "mlfd"] == methods["confirmed", "none"] == 1
    assert [row.as_json() for row in leaderboard(server.backend, NAME)] == rows

    found = mlfd_tune(
        *("leaderboard", NAME, "--uri", server.uri, "--json", "--status", "confirmed"),
        *("--filter", "distillation.alpha > 0 and val/acc1 >= 0", "--sort", "-val/acc1"),
        cwd=home,
    )
    assert {row["status"] for row in json.loads(found.stdout)} == {"confirmed"}


def test_the_winner_is_exported_through_the_server_and_reproduced(
    home: Path, server: MlflowServer
) -> None:
    mlfd_tune("export", NAME, "-o", "best", "--uri", server.uri, cwd=home)
    assert (home / "best" / "digits.yaml").is_file()
    assert (home / "best" / "digits.safetensors").is_file()
    done = mlfd_tune("reproduce", "best", "--json", cwd=home)
    assert all(told["reproduced"] for told in json.loads(done.stdout))


def test_the_winner_is_registered_on_the_server_and_read_from_there(
    home: Path, server: MlflowServer, tmp_path: Path
) -> None:
    options = ("--uri", server.uri, "--json")
    (first,) = json.loads(mlfd_tune("register", NAME, *options, cwd=home).stdout)
    assert (first["version"], first["is_new"], first["is_champion"]) == ("1", True, True)
    (again,) = json.loads(mlfd_tune("register", NAME, *options, cwd=home).stdout)
    assert (again["version"], again["is_new"]) == ("1", False)

    from mlfd_tune.tracking.weights import mlflow_fetcher

    weights = mlflow_fetcher(server.uri, tmp_path)(f"models:/{NAME}.digits@champion")
    version = client_of(server).get_model_version_by_alias(f"{NAME}.digits", "champion")
    (stored,) = (home / ".mlfd" / "store").glob(
        f"artifacts/student/{version.tags['mlfd.artifact_key']}/model.safetensors"
    )
    assert weights.read_bytes() == stored.read_bytes()


def test_a_second_sweep_shares_the_stage_runs_and_an_interrupted_one_goes_on_in_its_own(
    home: Path, server: MlflowServer
) -> None:
    before = kinds(server)
    mlfd_tune("run", f"{NAME}.yaml", "--set", "search.trials=1", cwd=home)
    after = kinds(server)
    assert after["sweep"] == before["sweep"] + 1
    assert after["trial"] == before["trial"] + 1
    assert after["stage"] == before["stage"]

    more = ("run", f"{NAME}.yaml", "--set", "search.trials=4", "--set", "seed=4")
    driver = subprocess.Popen(
        command(*more), cwd=home, env=ENVIRONMENT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + 300
        while '"run":"trial/digits/0","step":1' not in latest_journal(home):
            assert time.monotonic() < until
            assert driver.poll() is None
            time.sleep(0.05)
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(timeout=120) == 130
    finally:
        driver.kill()
    interrupted = ids(server)
    mlfd_tune(*more, "--resume", cwd=home)
    assert interrupted <= ids(server)
    assert kinds(server)["sweep"] == after["sweep"] + 1
    assert kinds(server)["trial"] == after["trial"] + 4


def latest_journal(home: Path) -> str:
    journals = sorted(home.glob(f"runs/{NAME}/*/tracking/journal.jsonl"))
    return journals[-1].read_text() if len(journals) == 3 else ""


def ids(server: MlflowServer) -> set[str]:
    client = client_of(server)
    experiment = client.get_experiment_by_name(NAME)
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return {run.info.run_id for run in found}


def test_mlflows_pages_are_served_from_a_database_but_not_from_a_server(
    home: Path, server: MlflowServer
) -> None:
    refused = mlfd_tune("ui", "--uri", server.uri, cwd=home, expect=2)
    (line,) = refused.stderr.splitlines()
    assert "is a server already" in line

    port = free_port()
    serving = subprocess.Popen(
        command("ui", "--uri", server.backend, "--port", str(port)),
        cwd=home,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 180
        while reachable(f"http://127.0.0.1:{port}"):
            assert time.monotonic() < until
            assert serving.poll() is None
            time.sleep(0.2)
        asked = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name"
        with urllib.request.urlopen(f"{asked}?experiment_name={NAME}") as answer:
            assert json.load(answer)["experiment"]["name"] == NAME
    finally:
        os.killpg(serving.pid, signal.SIGKILL)  # a session of its own, made above
        serving.wait()
