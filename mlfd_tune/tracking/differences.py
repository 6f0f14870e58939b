"""What two runs, or two configurations with their seeds, differ in: ``leaderboard diff A B``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from mlfd_tune.core.statistics import Interval, mean_interval, paired_interval
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.sides import Side, find_side

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["Differences", "MetricDifference", "difference_of"]

Pair = tuple[str | None, str | None]

_ENVIRONMENT: Final = ("mlflow.source.git.commit", "mlfd.version.", "mlfd.hardware.")
_OF_A_SEED: Final = ("seed", "student.seed")


@dataclass(frozen=True)
class MetricDifference:
    """A metric's last values on both sides; means over the seeds that are compared.

    Attributes:
        a: Of A; None where it has none.
        b: Of B.
        difference: B minus A; None where they do not compare.
        paired: The same over the seeds both have, with its interval; None where there are none.
    """

    a: float | None
    b: float | None
    difference: float | None
    paired: Interval | None


@dataclass(frozen=True)
class Differences:
    """What A and B differ in; names map to both values, None where a side has none.

    Attributes:
        a: The first side.
        b: The second side.
        params: Logged settings.
        config: Resolved settings by their dotted keys, from the runs' ``config.yaml``.
        metrics: All metrics, whether they differ or not.
        data: Digests of the datasets' packed images.
        environment: Commit, versions and hardware.
        notes: What has to be known to read the numbers.
    """

    a: Side
    b: Side
    params: Mapping[str, Pair]
    config: Mapping[str, Pair]
    metrics: Mapping[str, MetricDifference]
    data: Mapping[str, Pair]
    environment: Mapping[str, Pair]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {
            "a": self.a.as_json(),
            "b": self.b.as_json(),
            "params": {name: list(pair) for name, pair in self.params.items()},
            "config": {name: list(pair) for name, pair in self.config.items()},
            "metrics": {
                name: {
                    "a": one.a,
                    "b": one.b,
                    "difference": one.difference,
                    "difference_low": one.paired and one.paired.low,
                    "difference_high": one.paired and one.paired.high,
                    "paired_seeds": one.paired.n if one.paired else 0,
                }
                for name, one in self.metrics.items()
            },
            "data": {name: list(pair) for name, pair in self.data.items()},
            "environment": {name: list(pair) for name, pair in self.environment.items()},
            "notes": list(self.notes),
        }


def difference_of(uri: str, a: str, b: str) -> Differences:
    """Compare two runs or configurations.

    Metrics are paired by seed: over the seeds both sides have, on the same dataset and the same
    images of it. Settings are those of each side's first seed that is compared; what changes with
    the seed is left out.

    Args:
        uri: MLflow tracking URI.
        a: A run's id or at least the first 4 characters of it, ``experiment:dataset`` for the best
            configuration there, or ``experiment:config`` for one by its hash.
        b: Likewise.

    Raises:
        UserError: There is no such run or configuration, or several.
    """
    sides = find_side(uri, a), find_side(uri, b)
    client = open_client(uri)
    one, other = (_Loaded(client, side) for side in sides)
    return Differences(
        *sides,
        params=_pairs(one.params, other.params),
        config=_pairs(one.config, other.config),
        metrics=_metrics(one, other),
        data=_pairs(one.data, other.data),
        environment=_pairs(one.environment, other.environment),
        notes=tuple(_notes(one, other)),
    )


class _Loaded:
    """A side with its runs read."""

    def __init__(self, client: MlflowClient, side: Side) -> None:
        self.client = client
        self.side = side
        runs = [client.get_run(run_id) for run_id in side.run_ids]
        self.runs: dict[str, Run] = {
            run.data.tags.get(vocabulary.SEED, run.info.run_id): run for run in runs
        }
        self.first = runs[0]

    @property
    def params(self) -> dict[str, str]:
        return {
            name: value for name, value in self.first.data.params.items() if name not in _OF_A_SEED
        }

    @cached_property
    def config(self) -> dict[str, str]:
        """The resolved configuration by dotted keys; empty where none was logged."""
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory() as folder:
            try:
                path = self.client.download_artifacts(self.first.info.run_id, "config.yaml", folder)
            except (MlflowException, OSError):
                return {}
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        found = dict(_flat(content, ""))
        dataset = self.first.data.tags.get(vocabulary.DATASET, "")
        for name in ("seed", f"students.{dataset}.seed"):
            found.pop(name, None)
        return found

    @property
    def environment(self) -> dict[str, str]:
        tags = self.first.data.tags
        return {name: value for name, value in tags.items() if name.startswith(_ENVIRONMENT)}

    @property
    def data(self) -> dict[str, str]:
        inputs = self.first.inputs.dataset_inputs if self.first.inputs else []
        return {one.dataset.name: one.dataset.digest for one in inputs}

    @property
    def dataset(self) -> str:
        return str(self.first.data.tags.get(vocabulary.DATASET, ""))

    def metric(self, name: str, seeds: Sequence[str]) -> dict[str, float]:
        values = {seed: self.runs[seed].data.metrics.get(name) for seed in seeds}
        return {seed: value for seed, value in values.items() if value is not None}

    @property
    def metric_names(self) -> set[str]:
        return {name for run in self.runs.values() for name in run.data.metrics}


def _metrics(one: _Loaded, other: _Loaded) -> dict[str, MetricDifference]:
    comparable = _comparable(one, other)
    shared = [seed for seed in one.runs if seed in other.runs] if comparable else []
    found = {}
    for name in sorted(one.metric_names | other.metric_names):
        a = one.metric(name, shared or list(one.runs))
        b = other.metric(name, shared or list(other.runs))
        paired = paired_interval(b, a) if shared else None
        if paired is not None:
            both = [seed for seed in a if seed in b]
            a, b = {seed: a[seed] for seed in both}, {seed: b[seed] for seed in both}
        mean_a, mean_b = _mean(a), _mean(b)
        plain = None
        if comparable and mean_a is not None and mean_b is not None:
            plain = mean_b - mean_a
        found[name] = MetricDifference(mean_a, mean_b, plain, paired)
    return found


def _comparable(one: _Loaded, other: _Loaded) -> bool:
    """Tell whether both were measured on the same images, as far as the runs say."""
    digests = [loaded.data.get(loaded.dataset) for loaded in (one, other)]
    known = None not in digests
    return one.dataset == other.dataset and (not known or digests[0] == digests[1])


def _mean(values: Mapping[str, float]) -> float | None:
    return mean_interval(list(values.values())).mean if values else None


def _notes(one: _Loaded, other: _Loaded) -> list[str]:
    notes = []
    shared = [seed for seed in one.runs if seed in other.runs]
    if one.dataset != other.dataset:
        notes.append("Two datasets: their accuracies do not compare, and no difference is given.")
    elif not _comparable(one, other):
        notes.append(f"{one.dataset} had other images: no difference is given.")
    elif not shared:
        notes.append("No seed in common: the differences are not paired, and have no interval.")
    elif len(shared) == 1:
        notes.append("One seed in common: a difference without an interval claims nothing.")
    elif len(one.runs) != len(shared) or len(other.runs) != len(shared):
        notes.append(f"Means and differences are over the {len(shared)} seeds in common.")
    kinds = [loaded.first.data.tags.get(vocabulary.KIND) for loaded in (one, other)]
    if "trial" in kinds and kinds[0] != kinds[1]:
        notes.append(
            "One side is a trial of a search, the best of many and so too good on average; the "
            "other is not."
        )
    return notes


def _pairs(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, Pair]:
    names = sorted(one.keys() | other.keys())
    both = {name: (one.get(name), other.get(name)) for name in names}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def _flat(value: Any, name: str) -> list[tuple[str, str]]:
    """Return the leaves of a configuration by their dotted keys."""
    if not isinstance(value, Mapping) or not value:
        return [(name, str(value))]
    before = f"{name}." if name else ""
    return [pair for key, below in value.items() for pair in _flat(below, f"{before}{key}")]
