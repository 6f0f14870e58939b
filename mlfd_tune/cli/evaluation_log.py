"""Where in MLflow an evaluation belongs: the run of the network, or one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlfd_tune.config import Loaded, TrainConfig
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.evaluation import Evaluation, Measured
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.artifacts import evaluation_run, find_run, log_to_run, why_away
from mlfd_tune.tracking.client import shown_uri

__all__ = ["Destination", "choose_destination", "log_evaluation"]

_FOLDER = "evaluation"  # among a run's artifacts


@dataclass(frozen=True)
class Destination:
    """Where an evaluation is logged.

    Attributes:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        run_id: The run of the network itself; None for a run of its own.
        tags: Of a run of its own.
        notes: Why it is not the run that the configuration names, for people.
    """

    uri: str
    experiment: str
    run_id: str | None
    tags: dict[str, str]
    notes: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The tracking URI without its password."""
        return shown_uri(self.uri)


def choose_destination(loaded: Loaded, evaluation: Evaluation, uri: str | None) -> Destination:
    """Return where to log, having made sure that it can be reached.

    That is the run which the configuration was exported from, if it is there and its artifact is
    this very student: with other settings or another seed its numbers would be a stranger's.

    Args:
        loaded: The configuration.
        evaluation: What will be evaluated, the student first.
        uri: In place of the configuration's tracking URI.

    Raises:
        UserError: It is no tracking URI, or MLflow cannot be reached.
    """
    config, student = loaded.config, evaluation.networks[0]
    assert isinstance(config, TrainConfig)
    tags = {vocabulary.DATASET: config.target, vocabulary.METHOD: config.method}
    if student.seed is not None:
        tags[vocabulary.SEED] = str(student.seed)
    notes: list[str] = []
    origin = config.provenance
    if origin is not None:
        home = uri or origin.tracking_uri
        run = find_run(home, origin.run_id)
        if run is None:
            notes.append(f"run {origin.run_id}, which this was exported from, is not at hand")
        elif run.data.tags.get(vocabulary.ARTIFACT_KEY) != student.stage.key:
            notes.append(f"run {origin.run_id}, which this was exported from, is of other settings")
        else:
            return Destination(home, origin.experiment, origin.run_id, tags, ())
    uri = uri or config.tracking.uri
    reason = why_away(uri)
    if reason is not None:
        raise UserError(
            f"tracking uri: {shown_uri(uri)} cannot be reached ({reason}); "
            "use --no-log to evaluate without it"
        )
    return Destination(uri, loaded.name, None, tags, tuple(notes))


def log_evaluation(
    destination: Destination, files: Sequence[Path], student: Measured
) -> dict[str, Any]:
    """Log the files and the student's metrics.

    Returns:
        The run and the names of the metrics that it did not have before.

    Raises:
        UserError: MLflow cannot be reached or refuses.
    """
    network, uri = student.network, destination.uri
    run_id = destination.run_id or evaluation_run(
        uri,
        destination.experiment,
        network.stage.key,
        f"evaluation {network.label}",
        destination.tags,
    )
    metrics = {
        name: value
        for name, value in student.metrics.items()
        if name.startswith(("test/", "transfer/", "val/", "probe_c"))
    }
    metrics["parameters"] = float(student.parameters)
    if student.images_per_second:
        metrics["images_per_second"] = student.images_per_second[max(student.images_per_second)]
    new = log_to_run(uri, run_id, files, _FOLDER, metrics)
    return {"uri": destination.shown, "run_id": run_id, "new_metrics": new}
