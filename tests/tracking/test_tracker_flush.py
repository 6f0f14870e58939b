from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlfd_tune.cli.leaderboard import leaderboard
from mlfd_tune.cli.tracking import tracking
from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking import Tracker
from mlfd_tune.tracking.flushing import uri_of
from mlfd_tune.tracking.outbox import Outbox
from mlfd_tune.tracking.target import Target
from mlfd_tune.tracking.waiting import Waiting, waiting_for, waiting_in
from tests.helpers.tracked import check_once, tell

AWAY = "http://127.0.0.1:9"


def left_behind(uri: str, runs: Path, run: str = "1", experiment: str = "exp") -> Path:
    """Track a small sweep while the server is away, and return the outbox."""
    outbox = runs / experiment / run / "tracking"
    tracker = Tracker(uri, experiment, outbox)
    tell(tracker)
    tracker.close(0)
    return outbox


def flush(*arguments: str, expect: int) -> str:
    """Run ``tracking flush`` here and return what it prints or what is wrong."""
    done = CliRunner().invoke(tracking, ["flush", *arguments])
    if expect == 2:
        assert isinstance(done.exception, UserError), done.output
        return str(done.exception)
    assert done.exit_code == expect, done.output
    return done.output


def test_what_waits_is_listed_and_sent_once(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outbox = left_behind(AWAY, tmp_path / "runs")
    (entry,) = json.loads(CliRunner().invoke(tracking, ["status", "--json"]).output)
    waiting = waiting_in(outbox)
    assert waiting > 40
    assert entry == {
        "experiment": "exp",
        "run": "1",
        "folder": str(outbox),
        "uri": AWAY,
        "password_needed": False,
        "records": waiting,
        "refused": 0,
        "process": None,
    }
    assert "exp/1" in CliRunner().invoke(tracking, ["status"]).output

    assert "cannot be reached" in flush(expect=2)
    assert waiting_in(outbox) == waiting
    sent = flush("--uri", uri, expect=0)
    assert f"exp/1: {waiting} records sent to {uri}" in sent.replace("\n", "")
    assert flush("--uri", uri, expect=0) == "no records wait in runs\n"
    assert waiting_in(outbox) == 0
    check_once(uri, "exp", tmp_path)


def test_a_leaderboard_says_what_it_lacks(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Tracker(uri, "exp", tmp_path / "runs" / "exp" / "1" / "tracking") as tracker:
        tracker.start_run("t", "trial")
    outbox = left_behind(AWAY, tmp_path / "runs", "2")
    Target.of(uri, "exp").write(outbox)  # as if this database had been away

    def shown(*arguments: str) -> str:
        done = CliRunner().invoke(leaderboard, [*arguments, "--uri", uri])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    line = f"{waiting_in(outbox)} records of exp/2 are not here yet: mlfd-tune tracking flush"
    assert line in shown("exp")
    assert line in shown()
    assert line not in shown("exp", "--json")
    flush(expect=0)
    assert "not here yet" not in shown("exp")


def test_one_run_or_the_runs_of_an_experiment_are_chosen_by_name(uri: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    left_behind(AWAY, runs, "1", "a")
    left_behind(AWAY, runs, "2", "a")
    left_behind(AWAY, runs, "1", "b")
    options = ("--runs", str(runs), "--uri", uri)
    assert "did you mean 'a/2'" in flush("a/3", *options, expect=2)
    flush("a/1", *options, expect=0)
    assert [one.name for one in waiting_for(runs) if one.records] == ["b/1", "a/2"]
    flush("a", *options, expect=0)
    assert [one.name for one in waiting_for(runs) if one.records] == ["b/1"]
    assert "holds none" in flush("a", "--runs", str(tmp_path / "none"), expect=2)


def test_an_outbox_in_use_is_left_alone_and_others_are_sent(uri: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    outbox = left_behind(uri, runs, "1")
    used = left_behind(AWAY, runs, "2")
    left_behind(AWAY, runs, "3")
    script = """
import sys, time
from pathlib import Path
from mlfd_tune.tracking.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(used)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = flush("--runs", str(runs), "--uri", uri, expect=2)
        assert told.startswith(f"exp/2: process {holder.pid} is sending its records")
        assert "\n" not in told
        (entry,) = [one for one in waiting_for(runs) if one.records]
        assert (entry.run, entry.owner) == ("2", str(holder.pid))
    finally:
        holder.kill()
        holder.wait()
    Outbox(outbox).close()  # looking at it has left no lock behind


def test_a_flush_killed_anywhere_and_begun_again_sends_each_record_once(
    uri: str, tmp_path: Path
) -> None:
    outbox = left_behind(AWAY, tmp_path / "runs")
    script = """
import os, signal, sys
from pathlib import Path
from mlfd_tune.tracking.flushing import flush
from mlfd_tune.tracking.ledger import Ledger
from mlfd_tune.tracking.waiting import waiting_for

after = int(sys.argv[3])
remember, seen = Ledger.remember_run, 0
def killed(self, *arguments, **options):
    global seen
    seen += 1
    if seen == after:  # MLflow has made the run, and nobody knows
        os.kill(os.getpid(), signal.SIGKILL)
    remember(self, *arguments, **options)
Ledger.remember_run = killed
(waiting,) = waiting_for(Path(sys.argv[1]))
flush(waiting, sys.argv[2], lambda left: None)
"""
    for after in (1, 2, 3):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "runs"), uri, str(after)], check=False
        )
        assert done.returncode == -signal.SIGKILL
    flush("--runs", str(tmp_path / "runs"), "--uri", uri, expect=0)
    assert waiting_in(outbox) == 0
    check_once(uri, "exp", tmp_path)
    assert list((outbox / "files").iterdir()) == []


def test_copies_that_a_killed_process_left_are_deleted_and_those_that_wait_are_not(
    tmp_path: Path,
) -> None:
    outbox = left_behind(AWAY, tmp_path / "runs")
    wanted = sorted(path.name for path in (outbox / "files").iterdir())
    half = outbox / "files" / "0123456789abcdef"
    half.mkdir()
    (half / "model.bin").write_bytes(b"half of it")
    Outbox(outbox).close()
    assert sorted(path.name for path in (outbox / "files").iterdir()) == wanted


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("http://me:topsecret@host:5000", "http://host:5000"),
        ("https://topsecret@host/path", "https://host/path"),
        ("postgresql://me:topsecret@host/db", "postgresql://me@host/db"),
        ("postgresql://me@host/db?password=topsecret", "postgresql://me@host/db"),
    ],
)
def test_where_records_go_is_remembered_without_the_login(
    uri: str, kept: str, tmp_path: Path
) -> None:
    Target.of(uri, "exp").write(tmp_path)
    assert "topsecret" not in (tmp_path / "target.json").read_text()
    target = Target.read(tmp_path)
    assert target == Target(kept, "exp", secret=True)
    assert target.is_meant_by(uri)
    assert not target.is_meant_by(uri.replace("host", "other"))

    waiting = Waiting("exp", "1", tmp_path, target, 1, 0, None)
    with pytest.raises(UserError, match="--uri or in MLFLOW_TRACKING_URI") as caught:
        uri_of(waiting, None, {})
    assert "topsecret" not in str(caught.value)
    assert uri_of(waiting, None, {"MLFLOW_TRACKING_URI": uri}) == uri
    assert uri_of(waiting, "sqlite:///other.db", {}) == "sqlite:///other.db"
    login = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "topsecret"}
    assert uri_of(waiting, None, {**login, "PGPASSWORD": "topsecret"}) == kept


def test_an_outbox_that_does_not_know_where_to_asks(tmp_path: Path) -> None:
    outbox = left_behind(AWAY, tmp_path / "runs")
    for content in ("", "{", "[]", '{"uri": 1}'):
        (outbox / "target.json").write_text(content)
        told = flush("--runs", str(tmp_path / "runs"), expect=2)
        assert told == "exp/1: it is not known where its records go; give --uri"


def test_a_running_process_loses_no_lock_when_others_look(uri: str, tmp_path: Path) -> None:
    with Tracker(uri, "exp", tmp_path / "runs" / "exp" / "1" / "tracking") as tracker:
        tracker.start_run("t", "trial")
        script = (
            "import sys; from pathlib import Path; "
            "from mlfd_tune.tracking.waiting import waiting_for; "
            "print(waiting_for(Path(sys.argv[1]))[0].owner)"
        )
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", script, str(tmp_path / "runs")],
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout == f"{os.getpid()}\n"
        assert tracker.flush(60)
