"""Finds the run or the configuration that a person names in a few characters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.tracking.export import best_rows
from mlfd_tune.tracking.leaderboard import Row, leaderboard
from mlfd_tune.tracking.results import Result, read_results

__all__ = ["Side", "find_side"]

_STATUSES = ("FINISHED", "RUNNING", "KILLED", "FAILED")
_SHORTEST = 4
_SHOWN = 6


@dataclass(frozen=True)
class Side:
    """One of two things that are compared.

    Attributes:
        name: As it is shown.
        experiment: The experiment it is of.
        dataset: Its target dataset.
        config: Its short hash.
        run_ids: Its runs, one for each seed.
    """

    name: str
    experiment: str
    dataset: str
    config: str
    run_ids: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {**self.__dict__, "run_ids": list(self.run_ids)}


def find_side(uri: str, text: str) -> Side:
    """Return what `text` names.

    Args:
        uri: MLflow tracking URI.
        text: A run's id or at least 4 characters it begins with; ``experiment:dataset``, the best
            configuration there (of all its runs, as an export takes it); or ``experiment:config``,
            one by the first characters of its hash.

    Raises:
        UserError: There is no such run or configuration, or there are several.
    """
    experiment, separator, which = text.rpartition(":")
    return _of_experiment(uri, experiment, which) if separator else _of_run(uri, text)


def _of_run(uri: str, text: str) -> Side:
    if not re.fullmatch(rf"[0-9a-f]{{{_SHORTEST},32}}", text):
        raise UserError(
            f"{text!r} names no run (allowed: at least {_SHORTEST} characters of its id, "
            "experiment:dataset or experiment:config)"
        )
    found = [
        result
        for status in _STATUSES
        for result in read_results(uri, None, status)
        if result.run_id.startswith(text)
    ]
    if not found:
        raise UserError(f"there is no trial, confirmation or arm whose id begins with {text!r}")
    if len(found) > 1:
        ids = [result.run_id[: len(text) + _SHORTEST] for result in found]
        raise UserError(f"{text!r} begins the ids of several runs ({_some(ids)}); give more of it")
    return _single(found[0])


def _single(result: Result) -> Side:
    name = f"run {result.run_id[:8]} ({_what(result.dataset, result.method)} seed {result.seed})"
    return Side(name, result.experiment, result.dataset, result.config, (result.run_id,))


def _of_experiment(uri: str, experiment: str, which: str) -> Side:
    rows = leaderboard(uri, experiment, all_runs=True)
    best = best_rows([row for row in rows if row.dataset == which])
    if which in best:
        return _of_row(best[which])
    known = sorted({row.dataset for row in rows})
    if len(which) < _SHORTEST:
        raise UserError(f"{experiment}: no dataset {which!r} {allowed_values(which, known)}")
    # A baseline is shown with the hash of what it is compared with; that one is meant.
    found = [row for row in rows if row.config.startswith(which)]
    configs = {(row.dataset, row.config) for row in found}
    if not found:
        raise UserError(
            f"{experiment}: no dataset and no configuration {which!r} "
            f"{allowed_values(which, known)}"
        )
    if len(configs) > 1:
        shown = [f"{dataset} {config}" for dataset, config in sorted(configs)]
        raise UserError(f"{experiment}: {which!r} begins several configurations ({_some(shown)})")
    return _of_row(found[0])


def _of_row(row: Row) -> Side:
    name = f"{row.experiment}:{row.config[:8]} ({_what(row.dataset, row.method)})"
    return Side(name, row.experiment, row.dataset, row.config, row.run_ids)


def _what(dataset: str, method: str) -> str:
    return f"{dataset} {method}".strip()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
