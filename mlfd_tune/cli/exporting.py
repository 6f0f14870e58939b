"""`export`: the best configurations of an experiment as files for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlfd_tune.cli.options import as_json, console, examples, print_json, store_path, tracking_uri

if TYPE_CHECKING:
    from mlfd_tune.tracking.export import Exported

__all__ = ["export"]


@click.command(
    epilog=examples(
        "mlfd-tune export quickstart",
        "mlfd-tune export quickstart --dataset digits --format yaml,safetensors,onnx,card",
        "mlfd-tune train exports/digits.yaml",
        "mlfd-tune reproduce exports",
    )
)
@click.argument("experiment")
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("exports"),
    show_default=True,
    help="Folder to write to.",
)
@click.option("--dataset", metavar="NAME", help="Only this dataset.")
@click.option(
    "--format",
    "formats",
    metavar="NAMES",
    default="yaml,safetensors,card",
    show_default=True,
    help="What to write, separated by commas: yaml, json, safetensors, onnx, card.",
)
@store_path
@tracking_uri
@as_json
def export(
    experiment: str,
    output: Path,
    dataset: str | None,
    formats: str,
    store: str,
    uri: str,
    json_: bool,
) -> None:
    """Write the best configurations and their weights.

    One bundle per dataset of EXPERIMENT: a YAML file, which `mlfd-tune train` and
    `mlfd-tune reproduce` take, and beside it the weights as safetensors and a model card; if asked
    for, JSON for programs, and the network as ONNX, checked against torch. All of it is written, or
    nothing.
    """
    from mlfd_tune.tracking.export import export_best, parse_formats

    exported = export_best(uri, experiment, output, store, dataset, parse_formats(formats))
    if json_:
        print_json([_as_json(item) for item in exported])
        return
    for item in exported:
        _print(item, weights_wanted="safetensors" in formats)


def _print(item: Exported, *, weights_wanted: bool) -> None:
    out = console()
    files = ", ".join(map(str, item.files.values()))
    lost = weights_wanted and item.weights is None
    again = f"; `mlfd-tune train {item.config}` trains them again" if item.config else ""
    missing = f" (weights are no longer in the store{again})" if lost else ""
    out.print(
        f"{item.row.dataset}: {files}{missing}  [{item.row.status}]", markup=False, soft_wrap=True
    )
    if item.onnx_difference is not None:
        out.print(
            f"  onnx: logits within {item.onnx_difference:.1g} of torch's on validation images",
            highlight=False,
        )
    if item.better_control is not None:
        out.print(
            f"  note: {item.better_control.method} scores higher on validation", highlight=False
        )


def _as_json(item: Exported) -> dict[str, Any]:
    better = item.better_control
    return {
        **item.row.as_json(),
        "config_file": str(item.config) if item.config else None,
        "weights_file": str(item.weights) if item.weights else None,
        "files": {form: str(file) for form, file in item.files.items()},
        "onnx_difference": item.onnx_difference,
        "better_control": better.method if better else None,
    }
