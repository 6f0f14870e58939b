"""A small sweep as a driver tells it to the tracker, and what MLflow must have of it in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from mlfd_tune.tracking import RunRef, Tracker, open_client

__all__ = ["STEPS", "TRIALS", "check_once", "runs_of", "tell"]

TRIALS = 3
STEPS = 12


def tell(tracker: Tracker, between: Callable[[int, int], None] = lambda trial, step: None) -> None:
    """Tell a tracker of a sweep: a parent, a stage, and trials with all that a trial has.

    Args:
        tracker: Whom to tell.
        between: Called before each step with the numbers of trial and step.
    """
    tracker.start_run("parent", "sweep", tags={"mlfd.kind": "sweep"})
    stage = tracker.start_stage_run("key", "teacher", parent="parent", params={"arch": "test_vit"})
    tracker.log_metrics(stage, {"val/acc1": 90.0}, 1)
    tracker.end_run(stage, "FINISHED")
    for trial in range(TRIALS):
        local_id = f"t{trial}"
        tracker.start_run(
            local_id, f"trial {trial}", parent="parent", params={"alpha": trial / 8, "n": trial}
        )
        tracker.log_inputs(local_id, [("digits", f"digest{trial}", "train")])
        tracker.log_text(local_id, f"alpha: {trial / 8}\n", "config.yaml")
        for step in range(STEPS):
            between(trial, step)
            tracker.log_metrics(
                local_id, {"val/acc1": trial + step, "train/loss": 1 / (step + 1)}, step
            )
        tracker.set_tags(local_id, {"mlfd.stage.teacher": RunRef(stage)})
        status = "KILLED" if trial % 2 else "FINISHED"
        tracker.end_run(local_id, status, "pruned" if trial % 2 else None)
    tracker.end_run("parent", "FINISHED")


def runs_of(client: MlflowClient, experiment: str) -> dict[str, Run]:
    """Return an experiment's runs by name, each of which is there once."""
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    listed = client.search_runs([found.experiment_id], max_results=1000)
    runs = {str(run.info.run_name): run for run in listed}
    assert len(runs) == len(listed), sorted(str(run.info.run_name) for run in listed)
    return runs


def check_once(uri: str, experiment: str, folder: Path) -> None:
    """All that `tell` told is in MLflow, in order and once.

    Args:
        uri: MLflow.
        experiment: The experiment's name.
        folder: For artifacts.
    """
    client = open_client(uri)
    runs = runs_of(client, experiment)
    assert set(runs) == {"sweep", "teacher", *(f"trial {trial}" for trial in range(TRIALS))}
    assert runs["sweep"].info.status == runs["teacher"].info.status == "FINISHED"
    for trial in range(TRIALS):
        run = runs[f"trial {trial}"]
        assert run.info.status == ("KILLED" if trial % 2 else "FINISHED")
        assert run.data.params == {"alpha": str(trial / 8), "n": str(trial)}
        assert run.data.tags["mlflow.parentRunId"] == runs["sweep"].info.run_id
        assert run.data.tags["mlfd.stage.teacher"] == runs["teacher"].info.run_id
        assert run.data.tags.get("mlfd.reason") == ("pruned" if trial % 2 else None)
        assert [one.dataset.digest for one in run.inputs.dataset_inputs] == [f"digest{trial}"]
        told = {
            "val/acc1": [(step, float(trial + step)) for step in range(STEPS)],
            "train/loss": [(step, 1 / (step + 1)) for step in range(STEPS)],
        }
        for name, points in told.items():
            history = client.get_metric_history(run.info.run_id, name)
            assert [(point.step, point.value) for point in history] == points
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["config.yaml"]
        copy = client.download_artifacts(run.info.run_id, "config.yaml", str(folder))
        assert Path(copy).read_text() == f"alpha: {trial / 8}\n"
