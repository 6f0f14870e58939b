"""Records runs in MLflow as a sweep or an ablation does, through a real tracker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from mlfd_tune.tracking import EndStatus, RunRef, Tracker


class Recorder:
    """One run of an experiment.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        outbox: Folder of the journal.
        sweep: Id of the run.
        kind: What it is.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        outbox: Path,
        sweep: str,
        kind: Literal["sweep", "ablation"] = "sweep",
    ) -> None:
        self.tracker = Tracker(uri, experiment, outbox, linger_s=0.01)
        self.sweep = sweep
        self.count = 0
        tags = {"mlfd.kind": kind, "mlfd.sweep": sweep}
        self.tracker.start_run("parent", f"{kind} {sweep}", tags=tags)

    def stage(
        self,
        name: str,
        dataset: str | None,
        history: Sequence[Mapping[str, float]],
        **params: object,
    ) -> str:
        """Record a stage and return its local id."""
        self.count += 1
        key = f"{self.sweep}{self.count:060d}"
        tags = {"mlfd.stage_name": name} | ({"mlfd.dataset": dataset} if dataset else {})
        params = {name.replace("__", "."): value for name, value in params.items()}
        local = self.tracker.start_stage_run(
            key, name, parent="parent", tags=tags, params=params | {"artifact_key": key}
        )
        for step, metrics in enumerate(history, start=1):
            self.tracker.log_metrics(local, metrics, step)
        self.tracker.end_run(local, "FINISHED")
        return local

    def train(
        self,
        kind: str,
        dataset: str,
        method: str,
        seed: int,
        val: Sequence[float],
        *,
        test: float | None = None,
        config: str = "",
        of: str = "",
        arm: str = "",
        key: str = "",
        stages: Mapping[str, str] | None = None,
        params: Mapping[str, object] | None = None,
        status: EndStatus = "FINISHED",
    ) -> None:
        """Record a trial, a confirmation or an arm with its validation accuracy by epoch."""
        self.count += 1
        name = f"run{self.count}"
        tags: dict[str, str | RunRef] = {
            "mlfd.kind": kind,
            "mlfd.sweep": self.sweep,
            "mlfd.dataset": dataset,
            "mlfd.method": method,
            "mlfd.seed": str(seed),
            "mlfd.config": config or f"{method}-config",
            "mlfd.artifact_key": key or f"{self.sweep}-{name}",
        }
        tags |= {"mlfd.baseline_of": of} if of else {}
        tags |= {"mlfd.arm": arm} if arm else {}
        tags |= {f"mlfd.stage.{link}": RunRef(to) for link, to in (stages or {}).items()}
        self.tracker.start_run(name, name, parent="parent", tags=tags, params=params)
        for epoch, value in enumerate(val, start=1):
            self.tracker.log_metrics(name, {"val/acc1": value, "train/loss": 1 / epoch}, epoch)
        if test is not None:
            self.tracker.log_metrics(name, {"test/acc1": test}, len(val))
        self.tracker.end_run(name, status)

    def close(self, status: EndStatus = "FINISHED") -> None:
        """End the run and send everything."""
        self.tracker.end_run("parent", status)
        assert self.tracker.close(30)
