"""What a reader of a comparison must know: families, too few seeds, looks and ranks."""

from __future__ import annotations

from collections.abc import Iterable

from mlfd_tune.ablation.arm_rows import ArmRow, Comparison
from mlfd_tune.ablation.statistics import ALPHA, Ranks, seeds_needed
from mlfd_tune.ablation.until_resolved import Look, looks_of
from mlfd_tune.config import AblationConfig

__all__ = ["of_families", "of_looks", "of_ranks"]


def of_families(rows: Iterable[ArmRow], alpha: float) -> list[str]:
    """Return what Holm's correction was for, and where seeds are too few for any claim."""
    families: dict[str, list[Comparison]] = {}
    for row in rows:
        if row.comparison is not None:
            families.setdefault(row.dataset, []).append(row.comparison)
    if not families:
        return []
    sizes = {dataset: len(family) for dataset, family in families.items()}
    size = ", ".join(f"{count} on {dataset}" for dataset, count in sizes.items())
    if len(set(sizes.values())) == 1:
        size = f"{next(iter(sizes.values()))} per dataset"
    notes = [
        "p (Holm): exact sign-flip test over paired seeds, corrected for the family of all arms "
        f"compared with the reference on one dataset ({size})"
    ]
    for dataset, family in families.items():
        if any(comparison.verdict == "too few seeds" for comparison in family):
            fewest = min(comparison.difference.n for comparison in family)
            notes.append(
                f"{dataset}: {fewest} paired seeds are too few to claim anything about "
                f"{len(family)} compared arms; {seeds_needed(len(family), alpha)} are needed"
            )
    return notes


def of_looks(config: AblationConfig, look: Look | None) -> list[str]:
    """Return what was spent on looking more than once."""
    if look is None or config.resolve is None:
        return []
    return [
        f"seeds were added until intervals were within {config.resolve.width:g} points: this is "
        f"look {looks_of(config).index(look) + 1} of at most {len(looks_of(config))}; its "
        f"differences have {look.confidence:.2%} intervals and claims need p (Holm) up to "
        f"{1 - look.confidence:.4f}, so that all looks together err in at most {ALPHA:.0%}; "
        "intervals of means are 95 % each and not corrected for looking"
    ]


def of_ranks(ranks: Ranks, rows: Iterable[ArmRow]) -> list[str]:
    """Return which arms the ranks leave out, and where no two of them can differ."""
    notes = []
    absent = dict.fromkeys(row.arm for row in rows if row.arm not in ranks.arms)
    if absent:
        notes.append(f"ranks: without {', '.join(absent)}, which not all datasets have")
    if ranks.critical_difference >= len(ranks.arms) - 1:
        notes.append(
            f"ranks: {ranks.blocks} datasets are too few for any two of {len(ranks.arms)} mean "
            f"ranks to differ by the critical difference of {ranks.critical_difference:.2f}"
        )
    return notes
