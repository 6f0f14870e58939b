from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.tracker import RunRef, Tracker

Runs = Callable[..., dict[str, Run]]


def open_tracker(uri: str, outbox: Path) -> Tracker:
    return Tracker(uri, "exp", outbox, linger_s=0.01, first_retry_s=0.05)


def history(uri: str, run: Run, metric: str) -> list[tuple[int, float]]:
    points = open_client(uri).get_metric_history(run.info.run_id, metric)
    return [(point.step, point.value) for point in points]


def test_a_sweep_is_recorded_as_a_tree_with_true_statuses(
    uri: str, tmp_path: Path, runs: Runs
) -> None:
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        tracker.start_run("sweep", "digits sweep", tags={"mlfd.kind": "sweep"})
        teacher = tracker.start_stage_run("k1", "teacher digits", parent="sweep")
        tracker.log_metrics(teacher, {"val/acc1": 90.0}, step=0)
        tracker.end_run(teacher, "FINISHED")
        tracker.start_run(
            "t1",
            "trial 1",
            parent="sweep",
            tags={"mlfd.stage.teacher": RunRef(teacher)},
            params={"alpha": 0.5, "beta.embedding": 1},
        )
        tracker.log_metrics("t1", {"val/acc1": 70.0, "train/loss": 1.5}, step=1)
        tracker.log_metrics("t1", {"val/acc1": 72.5, "train/loss": 1.25}, step=2)
        tracker.end_run("t1", "KILLED", "pruned at epoch 2")
        tracker.start_run("t2", "trial 2", parent="sweep")
        tracker.end_run("t2", "FAILED", "loss became NaN")
        tracker.end_run("sweep", "FINISHED")
        assert tracker.flush(30)
        assert tracker.pending() == 0
        teacher_id = tracker.run_id(teacher)

    found = runs()
    sweep, trial = found["digits sweep"], found["trial 1"]
    assert {name: run.info.status for name, run in found.items()} == {
        "digits sweep": "FINISHED",
        "teacher digits": "FINISHED",
        "trial 1": "KILLED",
        "trial 2": "FAILED",
    }
    assert trial.data.tags["mlflow.parentRunId"] == sweep.info.run_id
    assert trial.data.tags["mlfd.stage.teacher"] == teacher_id
    assert trial.data.tags["mlfd.reason"] == "pruned at epoch 2"
    assert trial.data.params == {"alpha": "0.5", "beta.embedding": "1"}
    assert history(uri, trial, "val/acc1") == [(1, 70.0), (2, 72.5)]


def test_artifacts_and_texts_arrive_though_their_sources_vanish(
    uri: str, tmp_path: Path, runs: Runs
) -> None:
    source = tmp_path / "weights.bin"
    source.write_bytes(b"\x01\x02")
    folder = tmp_path / "plots"
    folder.mkdir()
    (folder / "loss.txt").write_text("falling")
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        tracker.start_run("t", "trial")
        tracker.log_artifact("t", source, "model")
        tracker.log_artifact("t", folder)
        source.unlink()
        (folder / "loss.txt").write_text("changed later")
        tracker.log_text("t", "alpha: 0.5\n", "config.yaml")
        tracker.log_text("t", "tree", "plan/tree.txt")
        tracker.log_artifact("t", tmp_path / "missing.bin")
        assert tracker.flush(30)
        run_id = tracker.run_id("t")

    client = open_client(uri)
    assert run_id is not None
    for path, text in {
        "model/weights.bin": "\x01\x02",
        "plots/loss.txt": "falling",
        "config.yaml": "alpha: 0.5\n",
        "plan/tree.txt": "tree",
    }.items():
        assert Path(client.download_artifacts(run_id, path)).read_text() == text
    # Beside the database, wherever the process was started; and no copies are left behind.
    assert (tmp_path / "mlartifacts" / "exp" / run_id / "artifacts" / "config.yaml").exists()
    assert list((tmp_path / "outbox" / "files").iterdir()) == []


def test_datasets_become_mlflow_inputs(uri: str, tmp_path: Path, runs: Runs) -> None:
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        tracker.start_run("t", "trial")
        tracker.log_inputs(
            "t",
            [
                ("digits", "ab" * 32, "training"),
                ("digits", "ab" * 32, "validation"),
                ("letters", "cd" * 32, "training"),
            ],
        )

    inputs = runs()["trial"].inputs.dataset_inputs
    assert {(one.dataset.name, one.dataset.digest, one.tags[0].value) for one in inputs} == {
        ("digits", "ab" * 18, "training, validation"),
        ("letters", "cd" * 18, "training"),
    }


