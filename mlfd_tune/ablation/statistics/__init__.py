"""Statistics of ablations: what may be said of arms that share their seeds.

`bca_interval` of an arm's mean, `sign_flip`, `holm` and `hedges_g` of paired differences,
`seeds_needed` and `look_confidences` for how many seeds and looks a claim takes, and
`friedman_nemenyi` across datasets. docs/statistics.md says which is used when, and its limits.
"""

from mlfd_tune.ablation.statistics.bootstrap import bca_interval
from mlfd_tune.ablation.statistics.effect import hedges_g
from mlfd_tune.ablation.statistics.families import ALPHA, holm, seeds_needed
from mlfd_tune.ablation.statistics.permutation import SignFlip, sign_flip
from mlfd_tune.ablation.statistics.ranks import Ranks, friedman_nemenyi
from mlfd_tune.ablation.statistics.spending import look_confidences

__all__ = [
    "ALPHA",
    "Ranks",
    "SignFlip",
    "bca_interval",
    "friedman_nemenyi",
    "hedges_g",
    "holm",
    "look_confidences",
    "seeds_needed",
    "sign_flip",
]
