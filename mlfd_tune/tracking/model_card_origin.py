"""Where an exported student comes from: data, lineage, software and hardware."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlfd_tune.core.store import Artifact
from mlfd_tune.tracking.model_card_parts import code, fenced, plain, table

__all__ = ["data_lines", "environment_lines", "lineage_lines"]

_GONE = "The store no longer had this when the student was exported."
_SPLITS = ("train", "val", "test")
_SHORT = 12  # digits of a hash that are shown


def data_lines(artifacts: Mapping[str, Artifact]) -> Iterator[str]:
    """Yield the datasets with their sizes, how they were split, and their hashes."""
    datasets = [item.manifest for item in artifacts.values() if item.manifest.stage == "dataset"]
    if not datasets:
        yield _GONE
        return
    rows = []
    for manifest in sorted(datasets, key=lambda manifest: manifest.dataset or ""):
        counts = (
            f"{manifest.metrics[f'{split}_images']:.0f}" for split in ("train", "val", "test")
        )
        size = manifest.spec["image_size"]
        classes = f"{manifest.metrics['classes']:.0f}"
        rows.append(
            (manifest.dataset or "", classes, *counts, f"{size} px", f"`{manifest.key[:_SHORT]}`")
        )
    yield from table(("dataset", "classes", "train", "val", "test", "size", "hash"), rows)
    yield ""
    yield (
        "The hash is over the content of the images, the splits and the size. How each was read "
        "and split:"
    )
    yield ""
    settings = {manifest.dataset: dict(_flat(manifest.spec["identity"])) for manifest in datasets}
    yield from table(
        ("dataset", "source and split"),
        [
            (name or "", ", ".join(f"{key} {value}" for key, value in sorted(found.items())))
            for name, found in sorted(settings.items(), key=lambda item: item[0] or "")
        ],
    )


def lineage_lines(artifacts: Mapping[str, Artifact], key: str) -> Iterator[str]:
    """Yield the tree of stages that the student was computed from, with artifact keys.

    Args:
        artifacts: Those of the tree that the store still has.
        key: The student's key.
    """
    by_key = {artifact.key: artifact for artifact in artifacts.values()}
    if key not in by_key:
        yield f"Artifact `{key}`. {_GONE}"
        return
    yield "Every stage with its artifact's key and the seconds that it took, below what reads it:"
    yield ""
    seen: set[str] = set()

    def tree(at: str, depth: int) -> Iterator[str]:
        indent = "  " * depth
        artifact = by_key.get(at)
        if artifact is None:
            yield f"{indent}{at[:_SHORT]} (no longer in the store)"
            return
        manifest = artifact.manifest
        again = at in seen and bool(manifest.below)
        seen.add(at)
        told = "as above" if again else f"{manifest.seconds:.1f} s"
        yield f"{indent}{manifest.label}  {at[:_SHORT]}  {told}"
        for below in () if again else manifest.below:
            yield from tree(below, depth + 1)

    yield from fenced(tree(key, 0))


def environment_lines(tags: Mapping[str, str], student: Artifact | None) -> Iterator[str]:
    """Yield versions, hardware and the commit, as the run recorded them."""
    versions = dict(student.manifest.versions) if student else {}
    rows = []
    for name, value in tags.items():
        if name.startswith("mlfd.version."):
            versions[plain(name.removeprefix("mlfd.version."))] = plain(value)
        elif name.startswith("mlfd.hardware."):
            rows.append((plain(name.removeprefix("mlfd.hardware.")), plain(value)))
    commit = tags.get("mlflow.source.git.commit")
    if commit:
        rows.append(("git commit of mlfd-tune", code(commit)))
    yield from table(("", ""), [*sorted(versions.items()), *rows])


def _flat(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif isinstance(value, list | tuple):
            yield name, f"{len(value)} values"
        elif value is not None:
            text = str(value)
            yield name, text[:_SHORT] if len(text) == 64 else text  # a sha256
