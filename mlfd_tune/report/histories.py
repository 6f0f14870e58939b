"""Reads curves from MLflow: what a finished run trained, and the teachers that it learned from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.statistics import mean_interval
from mlfd_tune.report.curves import Curve, CurveRole
from mlfd_tune.report.runs import FinishedRun, Trained, finished_run
from mlfd_tune.report.teachers import TeacherRun, teacher_runs
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.limits import valid_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["curves_of", "experiment_curves", "role_of"]

_ROLES: Mapping[str, CurveRole] = {
    "method": "student",
    "control": "control",
    "baseline": "baseline",
    "reference": "joint_teacher",
}
"""A network's part in a comparison, by its method's role."""

_ORDER: tuple[CurveRole, ...] = (*_ROLES.values(), "teacher")

_History = dict[int, float]
_Groups = dict[tuple[str, str, str], dict[str, Trained]]  # by dataset, label and method; by seed


def experiment_curves(
    uri: str,
    experiment: str,
    metric: str = "val/acc1",
    run: str | None = None,
    *,
    dataset: str | None = None,
    methods: Sequence[str] | None = None,
) -> list[Curve]:
    """Return the curves of an experiment's latest finished sweep or ablation.

    Of a sweep: per dataset the confirmed configuration that is best on validation, with its
    baseline and controls. Of an ablation: every arm. Seeds are folded into the mean and its 95 %
    Student t interval after every epoch. Then the teachers, and the joint teachers that students
    learned from.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        metric: What was logged after every epoch.
        run: Id of the run in place of the latest finished one.
        dataset: Only this dataset.
        methods: Only these methods; their teachers are shown all the same.

    Raises:
        UserError: No such database, experiment, run, dataset, method or metric, or nothing was
            confirmed or compared.
    """
    return curves_of(uri, finished_run(uri, experiment, run, dataset), metric, methods)


def curves_of(
    uri: str, found: FinishedRun, metric: str, methods: Sequence[str] | None = None
) -> list[Curve]:
    """Return the curves of a run.

    Args:
        uri: MLflow tracking URI.
        found: The run.
        metric: What was logged after every epoch.
        methods: Only these methods.

    Raises:
        UserError: No such method or metric.
    """
    known = {one.result.method for one in found.trained}
    for name in methods or ():
        if name not in known:
            raise UserError(f"--method: no run of {name!r} {allowed_values(name, known)}")
    client = open_client(uri)
    chosen = [one for one in _shown(found.trained) if not methods or one.result.method in methods]
    curves = [
        *_trained_curves(client, chosen, metric),
        *_teacher_curves(client, teacher_runs(client, chosen), metric),
    ]
    if not curves:
        names = {name for one in chosen for name in _metrics(client, one.result.run_id)}
        raise UserError(f"--metric: {metric!r} was not logged {allowed_values(metric, names)}")
    return sorted(curves, key=lambda curve: (curve.dataset, _ORDER.index(curve.role)))


def role_of(method: str) -> CurveRole:
    """Return what a method's networks are in a comparison; a method unknown here is one."""
    known = METHODS.get(method)
    return "student" if known is None else _ROLES[known.role]


def _shown(trained: Sequence[Trained]) -> list[Trained]:
    """Return arms, and of confirmations those of each dataset's best configuration."""
    best: dict[str, str] = {}
    by_config: dict[tuple[str, str], list[float]] = {}
    for one in trained:
        result = one.result
        if result.kind == "confirm" and not result.baseline_of and result.val is not None:
            by_config.setdefault((result.dataset, result.config), []).append(result.val)
    ranked = sorted(by_config, key=lambda key: sum(by_config[key]) / len(by_config[key]))
    for dataset, config in ranked:  # the last is the best
        best[dataset] = config
    return [
        one
        for one in trained
        if one.result.kind == "arm"
        or best.get(one.result.dataset) in (one.result.config, *one.result.baseline_of)
    ]


def _trained_curves(
    client: MlflowClient, trained: Iterable[Trained], metric: str
) -> Iterator[Curve]:
    groups: _Groups = {}
    for one in trained:
        result = one.result
        label = result.arm or result.method
        # Runs stand in the order they were started: the later one of a seed is taken.
        groups.setdefault((result.dataset, label, result.method), {})[result.seed] = one
    for (dataset, label, method), by_seed in _without_repeats(groups).items():
        histories = [_history(client, one.result.run_id, metric) for one in by_seed.values()]
        yield from _folded(label, dataset, role_of(method), histories)


def _without_repeats(groups: _Groups) -> _Groups:
    """Leave one of the arms of a method that are the very same trainings, named by the method.

    A factor that is nothing to a method, such as the joint teacher's to a baseline, makes such.
    """
    same: dict[tuple[str, ...], list[tuple[str, str, str]]] = {}
    for (dataset, label, method), by_seed in groups.items():
        keys = sorted(one.tags[vocabulary.ARTIFACT_KEY] for one in by_seed.values())
        same.setdefault((dataset, method, *keys), []).append((dataset, label, method))
    different = Counter((dataset, method) for dataset, method, *_ in same)
    left = {}
    for alike in same.values():
        dataset, label, method = alike[0]
        by_method = len(alike) > 1 and different[dataset, method] == 1
        left[dataset, method if by_method else label, method] = groups[alike[0]]
    return left


def _teacher_curves(
    client: MlflowClient, teachers: Iterable[TeacherRun], metric: str
) -> Iterator[Curve]:
    for teacher in teachers:
        # A joint teacher has a metric per dataset; one of a single dataset need not name it.
        own = valid_name(f"{metric}/{teacher.dataset}")
        names = (own, metric) if teacher.of_one_dataset else (own,)
        histories = [
            next(filter(None, (_history(client, run_id, name) for name in names)), {})
            for run_id in teacher.run_ids
        ]
        yield from _folded(teacher.label, teacher.dataset, teacher.role, histories)


def _folded(
    label: str, dataset: str, role: CurveRole, histories: Sequence[_History]
) -> Iterator[Curve]:
    """Yield the curve over the epochs that all seeds have, if there is any."""
    known = [history for history in histories if history]
    epochs = sorted(set.intersection(*map(set, known))) if known else []
    if not epochs:
        return
    intervals = [mean_interval([history[epoch] for history in known]) for epoch in epochs]
    ends = {
        end: None if len(known) < 2 else np.array([getattr(one, end) for one in intervals], float)
        for end in ("low", "high")
    }
    yield Curve(
        label=label,
        dataset=dataset,
        role=role,
        epochs=np.array(epochs),
        mean=np.array([interval.mean for interval in intervals]),
        low=ends["low"],
        high=ends["high"],
        seeds=len(known),
    )


def _history(client: MlflowClient, run_id: str, metric: str) -> _History:
    """Return a metric by epoch; of a value that was sent twice, the later one."""
    logged = sorted(client.get_metric_history(run_id, metric), key=lambda point: point.timestamp)
    return {point.step: point.value for point in logged if math.isfinite(point.value)}


def _metrics(client: MlflowClient, run_id: str) -> Iterable[str]:
    names: Iterable[str] = client.get_run(run_id).data.metrics
    return names
