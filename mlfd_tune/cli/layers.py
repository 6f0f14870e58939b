"""`layers`: which levels to fuse, told from the teachers alone. Its work is in `layer_ranking`."""

from __future__ import annotations

from pathlib import Path

import click

from mlfd_tune.cli.options import as_json, examples
from mlfd_tune.core.errors import UserError

__all__ = ["layers"]


@click.command(
    epilog=examples(
        "mlfd-tune layers experiments/quickstart.yaml",
        "mlfd-tune layers my.yaml --dataset digits --candidates L1,L2,embedding+stride16",
        "mlfd-tune layers experiments/ablation_fusion_depth.yaml --against ablation_fusion_depth",
    )
)
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    help="Only this dataset; all targets of CONFIG by default. May be repeated.",
)
@click.option(
    "--candidates",
    default="L1,L2,L3,L4",
    show_default=True,
    metavar="LIST",
    help="What to rank, joined by commas: fusion depths, or levels joined by + such as "
    "embedding+stride16.",
)
@click.option(
    "--against",
    metavar="EXPERIMENT",
    help="Compare the rankings with this experiment's results, of the same teachers.",
)
@click.option(
    "--uri", metavar="URI", help="MLflow tracking URI of --against; that of CONFIG by default."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key, such as --set teacher.arch=test_vit. The value is YAML. May be repeated.",
)
@click.option(
    "--device",
    metavar="NAME",
    default=None,
    help="Torch device: cpu, cuda or cuda:1; a GPU where there is one.",
)
@as_json
def layers(
    config: Path,
    datasets: tuple[str, ...],
    candidates: str,
    against: str | None,
    uri: str | None,
    overrides: tuple[str, ...],
    device: str | None,
    json_: bool,
) -> None:
    """Rank sets of levels before any joint teacher is trained.

    CONFIG is an experiment file of any kind; its teachers are trained, or taken from the store. For
    each dataset, a linear probe on all teachers' features at the finest level of a set tells how
    much they know together, and their CKA how alike they are. It is a hint; --against tells how
    well it agreed with training.
    """
    if uri and not against:
        raise UserError("--uri: is of use with --against only")
    from mlfd_tune.cli.layer_ranking import rank_and_print
    from mlfd_tune.config import load_experiment

    loaded = load_experiment(config, overrides)
    rank_and_print(loaded, datasets, candidates, against, uri, device, json_)
