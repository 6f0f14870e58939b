"""Seeds are added until differences are known closely enough, and a resumed run looks again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from mlfd_tune.tracking.results import read_results
from tests.helpers.command import ENVIRONMENT, command, mlfd_tune, write_yaml
from tests.helpers.experiments import TRAIN, tiny_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("until_resolved")]

ARMS = {"labels": {"method": "none"}, "mlfd": {}}
LOOK = r"(\d+) seeds: widest difference interval [\d.]+ points \(arm mlfd on digits\), (\w+)"


def write(folder: Path, width: float, max_seeds: int) -> None:
    content = {
        "kind": "ablation",
        **tiny_pipeline(targets=["digits"], student={"train": {**TRAIN, "epochs": 2}}),
        "design": {"kind": "compare", "arms": ARMS},
        "seeds": 2,
        "metric": "test/acc1",
        "resolve": {"width": width, "batch": 2, "max_seeds": max_seeds},
    }
    write_yaml(folder / "arms.yaml", content)


def runs(folder: Path) -> Counter[str | None]:
    results = read_results(f"sqlite:///{folder / 'mlflow.db'}", "arms", "FINISHED")
    return Counter(result.arm for result in results if result.kind == "arm")


def test_a_width_that_any_seeds_have_is_resolved_at_the_first_look(tmp_path: Path) -> None:
    write(tmp_path, width=0.1, max_seeds=6)

    done = mlfd_tune("run", "arms.yaml", "--until-resolved", "1e6", cwd=tmp_path)

    assert re.search(LOOK, done.stdout), done.stdout
    assert "2 seeds: " in done.stdout
    assert ", resolved" in done.stdout
    assert runs(tmp_path) == {"labels": 2, "mlfd": 2}


def test_an_interrupted_run_adds_the_seeds_that_are_left_and_looks_as_before(
    tmp_path: Path,
) -> None:
    write(tmp_path, width=1e-6, max_seeds=6)

    driver = start(tmp_path)
    wait_for_look(tmp_path, driver)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=120) == 130
    log = (tmp_path / "driver.log").read_text()
    assert "go on with: mlfd-tune run arms.yaml --set resolve.width=2e-06 --resume" in log
    (folder,) = tmp_path.glob("runs/arms/*")
    over = (folder / "ended.txt").read_text().splitlines()
    assert len(over) >= 4

    done = mlfd_tune("run", "arms.yaml", "--until-resolved", "2e-6", "--resume", cwd=tmp_path)

    first = re.search(r"2 seeds: widest .*, goes on", log)
    assert first is not None
    assert first[0] in done.stdout
    assert "4 seeds: " in done.stdout
    assert "budget of 6 seeds spent, not resolved: arm mlfd on digits" in done.stdout
    assert runs(tmp_path) == {"labels": 6, "mlfd": 6}
    ended = (folder / "ended.txt").read_text().splitlines()
    assert ended[: len(over)] == over
    assert len(ended) == len(set(ended)) == 12
    state = json.loads((folder / "state.json").read_text())
    assert state["raw"]["resolve"]["width"] == 2e-6
    assert state["finished"]


def start(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "driver.log").open("w") as log:
        return subprocess.Popen(
            command("run", "arms.yaml", "--until-resolved", "2e-6"),
            cwd=folder,
            env={**ENVIRONMENT, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def wait_for_look(folder: Path, driver: subprocess.Popen[bytes]) -> None:
    """Wait until the first look was told."""
    deadline = time.monotonic() + 300
    while "2 seeds: widest" not in (folder / "driver.log").read_text():
        assert driver.poll() is None, (folder / "driver.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
