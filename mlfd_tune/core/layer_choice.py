"""Which levels to fuse, told from the teachers before any joint teacher is trained.

The MLFD paper finds its fusion depths by training with each (section 4.6, Table 4) and leaves open
how else to choose. Here two numbers are read off the frozen teachers (stage `level_scores`): what
a linear probe makes of all teachers' features at a candidate's finest level, and how alike the
teachers are there. That takes one pass of each teacher and a few logistic regressions.

It is a heuristic. The probe sees averaged features and fits one linear layer; the joint teacher
sees maps and trains a network, and its student learns from all levels and not from the finest
alone. Nor is it settled that teachers who differ more teach more: noise differs too. So the ranking
is by the probe, CKA stands beside it, and `agreement` measures both against training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods.joint import Mlfd
from mlfd_tune.core.models import (
    FUSION_DEPTHS,
    LEVELS,
    finest,
    fusion_depth,
    parse_levels,
    require_levels,
)
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.core.stages.level_scores import LevelScoresStage
from mlfd_tune.core.stages.pooled_features import PooledFeaturesStage
from mlfd_tune.core.store import Store
from mlfd_tune.core.store.stage import Progress

__all__ = [
    "CANDIDATES",
    "Agreement",
    "LevelScore",
    "agreement",
    "best_levels",
    "checked_candidates",
    "level_scores",
    "rank_levels",
    "ranked",
]

Levels = str | Sequence[str]

CANDIDATES: tuple[str, ...] = tuple(FUSION_DEPTHS)
"""L1 to L4."""

_FEWEST = 3  # any two depths agree or disagree wholly


@dataclass(frozen=True)
class LevelScore:
    """What the teachers promise of one candidate set of levels, by its finest level.

    Attributes:
        levels: The candidate, coarse to fine.
        probe: Validation accuracy in percent of a linear probe on all fused teachers.
        probe_own: The same with the dataset's own teacher alone.
        standard_error: Of `probe`, in percent.
        cka: Mean linear CKA of the pairs of fused teachers; None where there is only one.
        rank_by_probe: 1 for the first of all candidates.
        rank_by_cka: 1 for the candidate with the lowest CKA.
    """

    levels: tuple[str, ...]
    probe: float
    probe_own: float
    standard_error: float
    cka: float | None
    rank_by_probe: int
    rank_by_cka: int | None

    @property
    def depth(self) -> str:
        """The fusion depth's name, such as ``L2``."""
        return fusion_depth(self.levels)


@dataclass(frozen=True)
class Agreement:
    """How far a ranking agrees with the accuracies that training found; 1 is wholly.

    Attributes:
        n: How many fusion depths were compared.
        kendall: Kendall's tau-b; None where all accuracies found are the same.
        spearman: Spearman's rho, likewise.
        same_best: Whether the ranking's first is the best found, or as good.
    """

    n: int
    kendall: float | None
    spearman: float | None
    same_best: bool


def level_scores(pipeline: Pipeline, target: str) -> LevelScoresStage:
    """Return the stage that scores every level of the teachers fused for `target`'s student."""
    teachers, _ = Mlfd().fused(pipeline.settings, target)
    features = [_pooled_features(pipeline, name, target) for name in teachers]
    return LevelScoresStage(features, _pooled_features(pipeline, target, target))


def checked_candidates(
    pipeline: Pipeline, target: str, candidates: Sequence[Levels]
) -> list[tuple[str, ...]]:
    """Return the candidates as levels, each once.

    Raises:
        UserError: A name is no level, or a teacher lacks the finest level of a candidate.
    """
    sets = list(dict.fromkeys(map(parse_levels, candidates)))
    teachers, _ = Mlfd().fused(pipeline.settings, target)
    needed = sorted({finest(levels) for levels in sets}, key=LEVELS.index)
    problems: list[str] = []
    for name in dict.fromkeys([*teachers, target]):
        size = pipeline.settings.teacher_image_size(name)
        try:
            require_levels(pipeline.settings.teachers[name].arch, size, needed)
        except UserError as error:
            problems += [f"teachers.{name}.arch: {line}" for line in error.problems]
    if problems:
        raise UserError(*problems)
    return sets


