"""Exporting the best configuration of every dataset as a bundle of files.

``<dataset>.yaml`` trains it again and says where it comes from; ``.json`` says the same for
programs, with the leaderboard's row; ``.safetensors`` and ``.onnx`` are the network; ``.md`` is the
model card. `export_source` gathers what is known of a configuration, `export_bundle` writes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.statistics import Interval
from mlfd_tune.core.store import Store
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.export_bundle import FORMATS, Bundle
from mlfd_tune.tracking.export_files import staged
from mlfd_tune.tracking.export_source import read_source
from mlfd_tune.tracking.leaderboard import Row, leaderboard

__all__ = ["DEFAULT_FORMATS", "FORMATS", "Exported", "best_rows", "export_best", "parse_formats"]

DEFAULT_FORMATS: Final = ("yaml", "safetensors", "card")


@dataclass(frozen=True)
class Exported:
    """What was written for one dataset.

    Attributes:
        row: The leaderboard's row it comes from.
        files: The files by their format, of those that were asked for.
        better_control: A baseline or control with higher validation accuracy, if there is one.
        onnx_difference: How far a logit of the ONNX file lies from torch's at most.
    """

    row: Row
    files: Mapping[str, Path]
    better_control: Row | None
    onnx_difference: float | None = None

    @property
    def config(self) -> Path | None:
        """The YAML file."""
        return self.files.get("yaml")

    @property
    def weights(self) -> Path | None:
        """The safetensors file; None when the store no longer has the weights."""
        return self.files.get("safetensors")


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats that a text names, separated by commas.

    Raises:
        UserError: For a format that there is not, or none.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    wrong = [name for name in names if name not in FORMATS]
    if wrong or not names:
        name = wrong[0] if wrong else ""
        raise UserError(f"--format: unknown {name!r} {allowed_values(name, FORMATS)}")
    return names


def best_rows(rows: Sequence[Row]) -> dict[str, Row]:
    """Return each dataset's best configuration: confirmed before provisional, then validation.

    Baselines and controls are not candidates: they are what candidates are compared with.
    """
    best: dict[str, Row] = {}
    for row in rows:  # sorted by the leaderboard
        if not _is_comparison(row.method):
            best.setdefault(row.dataset, row)
    return best


def export_best(
    uri: str,
    experiment: str,
    folder: Path,
    store_path: str,
    dataset: str | None = None,
    formats: Collection[str] = DEFAULT_FORMATS,
) -> list[Exported]:
    """Write the best configuration of every dataset to `folder`: all files, or none.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        folder: Where the files go, named for the dataset.
        store_path: The artifact store that has the weights.
        dataset: Only this dataset.
        formats: Which of `FORMATS` to write.

    Raises:
        UserError: There is nothing to export, the folder cannot be written, or the network cannot
            be had as ONNX.
    """
    if "onnx" in formats:
        from mlfd_tune.core.onnx_export import require_onnx

        require_onnx()
    # Of all runs: a later one without confirmation must not hide an earlier one with it.
    rows = leaderboard(uri, experiment, dataset=dataset, all_runs=True)
    best = best_rows(rows)
    if not best:
        raise UserError(f"{experiment}: no finished run to export")
    client, store = open_client(uri), Store(store_path)
    exported = []
    with staged(folder) as temporary:
        for row in best.values():
            source = read_source(client, uri, row, store)
            bundle = Bundle(source, _better_control(row, rows), temporary, formats)
            bundle.write()
            files = {name: folder / file.name for name, file in bundle.files.items()}
            difference = bundle.onnx.largest_difference if bundle.onnx else None
            exported.append(Exported(row, files, bundle.better, difference))
    return exported


def _better_control(row: Row, rows: Sequence[Row]) -> Row | None:
    """Return a baseline or control of the same run with higher validation accuracy."""
    better = (
        other
        for other in rows
        if (other.dataset, other.sweep, other.status) == (row.dataset, row.sweep, row.status)
        and _is_comparison(other.method)
        and _mean(other.val) > _mean(row.val)
    )
    return next(better, None)


def _is_comparison(method: str) -> bool:
    """Tell baselines and controls from methods; a method that is not installed here is one."""
    known = METHODS.get(method)
    return known is not None and known.role != "method"


def _mean(interval: Interval | None) -> float:
    return interval.mean if interval else float("-inf")
