"""Ablations: designed comparisons with paired seeds.

`designs` says which arms a design has, `Ablation` runs them through the same Tuner as a sweep, and
`ablation_tables` shows them against the reference arm.
"""

from mlfd_tune.ablation.designs import Arm, arms_of
from mlfd_tune.ablation.run import Ablation
from mlfd_tune.ablation.tables import ablation_tables, comparison_rows

__all__ = ["Ablation", "Arm", "ablation_tables", "arms_of", "comparison_rows"]
