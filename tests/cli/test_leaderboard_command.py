"""`leaderboard` as a person types it: one command by default, another for differences, a watch."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlfd_tune.cli.main import main
from mlfd_tune.tracking.tracker import Tracker
from tests.helpers.command import ENVIRONMENT, command


def record(
    folder: Path, configs: dict[str, float], experiment: str = "exp", *, end: bool = True
) -> None:
    """Record trials of a sweep in the folder's database."""
    uri = f"sqlite:///{folder}/mlflow.db"
    outbox = folder / f"{experiment}-{next(iter(configs))}"
    tracker = Tracker(uri, experiment, outbox, linger_s=0.01)
    tags = {"mlfd.kind": "sweep", "mlfd.sweep": "S"}
    tracker.start_run("S", "S", tags=tags)
    for config, val in configs.items():
        tags = {
            "mlfd.kind": "trial",
            "mlfd.sweep": "S",
            "mlfd.dataset": "digits",
            "mlfd.method": "mlfd",
            "mlfd.config": config,
            "mlfd.seed": "0",
        }
        tracker.start_run(config, config, parent="S", tags=tags, params={"alpha": val / 100})
        tracker.log_metrics(config, {"val/acc1": val, "test/acc1": 100 - val}, step=1)
        if end:
            tracker.end_run(config, "FINISHED")
    assert tracker.close(60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaderboard")
    record(folder, {f"cfg{number:02}": 30.0 + number for number in range(60)})
    record(folder, {"one": 50.0}, "diff")
    return folder


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")

    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, ["leaderboard", *arguments], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return run


def test_an_experiment_needs_no_command_and_one_called_diff_has_one(call) -> None:
    (plain, named, other) = (
        {row["experiment"] for row in json.loads(call(*arguments, "--json").stdout)}
        for arguments in (["exp"], ["show", "diff"], [])
    )
    assert (plain, named, other) == ({"exp"}, {"diff"}, {"exp", "diff"})


def test_a_filter_an_order_and_a_column(call) -> None:
    arguments = ["exp", "--filter", "alpha >= 0.85", "--sort", "val/acc1", "--columns", "alpha"]
    rows = json.loads(call(*arguments, "--json").stdout)
    assert [row["val/acc1"] for row in rows] == [85.0, 86.0, 87.0, 88.0, 89.0]
    assert [row["params"]["alpha"] for row in rows] == ["0.85", "0.86", "0.87", "0.88", "0.89"]
    assert "not to select by" not in call(*arguments).stdout


def test_an_order_by_test_accuracy_is_shown_and_said_to_be_no_way_to_select(call) -> None:
    for option in (["--sort", "-test/acc1"], ["--filter", "test/acc1 > 60"]):
        assert "to look at, not to select by" in call("exp", *option).stdout


def test_a_limit_says_how_many_more_there_are(call) -> None:
    assert "… 57 more: --limit 0 shows all" in call("exp", "--limit", "3").stdout
    assert "more" not in call("exp").stdout  # no terminal: all of them
    assert len(json.loads(call("--limit", "3", "--json").stdout)) == 4


def test_a_terminal_shows_the_first_fifty_rows(folder: Path) -> None:
    ours, theirs = pty.openpty()
    uri = f"sqlite:///{folder}/mlflow.db"
    with subprocess.Popen(
        command("leaderboard", "exp", "--uri", uri), stdout=theirs, env=ENVIRONMENT
    ) as process:
        os.close(theirs)
        assert "… 10 more: --limit 0 shows all" in read_until(ours, None)
        assert process.wait(60) == 0
    os.close(ours)


def test_two_configurations_are_compared(call) -> None:
    found = json.loads(call("diff", "exp:cfg00", "exp:cfg10", "--json").stdout)
    assert found["params"]["alpha"] == ["0.3", "0.4"]
    assert found["metrics"]["val/acc1"]["difference"] == pytest.approx(10.0)
    assert "val/acc1" in call("diff", "exp:cfg00", "exp:cfg10").stdout


def test_help_shows_the_options_of_the_default(call) -> None:
    text = call("--help").stdout
    for part in ("[EXPERIMENT]", "diff [OPTIONS] A B", "--filter", "--watch", "--json"):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["exp", "--watch", "1", "--json"], "--watch: draws a table"),
        (["exp", "--watch", "1"], "no terminal to draw in"),
        (["exp", "--filter", "val/acc1 >"], "--filter: at character"),
        (["exp", "--sort", "accuracy"], "--sort: no row has 'accuracy'"),
    ],
)
def test_what_cannot_be_is_one_line(call, arguments: list[str], part: str) -> None:
    result = call(*arguments, code=2)
    assert part in result.output
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1


def test_a_watch_shows_what_changed_and_ends_cleanly(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes((folder / "mlflow.db").read_bytes())
    ours, theirs = pty.openpty()
    arguments = ["leaderboard", "exp", "--limit", "3", "--watch", "0.5"]
    process = subprocess.Popen(
        command(*arguments, "--uri", f"sqlite:///{tmp_path}/mlflow.db"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**ENVIRONMENT, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = read_until(ours, "no change")
        assert "0 runs under way" in shown
        assert "… 57 more" in shown
        record(tmp_path, {"new1": 99.0}, end=False)
        assert "1 run under way" in read_until(ours, "1 run under way")
        record(tmp_path, {"new2": 98.0})
        shown = read_until(ours, "changed (*)")
        assert "* mlfd" in read_until(ours, "Accuracy in %", shown)
        process.send_signal(signal.SIGINT)
        rest = read_until(ours, None)
        assert process.wait(30) == 0
        assert "Traceback" not in rest
        assert "Aborted" not in rest
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, text: str | None, shown: str = "", limit_s: float = 120) -> str:
    """Read what a terminal shows until a text comes, or to the end."""
    end = time.monotonic() + limit_s
    while text is None or text not in shown:
        assert time.monotonic() < end, [line for line in shown.splitlines() if "under" in line]
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                part = os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # nobody writes to it any more
                part = ""
            if not part:
                assert text is None, shown[-2000:]
                break
            shown += part
    return shown
