"""Finished ablations and sweeps in MLflow, as the program records them but with chosen numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mlfd_tune.config import AblationConfig, SweepConfig
from mlfd_tune.tracking import RunRef, Tracker
from tests.helpers.experiments import tiny_pipeline, tiny_sweep

ARMS = {
    "base": {"method": "none"},
    "student_L1": {"method": "mlfd", "joint_teacher.levels": "L1"},
    "joint 100%": {"method": "joint_teacher", "joint_teacher.levels": "L1"},
}
"""Two students, and what one of them learns from. The names have what LaTeX and Markdown mind."""

EPOCHS = 4


def tiny_ablation(arms: Mapping[str, Mapping[str, Any]] = ARMS, **changes: Any) -> dict[str, Any]:
    """Return an ablation on two datasets with six seeds, as read from YAML."""
    return {
        "kind": "ablation",
        **tiny_pipeline(),
        "design": {"kind": "compare", "arms": {name: dict(of) for name, of in arms.items()}},
        "seeds": 6,
        **changes,
    }


class Recorder:
    """Writes one run of an experiment.

    Args:
        uri: A database that exists.
        experiment: Its name.
        folder: Of the run; what it is called is the run's id.
        content: The experiment as read from YAML.
    """

    def __init__(self, uri: str, experiment: str, folder: Path, content: Mapping[str, Any]) -> None:
        self.uri, self.experiment, self.id = uri, experiment, folder.name
        self.content = content
        self._tracker = Tracker(uri, experiment, folder, linger_s=0.01)
        self._count = 0
        tags = {"mlfd.kind": content["kind"], "mlfd.sweep": self.id}
        self._tracker.start_run("parent", "parent", tags=tags)
        text = yaml.safe_dump(dict(content), sort_keys=False)
        self._tracker.log_text("parent", text, "experiment.yaml")
        self._first = AblationConfig if content["kind"] == "ablation" else SweepConfig

    @property
    def config(self) -> AblationConfig:
        """The ablation's configuration."""
        return AblationConfig.model_validate(self.content)

    def seeds(self, dataset: str, count: int) -> list[int]:
        """Return the seeds that the program would take."""
        first = self._first.model_validate(self.content).student_seed(dataset)
        return list(range(first, first + count))

    def packed(self, dataset: str, image_size: int = 32, **identity: str) -> str:
        """Record a stage that packed a dataset's images and return its local id."""
        key = f"{dataset}-{image_size}-{sorted(identity.items())}"
        named = {f"identity.{name}": value for name, value in identity.items()}
        params = {"image_size": image_size, **named}
        stage = self._tracker.start_stage_run(key, key, parent="parent", params=params)
        self._tracker.end_run(stage, "FINISHED")
        return stage

    def trained(
        self,
        kind: str,
        dataset: str,
        method: str,
        values: Mapping[int, float],
        *,
        params: Mapping[str, Any] | None = None,
        images: str | None = None,
        step: int = EPOCHS,
        status: str = "FINISHED",
        **tags: str,
    ) -> None:
        """Record trainings with these accuracies by seed."""
        settings = {"student.train.epochs": EPOCHS, "student.train.lr": 0.003, "image_size": 32}
        for seed, value in values.items():
            self._count += 1
            run = f"run {self._count}"
            own = {"kind": kind, "dataset": dataset, "method": method, "seed": str(seed)}
            all_tags = {"config": run, "sweep": self.id, **own, **tags}
            named: dict[str, str | RunRef] = {f"mlfd.{tag}": v for tag, v in all_tags.items()}
            if images is not None:
                named[f"mlfd.stage.dataset.{dataset}"] = RunRef(images)
            self._tracker.start_run(
                run, run, parent="parent", tags=named, params={**settings, **(params or {})}
            )
            metrics = {"val/acc1": value, "test/acc1": value - 1}
            self._tracker.log_metrics(run, metrics, step=step)
            self._tracker.end_run(run, status)  # type: ignore[arg-type]

    def arm(self, dataset: str, arm: str, values: list[float], **more: Any) -> None:
        """Record an arm of `ARMS` with accuracies of the program's seeds."""
        method = str(ARMS.get(arm, {}).get("method", "mlfd"))
        by_seed = dict(zip(self.seeds(dataset, len(values)), values, strict=True))
        self.trained("arm", dataset, method, by_seed, arm=arm, **more)

    def close(self) -> str:
        """End the run and return its id."""
        self._tracker.end_run("parent", "FINISHED")
        assert self._tracker.close(60)
        return self.id


def tiny_recorded_sweep(uri: str, folder: Path) -> str:
    """Record a sweep that confirmed one configuration, with baseline and control."""
    sweep = Recorder(uri, "searched", folder, tiny_sweep())
    sweep.trained("trial", "digits", "mlfd", {0: 99.0}, config="aaaa")
    of = {"baseline_of": "aaaa"}
    sweep.trained("confirm", "digits", "mlfd", {1: 85.0, 2: 87.0}, config="aaaa")
    sweep.trained("confirm", "digits", "none", {1: 81.0, 2: 82.0}, config="base", **of)
    sweep.trained("confirm", "digits", "own_teacher", {1: 84.0, 2: 84.0}, config="ctrl", **of)
    return sweep.close()
