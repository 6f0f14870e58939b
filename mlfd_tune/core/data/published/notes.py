"""What is worth a word about a copy of a published dataset, and how long lists are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlfd_tune.core.data.raw import RawDataset

if TYPE_CHECKING:
    from mlfd_tune.core.data.source import Official

__all__ = ["first_few", "official_notes"]

SHOWN = 10  # problems of one kind that are told one by one

_WORDS = {"train": "training images", "val": "validation images", "test": "test images"}


def official_notes(official: Official, raw: RawDataset) -> tuple[str, ...]:
    """Say where a copy holds less or more than what is published; small copies are allowed.

    Images are compared split by split. Where the copy's splits are not those that are published,
    because the source makes them itself, all images are compared together.

    Args:
        official: What the published dataset holds.
        raw: The copy, before any split is carved.

    Returns:
        One line for each difference; none for a whole copy.
    """
    here = {name: len(split) for name, split in raw.splits.items()}
    if here.keys() == official.images.keys():
        counts = [(_WORDS[name], here[name], official.images[name]) for name in here]
    else:
        counts = [("images", sum(here.values()), sum(official.images.values()))]
    counts.append(("classes", len(raw.classes), official.classes))
    return tuple(
        f"{count:,} {noun}; the published dataset has {published:,}"
        for noun, count, published in counts
        if count != published
    )


def first_few(problems: Sequence[str], where: str) -> list[str]:
    """Return the first problems of one kind and, where there are many, how many more there are.

    Args:
        problems: Problems of one kind, one line each.
        where: The file or folder that all of them are in.
    """
    if len(problems) <= SHOWN + 1:
        return list(problems)
    return [*problems[:SHOWN], f"{where}: {len(problems) - SHOWN:,} more problems of this kind"]
