"""Ablations: designed comparisons with paired seeds.

`designs` says which arms a design has, `Ablation` runs them through the same Tuner as a sweep,
`read_ablation` compares them with the reference arm, and `ablation_tables` shows that.
"""

from mlfd_tune.ablation.comparison import (
    AblationResult,
    ArmRow,
    Comparison,
    comparison_rows,
    read_ablation,
)
from mlfd_tune.ablation.designs import Arm, arms_of
from mlfd_tune.ablation.run import Ablation
from mlfd_tune.ablation.tables import ablation_tables

__all__ = [
    "Ablation",
    "AblationResult",
    "Arm",
    "ArmRow",
    "Comparison",
    "ablation_tables",
    "arms_of",
    "comparison_rows",
    "read_ablation",
]
