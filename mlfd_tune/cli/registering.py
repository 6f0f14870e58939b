"""`register`: the best models in MLflow's model registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlfd_tune.cli.options import as_json, console, examples, print_json, store_path, tracking_uri

if TYPE_CHECKING:
    from mlfd_tune.tracking.registry import Registered

__all__ = ["register"]


@click.command(
    epilog=examples(
        "mlfd-tune register quickstart",
        "mlfd-tune register quickstart --dataset digits --name production",
    )
)
@click.argument("experiment")
@click.option("--dataset", metavar="NAME", help="Only this dataset.")
@click.option(
    "--name",
    "prefix",
    metavar="PREFIX",
    help="What the models' names begin with; EXPERIMENT by default.",
)
@click.option(
    "--force", is_flag=True, help="Move the alias though the champion was measured on other data."
)
@store_path
@tracking_uri
@as_json
def register(
    experiment: str,
    dataset: str | None,
    prefix: str | None,
    force: bool,
    store: str,
    uri: str,
    json_: bool,
) -> None:
    """Register the best confirmed model of every dataset.

    In MLflow's model registry, as PREFIX.DATASET. The alias `champion` moves to it when its
    validation accuracy is higher than that of the present champion on the same data. What was not
    confirmed on fresh seeds is not registered.
    """
    from mlfd_tune.tracking.registry import register_best

    found = register_best(uri, experiment, store, dataset=dataset, prefix=prefix, force=force)
    if json_:
        print_json([_as_json(item) for item in found])
        return
    out = console()
    for item in found:
        out.print(_line(item), markup=False, highlight=False, soft_wrap=True)


def _line(item: Registered) -> str:
    if item.version is None:
        return f"{item.row.dataset}: {item.note}"
    what = "new" if item.is_new else "known already"
    return f"{item.row.dataset}: {item.uri} is version {item.version} ({what}; {item.note})"


def _as_json(item: Registered) -> dict[str, Any]:
    return {
        **item.row.as_json(),
        "model": item.name,
        "version": item.version,
        "uri": item.uri,
        "is_new": item.is_new,
        "is_champion": item.is_champion,
        "note": item.note,
    }
