"""Arms across datasets, by rank: Friedman's test and Nemenyi's critical difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mlfd_tune.ablation.statistics.families import ALPHA
from mlfd_tune.ablation.statistics.numbers import finite

__all__ = ["Ranks", "friedman_nemenyi"]


@dataclass(frozen=True)
class Ranks:
    """How arms rank across datasets.

    Attributes:
        arms: Names of the arms, as given.
        mean_ranks: Mean rank of each; 1 is best, ties share their ranks' mean.
        blocks: Number of datasets.
        p: Friedman's test of all arms being alike.
        critical_difference: Mean ranks further apart than this differ at the level 0.05 (Nemenyi).
        p_pairs: Nemenyi's p of each pair, in the order of `arms`.
    """

    arms: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    blocks: int
    p: float
    critical_difference: float
    p_pairs: Mapping[tuple[str, str], float]


def friedman_nemenyi(scores: Mapping[str, Sequence[float]]) -> Ranks | None:
    """Rank arms on every dataset and test whether their mean ranks differ.

    Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets (2006), section 3.2.2:
    the critical difference is ``q * sqrt(k (k + 1) / (6 N))`` for ``k`` arms on ``N`` datasets,
    with ``q`` the 0.95 quantile of the studentized range of ``k`` and infinite degrees of freedom,
    over ``sqrt(2)``. Both tests are approximations for many datasets.

    Args:
        scores: Mean accuracy of each arm, in percent, on the same datasets in one order.

    Returns:
        The ranks, or None with fewer than three arms or two datasets.

    Raises:
        ValueError: For arms on different numbers of datasets, or a score that is not finite.
    """
    arms = tuple(scores)
    if len(arms) < 3 or min(len(values) for values in scores.values()) < 2:
        return None
    columns = [finite(scores[arm], f"arm {arm!r}") for arm in arms]
    if len({column.size for column in columns}) > 1:
        raise ValueError("ranks need every arm on the same datasets")
    from scikit_posthocs import posthoc_nemenyi_friedman
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = np.stack(columns, axis=1)  # (datasets, arms)
    ranks = rankdata(-table, axis=1)
    blocks, count = ranks.shape
    # Where all arms tie on all datasets the statistic is 0 / 0: nothing tells them apart.
    tied = bool((ranks == ranks[0, 0]).all())
    p = 1.0 if tied else float(friedmanchisquare(*columns).pvalue)
    pairs = posthoc_nemenyi_friedman(table).to_numpy()
    quantile = float(studentized_range.ppf(1 - ALPHA, count, np.inf)) / math.sqrt(2)
    return Ranks(
        arms=arms,
        mean_ranks=tuple(float(rank) for rank in ranks.mean(axis=0)),
        blocks=blocks,
        p=p,
        critical_difference=quantile * math.sqrt(count * (count + 1) / (6 * blocks)),
        p_pairs={
            (arms[one], arms[other]): float(pairs[one, other])
            for one, other in combinations(range(count), 2)
        },
    )