def rank_levels(
    pipeline: Pipeline,
    target: str,
    store: Store,
    candidates: Sequence[Levels] = CANDIDATES,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[LevelScore]:
    """Return the candidates for `target`, best first by the probe.

    Candidates whose probes lie within one standard error of the best of them count as tied, and
    the one of fewer levels goes first: it is cheaper to train, cache and distil. So do, of those,
    the coarser. What is left is taken in the same way. Candidates of one finest level have one
    probe and are always tied.

    Args:
        pipeline: The lineup; its own `joint_teacher.levels` have no part in it.
        target: The dataset whose student is to be taught.
        store: Teachers and scores are taken from it, or computed into it.
        candidates: Fusion depths or lists of levels.
        device: Torch device to compute on.
        progress: Called with fraction done and a short text.

    Raises:
        UserError: A name is no level, or a teacher lacks one.
    """
    sets = checked_candidates(pipeline, target, candidates)
    artifact = store.get_or_compute(
        level_scores(pipeline, target), device=device, progress=progress
    )
    return ranked(artifact.manifest.metrics, sets)


def ranked(metrics: Mapping[str, float], candidates: Sequence[tuple[str, ...]]) -> list[LevelScore]:
    """Return candidates best first by the probe, as `rank_levels` says.

    Args:
        metrics: Those of stage `level_scores`.
        candidates: Different sets of levels, each coarse to fine.
    """
    images = int(metrics["images"])
    probe = {levels: metrics[f"probe/{finest(levels)}"] for levels in candidates}
    error = {levels: _standard_error(probe[levels], images) for levels in candidates}
    cka = {levels: metrics.get(f"cka/{finest(levels)}") for levels in candidates}
    by_cka = sorted(candidates, key=lambda levels: (cka[levels] or 0.0, *_cost(levels)))
    return [
        LevelScore(
            levels=levels,
            probe=probe[levels],
            probe_own=metrics[f"probe_own/{finest(levels)}"],
            standard_error=error[levels],
            cka=cka[levels],
            rank_by_probe=rank,
            rank_by_cka=None if cka[levels] is None else by_cka.index(levels) + 1,
        )
        for rank, levels in enumerate(_in_order_of_probe(probe, error), start=1)
    ]


def best_levels(
    pipeline: Pipeline,
    target: str,
    values: Sequence[Any],
    store: Store,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Any]:
    """Return the values of a search space's ``joint_teacher.levels``, best first, as they are.

    Nothing is computed where they all stand for the same levels.

    Args:
        pipeline: The lineup.
        target: The dataset whose student is searched.
        values: Fusion depths and lists of levels.
        store: As in `rank_levels`.
        device: As in `rank_levels`.
        progress: As in `rank_levels`.

    Raises:
        UserError: A name is no level, or a teacher lacks one.
    """
    if len(set(map(parse_levels, values))) < 2:
        return list(values)
    scores = rank_levels(pipeline, target, store, values, device, progress)
    rank = {score.levels: score.rank_by_probe for score in scores}
    return sorted(values, key=lambda value: rank[parse_levels(value)])


def agreement(
    scores: Sequence[LevelScore], found: Mapping[str, float]
) -> dict[str, Agreement] | None:
    """Return how the rankings agree with what training found.

    With three or four depths even full agreement is often chance: of random rankings, one in 6 or
    one in 24 is the right one.

    Args:
        scores: The ranking of one dataset.
        found: Accuracy in percent by fusion depth, such as ``L2``, of joint teachers or students.

    Returns:
        By ``probe`` and, where there is one, by ``cka``; None for fewer than three depths that are
        both ranked and found.
    """
    common = [score for score in scores if score.depth in found]
    if len(common) < _FEWEST:
        return None
    accuracies = [found[score.depth] for score in common]
    rankings = {"probe": [score.rank_by_probe for score in common]}
    by_cka = [score.rank_by_cka for score in common if score.rank_by_cka is not None]
    if len(by_cka) == len(common):
        rankings["cka"] = by_cka
    return {name: _agreement(ranks, accuracies) for name, ranks in rankings.items()}


def _agreement(ranks: Sequence[int], accuracies: Sequence[float]) -> Agreement:
    first = accuracies[ranks.index(min(ranks))]
    best = max(accuracies)
    if best == min(accuracies):  # a correlation with a constant is not defined
        return Agreement(len(ranks), None, None, same_best=True)
    better = [-rank for rank in ranks]
    return Agreement(
        n=len(ranks),
        kendall=float(stats.kendalltau(better, accuracies).statistic),
        spearman=float(stats.spearmanr(better, accuracies).statistic),
        same_best=first == best,
    )


def _in_order_of_probe(
    probe: Mapping[tuple[str, ...], float], error: Mapping[tuple[str, ...], float]
) -> list[tuple[str, ...]]:
    left, order = dict(probe), []
    while left:
        best = max(left, key=lambda levels: left[levels])
        tied = [levels for levels in left if left[levels] >= left[best] - error[best]]
        order += sorted(tied, key=_cost)
        left = {levels: value for levels, value in left.items() if levels not in tied}
    return order


def _cost(levels: tuple[str, ...]) -> tuple[int, int]:
    return len(levels), LEVELS.index(finest(levels))


def _standard_error(accuracy: float, images: int) -> float:
    """Return the standard error in percent of an accuracy in percent on so many images.

    Of a binomial proportion, with half a hit and half a miss added (Agresti and Coull 1998, at
    z = 1): the plain one is 0 where all images are right, as if nothing else could have come out.
    """
    share = (accuracy / 100 * images + 0.5) / (images + 1)
    return 100 * math.sqrt(share * (1 - share) / (images + 1))


def _pooled_features(pipeline: Pipeline, teacher: str, target: str) -> PooledFeaturesStage:
    size = pipeline.settings.teacher_image_size(teacher)
    return PooledFeaturesStage(pipeline.teacher(teacher), pipeline.dataset(target, size))
