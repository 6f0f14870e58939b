"""What `layers` does: teachers through the store, the ranking, and how training agreed with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from mlfd_tune.cli.checks import check_inputs
from mlfd_tune.cli.computing import compute, usable_device
from mlfd_tune.cli.options import console, print_json, print_table, problems_in
from mlfd_tune.config import Loaded, TrainConfig, pipeline_settings
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.layer_choice import (
    LevelScore,
    agreement,
    checked_candidates,
    level_scores,
    rank_levels,
)
from mlfd_tune.core.models.levels import fusion_depth, parse_levels
from mlfd_tune.core.pipeline import Catalogue, Pipeline, check_settings
from mlfd_tune.core.store import Store, walk
from mlfd_tune.tracking.results import Result, read_results
from mlfd_tune.tracking.weights import mlflow_fetcher

__all__ = ["rank_and_print"]

# A joint teacher's own accuracy is what the ranking is about; a student's has more in it.
_METHODS = ("joint_teacher", "mlfd")

_NAMES = {"probe": "probe", "cka": "CKA"}
_COLUMNS = ("levels", "probe", "own probe", "difference", "CKA", "rank by probe", "rank by CKA")
_NOTE = (
    "probe: validation accuracy in % of a linear probe on all teachers' features at the finest "
    "level, ± one standard error, within which fewer levels go first. own probe: the same on the "
    "dataset's own teacher alone. CKA: how alike the teachers are there; the lowest ranks first."
)


def rank_and_print(
    loaded: Loaded,
    datasets: Sequence[str],
    candidates: str,
    against: str | None,
    uri: str | None,
    device: str | None,
    json_: bool,
) -> None:
    """Compute what is missing, rank, and print; the arguments are the command's.

    Raises:
        UserError: Bad settings, datasets, candidates, results or device.
    """
    device = usable_device(device)
    sets, targets = _parsed(candidates), _targets(loaded, datasets)
    pipeline, store = _checked(loaded, targets, sets)
    results = _results(against, uri or loaded.config.tracking.uri) if against else []
    started = time.monotonic()
    with problems_in(loaded.path):
        stages = list(walk(level_scores(pipeline, target) for target in targets))
        todo = [stage for stage in stages if not store.has(stage)]
        needed = sum(stage.estimate_bytes() for stage in todo)
        store.require_space(needed, "the teachers and their features")
        reused = [store.get(stage) for stage in stages if stage not in todo]
        compute(todo, store, device, console(stderr=json_))
        ranked = {name: rank_levels(pipeline, name, store, sets, device) for name in targets}
    work = _Work(
        computed_stages=len(todo),
        reused_stages=len(reused),
        seconds=time.monotonic() - started,
        seconds_saved=sum(artifact.manifest.seconds for artifact in reused if artifact),
    )
    found = {name: _found(results, name, _lineup(pipeline)) for name in targets}
    if json_:
        print_json(_as_json(ranked, work, against, found))
    else:
        _print(ranked, work, against, found)


@dataclass(frozen=True)
class _Work:
    """How many stages were computed and reused, and the seconds both took."""

    computed_stages: int
    reused_stages: int
    seconds: float
    seconds_saved: float


@dataclass(frozen=True)
class _Found:
    """What training found for one dataset.

    Attributes:
        method: Whose results these are; None where there are none.
        accuracy: Mean validation accuracy in percent by fusion depth.
    """

    method: str | None
    accuracy: Mapping[str, float]


def _parsed(text: str) -> list[str | list[str]]:
    names = [name.strip() for name in text.split(",")]
    return [name.split("+") if "+" in name else name for name in names]


def _targets(loaded: Loaded, asked: Sequence[str]) -> list[str]:
    config = loaded.config
    unknown = [name for name in asked if name not in config.datasets]
    if unknown:
        raise UserError(
            *(
                f"--dataset {name}: no dataset of {loaded.path} "
                f"{allowed_values(name, config.datasets)}"
                for name in unknown
            )
        )
    own = (config.target,) if isinstance(config, TrainConfig) else config.target_names
    return list(dict.fromkeys(asked or own))


def _checked(
    loaded: Loaded, targets: Sequence[str], candidates: Sequence[str | list[str]]
) -> tuple[Pipeline, Store]:
    """Return the lineup and its store, with all checked that can be before computing."""
    config = loaded.config
    with problems_in(loaded.path):
        settings = pipeline_settings(config)
        # Which levels the file itself fuses is beside the point.
        check_settings(settings.model_copy(update={"method": "none"}))
        store = Store(config.store.path, config.store.max_bytes)
        catalogue = Catalogue(mlflow_fetcher(config.tracking.uri, store.root / "weights"))
        pipeline = Pipeline(settings, catalogue)
        with _problems_of("--candidates"):
            for target in targets:
                checked_candidates(pipeline, target, candidates)
        check_inputs(config, catalogue, store)
    return pipeline, store


@contextmanager
def _problems_of(option: str) -> Iterator[None]:
    """Name the option in the user errors that are raised inside the block."""
    try:
        yield
    except UserError as error:
        raise UserError(*(f"{option}: {problem}" for problem in error.problems)) from None


def _results(experiment: str, uri: str) -> list[Result]:

    with _problems_of(f"--against {experiment}"):
        return read_results(uri, experiment, "FINISHED")


def _lineup(pipeline: Pipeline) -> str:
    """Return the teachers as runs are logged with them."""
    teachers = pipeline.settings.teachers
    return ",".join(f"{name}:{teacher.arch}" for name, teacher in teachers.items())


def _found(results: Sequence[Result], dataset: str, lineup: str) -> _Found:
    """Return what runs of these teachers found for a dataset, by the first method that has any."""
    for method in _METHODS:
        by_depth: dict[str, list[float]] = {}
        for result in results:
            levels = result.params.get("joint_teacher.levels")
            same_lineup = result.params.get("lineup", lineup) == lineup
            if (result.dataset, result.method) != (dataset, method) or not same_lineup:
                continue
            if levels and result.val is not None:
                by_depth.setdefault(fusion_depth(parse_levels(levels)), []).append(result.val)
        if by_depth:
            means = {depth: fmean(values) for depth, values in by_depth.items()}
            return _Found(method, dict(sorted(means.items())))
    return _Found(None, {})


def _as_json(
    ranked: Mapping[str, Sequence[LevelScore]],
    work: _Work,
    against: str | None,
    found: Mapping[str, _Found],
) -> dict[str, Any]:

    datasets: dict[str, Any] = {}
    for name, scores in ranked.items():
        rows = [{"depth": score.depth, **asdict(score)} for score in scores]
        datasets[name] = {"ranking": rows, "against": None}
        if against:
            agreed = agreement(scores, found[name].accuracy)
            told = None if agreed is None else {by: asdict(one) for by, one in agreed.items()}
            datasets[name]["against"] = {
                "experiment": against,
                **asdict(found[name]),
                "agreement": told,
            }
    return {"datasets": datasets, **asdict(work)}


def _print(
    ranked: Mapping[str, Sequence[LevelScore]],
    work: _Work,
    against: str | None,
    found: Mapping[str, _Found],
) -> None:
    out = console()
    for name, scores in ranked.items():
        out.print(f"{name}:", highlight=False)
        print_table(_COLUMNS, map(_row, scores))
        if against:
            for line in _verdict(scores, against, found[name]):
                out.print(line, highlight=False, markup=False)
        out.print()
    out.print(
        f"{work.reused_stages} stages reused ({work.seconds_saved:.0f} s when they were made), "
        f"{work.computed_stages} computed; {work.seconds:.0f} s\n{_NOTE}",
        highlight=False,
    )


def _row(score: LevelScore) -> tuple[object, ...]:
    return (
        score.depth,
        f"{score.probe:.2f} ± {score.standard_error:.2f}",
        f"{score.probe_own:.2f}",
        f"{score.probe - score.probe_own:+.2f}",
        None if score.cka is None else f"{score.cka:.3f}",
        score.rank_by_probe,
        score.rank_by_cka,
    )


def _verdict(scores: Sequence[LevelScore], against: str, found: _Found) -> Iterator[str]:

    if found.method is None:
        yield f"{against}: no finished results of these teachers"
        return
    shown = ", ".join(f"{depth} {value:.2f}" for depth, value in found.accuracy.items())
    yield f"{against}, {found.method}, mean val/acc1: {shown}"
    agreed = agreement(scores, found.accuracy)
    if agreed is None:
        yield "agreement: not told, for fewer than three of these fusion depths were trained"
        return
    for by, value in agreed.items():
        yield (
            f"agreement of rank by {_NAMES[by]}: Kendall {_signed(value.kendall)}, "
            f"Spearman {_signed(value.spearman)} over {value.n} depths; "
            f"{'same' if value.same_best else 'another'} best"
        )


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.2f}"
