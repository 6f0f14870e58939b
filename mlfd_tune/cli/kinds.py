"""`kinds`: what a YAML file may name, built in or from an installed package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlfd_tune.cli.options import as_json, examples, print_json, print_table
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:
    from mlfd_tune.core.registry import Registry

__all__ = ["kinds", "registries"]

_CONCEPTS = ("methods", "adaptors", "losses", "datasets")


@click.command(epilog=examples("mlfd-tune kinds methods", "mlfd-tune kinds losses --json"))
@click.argument("concept", type=click.Choice(_CONCEPTS))
@as_json
def kinds(concept: str, json_: bool) -> None:
    """List what a file may name: methods, adaptors, losses, datasets.

    Built-in ones, and those that installed packages bring.
    """
    registry = registries()[concept]
    rows = [_row(registry, name) for name in registry]
    if json_:
        print_json(rows)
    else:
        print_table(("name", "from", ""), [tuple(row.values()) for row in rows])


def registries() -> dict[str, Registry[Any]]:
    """Return all registries by what `kinds` calls them."""
    # torch is imported for what is asked for, and not for --help.
    from mlfd_tune.core.data import DATASETS
    from mlfd_tune.core.losses import FEATURE_LOSSES
    from mlfd_tune.core.methods import METHODS
    from mlfd_tune.core.models import ADAPTORS

    found: tuple[Registry[Any], ...] = (METHODS, ADAPTORS, FEATURE_LOSSES, DATASETS)
    return dict(zip(_CONCEPTS, found, strict=True))


def _row(registry: Registry[Any], name: str) -> dict[str, str]:
    try:
        origin, kind = registry.origin(name) or "built in", registry[name]
    except UserError as error:  # a package that does not work is listed with the reason
        return {"name": name, "from": "", "description": f"error: {error}"}
    role = getattr(kind, "role", None)
    said = getattr(kind, "description", None) or (kind.__doc__ or "").strip().partition("\n")[0]
    described = f"{role}: {said}" if role else str(said).rstrip(".")
    return {"name": name, "from": origin, "description": described}