def test_a_replayed_trial_logs_nothing_twice(uri: str, tmp_path: Path, runs: Runs) -> None:
    for last_epoch in (3, 5):
        with open_tracker(uri, tmp_path / "outbox") as tracker:
            tracker.start_run("t", "trial", params={"alpha": 0.5})
            for epoch in range(1, last_epoch + 1):
                tracker.log_metrics("t", {"val/acc1": 10.0 * epoch}, step=epoch)
                tracker.log_metrics("t", {"val/acc1": 99.0}, step=epoch)

    assert history(uri, runs()["trial"], "val/acc1") == [(n, 10.0 * n) for n in range(1, 6)]


def test_metrics_of_another_name_may_join_a_step_later(
    uri: str, tmp_path: Path, runs: Runs
) -> None:
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        tracker.start_run("t", "trial")
        tracker.log_metrics("t", {"val/acc1": 80.0}, step=3)
        tracker.log_metrics("t", {"test/acc1": 79.0}, step=3)

    assert runs()["trial"].data.metrics == {"val/acc1": 80.0, "test/acc1": 79.0}


def test_a_restarted_tracker_goes_on_in_the_same_runs(uri: str, tmp_path: Path, runs: Runs) -> None:
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        tracker.start_run("t", "trial", params={"alpha": 0.5})
        tracker.end_run("t", "KILLED", "interrupted")
        assert tracker.flush(30)
        before = tracker.run_id("t")

    with open_tracker(uri, tmp_path / "outbox") as tracker:
        assert tracker.run_id("t") == before
        tracker.start_run("t", "trial", params={"alpha": 0.75, "seed": 1})
        assert tracker.flush(30)
        assert runs()["trial"].info.status == "RUNNING"
        tracker.end_run("t", "FINISHED")

    trial = runs()["trial"]
    assert trial.info.run_id == before
    assert trial.info.status == "FINISHED"
    assert trial.data.params == {"alpha": "0.5", "seed": "1"}
    assert trial.data.tags["mlfd.reason"] == ""


def test_a_killed_process_loses_no_line_and_doubles_none(
    uri: str, tmp_path: Path, runs: Runs
) -> None:
    script = """
import os, signal, sys, time
from pathlib import Path
from mlfd_tune.tracking.tracker import Tracker

tracker = Tracker(sys.argv[1], "exp", Path(sys.argv[2]), linger_s=0.01)
for trial in range(4):
    tracker.start_run(f"t{trial}", f"trial {trial}", params={"n": trial})
    for step in range(500):
        tracker.log_metrics(f"t{trial}", {"val/acc1": float(step)}, step)
        if trial == 2 and step == 250:
            while tracker.run_id("t1") is None:   # killed while the sender is at work
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)
"""
    outbox = tmp_path / "outbox"
    done = subprocess.run([sys.executable, "-c", script, uri, str(outbox)], check=False)
    assert done.returncode == -9
    made = {run.info.run_id for run in runs().values()}
    assert made

    with open_tracker(uri, outbox) as tracker:
        for trial in range(4):
            tracker.start_run(f"t{trial}", f"trial {trial}", params={"n": trial})
            for step in range(500):
                tracker.log_metrics(f"t{trial}", {"val/acc1": float(step)}, step)
            tracker.end_run(f"t{trial}", "FINISHED")
        assert tracker.flush(30)

    found = runs()
    assert made <= {run.info.run_id for run in found.values()}
    assert sorted(found) == [f"trial {trial}" for trial in range(4)]
    for run in found.values():
        assert history(uri, run, "val/acc1") == [(step, float(step)) for step in range(500)]


@pytest.mark.parametrize("lost", ["progress", "whole ledger"])
def test_sending_the_journal_again_changes_nothing(
    lost: str, uri: str, tmp_path: Path, runs: Runs
) -> None:
    # What a crash between a call and its remembering leaves: MLflow has it, the ledger has not.
    outbox = tmp_path / "outbox"
    with open_tracker(uri, outbox) as tracker:
        tracker.start_run("sweep", "sweep")
        stage = tracker.start_stage_run("k", "stage", parent="sweep")
        tracker.end_run(stage, "FINISHED")
        tracker.start_run("t", "trial", parent="sweep", params={"a": 1}, tags={"x": "1"})
        tracker.log_metrics("t", {"val/acc1": 1.0, "bad": float("nan")}, 1)
        tracker.log_metrics("t", {"val/acc1": 2.0}, 2)
        tracker.log_inputs("t", [("digits", "d1", "training")])
        tracker.end_run("t", "FINISHED")
    before = runs()

    if lost == "progress":
        import sqlite3

        with sqlite3.connect(outbox / "ledger.sqlite") as ledger:
            ledger.execute("UPDATE progress SET position = 0, lines = 0")
    else:
        (outbox / "ledger.sqlite").unlink()
    with open_tracker(uri, outbox) as tracker:
        assert tracker.pending() == 8
        assert tracker.flush(30)

    after = runs()
    assert {name: run.info.run_id for name, run in after.items()} == {
        name: run.info.run_id for name, run in before.items()
    }
    for name, run in after.items():
        assert run.info.status == before[name].info.status
        assert run.info.end_time == before[name].info.end_time
        assert len(run.inputs.dataset_inputs) == len(before[name].inputs.dataset_inputs)
    assert history(uri, after["trial"], "val/acc1") == [(1, 1.0), (2, 2.0)]
    assert len(history(uri, after["trial"], "bad")) == 1
    assert not (outbox / "rejected.jsonl").exists()


