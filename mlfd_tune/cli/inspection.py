"""`models`: what there is to learn with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlfd_tune.cli.options import Group, as_json, print_json, print_table
from mlfd_tune.core.errors import UserError, nearest

if TYPE_CHECKING:
    from mlfd_tune.core.models.timm_levels import LevelPlan

__all__ = ["models"]


@click.group(cls=Group)
def models() -> None:
    """Look at timm models."""


@models.command("list")
@click.argument("pattern", default="*")
@as_json
def models_list(pattern: str, json_: bool) -> None:
    """List timm's models.

    PATTERN narrows it down, such as '*resnet*' or 'test_*'.
    """
    import timm

    names = timm.list_models(pattern)
    if not names and not json_:
        raise UserError(
            f"{pattern}: no model of that name {_near(pattern.strip('*'), timm.list_models())}"
        )
    print_json(names) if json_ else click.echo("\n".join(names))


@models.command("levels")
@click.argument("arch")
@click.option(
    "--image-size",
    type=click.IntRange(8, 1024),
    metavar="PIXELS",
    default=32,
    show_default=True,
    help="Side of the square images in pixels.",
)
@as_json
def models_levels(arch: str, image_size: int, json_: bool) -> None:
    """Show the levels of an architecture.

    With each level of ARCH, the shape of one image's features: channels, height, width; and how it
    is found: by stride, or in plain transformers and mixers by depth.
    """
    from mlfd_tune.core.models.timm_levels import plan_levels

    plan = plan_levels(arch, image_size)
    if json_:
        print_json({level: list(shape) for level, shape in plan.shapes.items()})
        return
    rows = [
        (level, " x ".join(map(str, shape)), _taken_from(plan, level))
        for level, shape in plan.shapes.items()
    ]
    print_table(("level", "shape", "taken from"), rows)
    click.echo(f"Levels are found by {plan.found}.")


def _taken_from(plan: LevelPlan, level: str) -> str:
    from mlfd_tune.core.models.levels import stride

    if level not in plan.indices:
        return "what the classifier takes"
    if plan.found == "depth":
        where = f"block {plan.indices[level] + 1}"
    else:
        where = f"the last map of stride {stride(level)}"
    return f"{where}, resized" if level in plan.resize else where


def _near(name: str, known: list[str]) -> str:
    match = nearest(name, known)
    return f"(allowed: {len(known)} names{f'; did you mean {match!r}?' if match else ''})"
