"""Which files of a folder hold which split, as the library `datasets` and its hub lay them out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlfd_tune.core.data.image_files import names_in
from mlfd_tune.core.data.relative_paths import leaves_folder
from mlfd_tune.core.errors import UserError, allowed_values

__all__ = ["NAMES", "choose_splits", "find_splits"]

NAMES = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}
"""What each split is called on the hub, the most common name first."""

_SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?")


def find_splits(root: Path, where: str) -> dict[str, list[Path]]:
    """Return the files of every split by its name, in the order of their rows.

    Args:
        root: The dataset's folder.
        where: The folder as messages name it.

    Raises:
        UserError: The folder is in neither layout, or lacks files that it names itself.
    """
    if (root / "dataset_dict.json").is_file():
        splits = _json(root / "dataset_dict.json", where).get("splits")
        return {name: _saved(root / name, where) for name in _plain_names(splits, where)}
    if (root / "state.json").is_file():
        return {"train": _saved(root, where)}
    hidden = (path for path in root.rglob("*.parquet") if _shown(path.relative_to(root)))
    files = sorted(path for path in hidden if path.is_file())
    if files:
        return _repository(root, files, where)
    found = ", ".join(names_in(root)[:12]) or "nothing"
    folders = "; is it a dataset of source 'folder'?" if (root / "train").is_dir() else ""
    raise UserError(
        f"{where} holds no Hugging Face dataset: neither dataset_dict.json or state.json, which "
        f"save_to_disk writes, nor *.parquet files (found: {found}{folders})"
    )


def choose_splits(
    found: Iterable[str], wanted: Mapping[str, str | None], where: str
) -> tuple[dict[str, str], list[str]]:
    """Return which split of the dataset is taken for train, val and test, and what is wrong.

    Args:
        found: The names of the dataset's splits.
        wanted: For each of train, val and test, the name it is to have; None to leave it out. The
            first of `NAMES` means any of them, and for val and test none is no mistake.
        where: The folder as messages name it.
    """
    names = list(found)
    chosen: dict[str, str] = {}
    problems = []
    for split, name in wanted.items():
        default = name == NAMES[split][0]
        fitting = [one for one in (NAMES[split] if default else (name,)) if one in names]
        if fitting and fitting[0] is not None:
            chosen[split] = fitting[0]
        elif name is not None and (split == "train" or not default):
            allowed = allowed_values(name, names)
            problems.append(f"{where} has no split {name!r}; set options.{split}_split {allowed}")
    if wanted["val"] == NAMES["val"][0] and chosen.get("val") in (
        chosen.get("train"),
        chosen.get("test"),
    ):
        chosen.pop("val", None)  # asked for by another name, so this one is not meant
    for name in sorted(set(chosen.values())):
        users = [split for split, taken in chosen.items() if taken == name]
        if len(users) > 1:
            problems.append(f"{where}: split {name!r} cannot be both {' and '.join(users)}")
    return chosen, problems


def _saved(folder: Path, where: str) -> list[Path]:
    """Return the files of one table that `save_to_disk` wrote."""
    if not (folder / "state.json").is_file():
        raise UserError(f"{folder.name} in {where} has no state.json; save the dataset again")
    entries = _json(folder / "state.json", where).get("_data_files")
    if isinstance(entries, list):
        entries = [entry.get("filename") for entry in entries if isinstance(entry, dict)]
    return [folder / name for name in _plain_names(entries, where)]


def _repository(root: Path, files: list[Path], where: str) -> dict[str, list[Path]]:
    """Return Parquet files by split, told by their names or by their folders' names."""
    splits: dict[str, list[Path]] = {}
    for path in files:
        splits.setdefault(_split_of(path), []).append(path)
    problems = []
    for name, paths in splits.items():
        folders = sorted({str(path.parent.relative_to(root)) for path in paths})
        if len(folders) > 1:
            problems.append(
                f"{where} holds split {name!r} in several folders ({', '.join(folders)}): "
                "give one of them as path"
            )
            continue
        shards = [found for path in paths if (found := _SHARD.fullmatch(path.stem))]
        counts = {int(shard["count"]) for shard in shards}
        if shards and (len(counts) > 1 or len(shards) != counts.pop()):
            there = ", ".join(path.name for path in paths)
            problems.append(f"{where}: files of split {name!r} are missing (found: {there})")
    if problems:
        raise UserError(*problems)
    return splits


def _split_of(path: Path) -> str:
    shard = _SHARD.fullmatch(path.stem)
    if shard:
        return shard["split"]
    # Numbered files stand in a folder of the split's name: default/train/0000.parquet.
    return path.parent.name if path.stem.isdecimal() else path.stem


def _json(file: Path, where: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise UserError(f"{file.name} in {where} is damaged: it has too many levels") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file.name} in {where} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file.name} in {where} is damaged: it holds no keys and values")
    return content


def _plain_names(names: Any, where: str) -> list[str]:
    """Return names that stay inside the folder; a table without rows has none."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where} does not name the files of its data; save the dataset again")
    for name in names:
        if leaves_folder(name) or not name:
            raise UserError(f"{where} names data outside of itself ({name!r})")
    return names


def _shown(relative: Path) -> bool:
    return not any(part.startswith(".") for part in relative.parts)