def test_a_finished_stage_is_one_run_for_all_sweeps_of_an_experiment(
    uri: str, tmp_path: Path, runs: Runs
) -> None:
    for sweep in ("first", "second"):
        with open_tracker(uri, tmp_path / sweep) as tracker:
            tracker.start_run("sweep", sweep)
            stage = tracker.start_stage_run("abc", "teacher", parent="sweep", params={"by": sweep})
            tracker.log_metrics(stage, {"val/acc1": 50.0}, step=1)
            tracker.end_run(stage, "FINISHED")
            tracker.set_tags("sweep", {"mlfd.stage.teacher": RunRef(stage)})

    found = runs()
    assert sorted(found) == ["first", "second", "teacher"]
    teacher = found["teacher"]
    assert teacher.data.params == {"by": "first"}
    assert history(uri, teacher, "val/acc1") == [(1, 50.0)]
    for sweep in ("first", "second"):
        assert found[sweep].data.tags["mlfd.stage.teacher"] == teacher.info.run_id


def test_an_unfinished_stage_of_another_sweep_is_gone_on_with(
    uri: str, tmp_path: Path, runs: Runs
) -> None:
    with open_tracker(uri, tmp_path / "first") as tracker:
        stage = tracker.start_stage_run("abc", "teacher")
        tracker.end_run(stage, "FAILED", "killed")
    with open_tracker(uri, tmp_path / "second") as tracker:
        stage = tracker.start_stage_run("abc", "teacher")
        tracker.log_metrics(stage, {"val/acc1": 60.0}, step=1)
        tracker.end_run(stage, "FINISHED")

    assert runs()["teacher"].info.status == "FINISHED"
    assert runs()["teacher"].data.metrics == {"val/acc1": 60.0}


def test_late_sending_keeps_the_times_of_the_calls(uri: str, tmp_path: Path, runs: Runs) -> None:
    tracker = Tracker(uri, "exp", tmp_path / "outbox", linger_s=60)
    begin = time.time_ns() // 1_000_000
    tracker.start_run("t", "trial")
    time.sleep(0.3)
    tracker.log_metrics("t", {"val/acc1": 1.0}, 1)
    tracker.end_run("t", "FINISHED")
    end = time.time_ns() // 1_000_000
    time.sleep(0.5)
    tracker.close()

    info = runs()["trial"].info
    assert begin <= info.start_time <= begin + 200
    assert end - 200 <= info.end_time <= end


def test_what_exceeds_mlflows_limits_is_shortened(uri: str, tmp_path: Path, runs: Runs) -> None:
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        tracker.start_run(
            "t",
            "n" * 1000,
            params={"long": "x" * 20_000} | {f"p{n}": "y" * 5000 for n in range(150)},
            tags={"note": "z" * 20_000},
        )
        tracker.log_metrics("t", {f"m{n}": float(n) for n in range(2500)}, step=1)

    (run,) = runs().values()
    assert len(run.data.params["long"]) == 6000
    assert len(run.data.params) == 151
    assert len(run.data.tags["note"]) == 5000
    assert len(run.data.metrics) == 2500
    assert not (tmp_path / "outbox" / "rejected.jsonl").exists()


def test_names_mlflow_forbids_are_made_allowed(uri: str, tmp_path: Path, runs: Runs) -> None:
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        tracker.start_run("t", "it's a trial", tags={"größe": "1"}, params={"a=b": 1, "../up": 2})
        tracker.log_metrics("t", {"loss[0]": 1.0, "/val//acc1/": 2.0, "": 3.0}, step=1)

    run = runs()["it's a trial"]
    assert run.data.params == {"a_b": "1", "up": "2"}
    assert run.data.metrics == {"loss_0_": 1.0, "val/acc1": 2.0, "unnamed": 3.0}
    assert not (tmp_path / "outbox" / "rejected.jsonl").exists()


def test_what_mlflow_refuses_is_put_aside_once_warned_and_holds_up_nothing(
    uri: str, tmp_path: Path, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        tracker.start_run("gone", "deleted by somebody")
        assert tracker.flush(30)
        run_id = tracker.run_id("gone")
        assert run_id is not None
        open_client(uri).delete_run(run_id)
        caplog.clear()
        for step in range(20):
            tracker.log_metrics("gone", {"val/acc1": 1.0}, step)
            assert tracker.flush(30)
        tracker.log_metrics("never started", {"val/acc1": 1.0}, 1)
        tracker.start_run("t", "trial")
        assert tracker.flush(30)

    assert list(runs()) == ["trial"]
    rejected = (tmp_path / "outbox" / "rejected.jsonl").read_text().splitlines()
    assert len(rejected) == 21
    assert all(json.loads(line)["error"] for line in rejected)
    warnings = [record.message for record in caplog.records]
    assert sum("run gone" in warning for warning in warnings) == 1
    assert sum("run never started" in warning for warning in warnings) == 1


def test_an_absent_server_costs_the_caller_nothing_but_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tracker = Tracker("http://127.0.0.1:9", "exp", tmp_path / "outbox", first_retry_s=0.05)
    begin = time.perf_counter()
    tracker.start_run("t", "trial")
    for step in range(1000):
        tracker.log_metrics("t", {"val/acc1": 1.0}, step)
    assert time.perf_counter() - begin < 1
    assert not tracker.flush(4)
    assert tracker.pending() == 1001
    assert not tracker.close(timeout_s=0.1)

    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert sum("cannot be reached" in warning for warning in warnings) == 1
    assert sum("mlfd-tune tracking flush" in warning for warning in warnings) == 1
    assert len(warnings) == 2


def test_a_replaced_database_gets_the_whole_journal(
    uri: str, tmp_path: Path, empty_database: Path, runs: Runs
) -> None:
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        tracker.start_run("t", "trial")
        tracker.log_metrics("t", {"val/acc1": 1.0}, 1)
    other = tmp_path / "other" / "mlflow.db"
    other.parent.mkdir()
    other.write_bytes(empty_database.read_bytes())

    with open_tracker(f"sqlite:///{other}", tmp_path / "outbox") as tracker:
        tracker.log_metrics("t", {"val/acc1": 2.0}, 2)

    trial = runs(at=f"sqlite:///{other}")["trial"]
    assert history(f"sqlite:///{other}", trial, "val/acc1") == [(1, 1.0), (2, 2.0)]


def test_an_outbox_has_one_owner(uri: str, tmp_path: Path) -> None:
    with (
        open_tracker(uri, tmp_path / "outbox"),
        pytest.raises(UserError, match="already open in this process"),
    ):
        open_tracker(uri, tmp_path / "outbox")

    script = """
import sys, time
from pathlib import Path
from mlfd_tune.tracking.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "outbox")], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        from mlfd_tune.tracking.outbox import Outbox

        with pytest.raises(UserError, match=f"in use by process {holder.pid}"):
            Outbox(tmp_path / "outbox", wait_s=0.2)
    finally:
        holder.kill()
        holder.wait()
    Outbox(tmp_path / "outbox", wait_s=2).close()


def test_logging_after_the_end_is_ignored_with_a_warning(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = open_tracker(uri, tmp_path / "outbox")
    tracker.close()
    tracker.log_metrics("t", {"val/acc1": 1.0}, 1)
    assert tracker.close()
    assert "after the tracker was closed" in caplog.text


def test_a_new_database_is_made_by_the_sender_without_a_word(tmp_path: Path) -> None:
    script = """
import logging, sys, time
from pathlib import Path
from mlfd_tune.tracking.tracker import Tracker
logging.basicConfig(level=logging.INFO)
begin = time.perf_counter()
tracker = Tracker("sqlite:///new/mlflow.db", "exp", Path("outbox"))
tracker.start_run("t", "trial")
tracker.log_metrics("t", {"val/acc1": 1.0}, 1)
assert time.perf_counter() - begin < 0.5
assert tracker.close(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "new" / "mlflow.db").exists()


def test_a_stage_bears_the_times_of_its_work_not_of_its_logging(
    uri: str, tmp_path: Path, runs: Runs
) -> None:
    with open_tracker(uri, tmp_path / "outbox") as tracker:
        stage = tracker.start_stage_run("k", "teacher", started=1000.5)
        tracker.end_run(stage, "FINISHED", ended=1012.25)
    run = runs()["teacher"]
    assert (run.info.start_time, run.info.end_time) == (1_000_500, 1_012_250)
