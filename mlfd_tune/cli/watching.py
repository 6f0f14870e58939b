"""`leaderboard --watch`: the table drawn in place again and again, until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Group
from rich.live import Live
from rich.text import Text

from mlfd_tune.cli.options import console
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.statistics import Interval

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mlfd_tune.tracking.leaderboard import Row

__all__ = ["watch"]

_Seen: TypeAlias = dict[tuple[object, ...], tuple[int, Interval | None, Interval | None]]


def watch(
    look: Callable[[], list[Row]],
    under_way: Callable[[], int],
    draw: Callable[[Sequence[Row], set[tuple[str, ...]]], Sequence[RenderableType]],
    seconds: float,
) -> None:
    """Draw the leaderboard in place until Ctrl-C, which is the usual end and no failure.

    Rows that are new since the last look, or have other seeds or accuracies, are marked.

    Args:
        look: Reads the rows.
        under_way: Counts the runs that have begun and not ended.
        draw: Draws rows, and marks those with such `run_ids`.
        seconds: Pause between two looks.

    Raises:
        UserError: The output is no terminal, or the database cannot be read any more.
    """
    if not sys.stdout.isatty():
        raise UserError("--watch: the output is no terminal to draw in (allowed: without --watch)")
    before: _Seen | None = None
    try:
        with Live(console=console(), auto_refresh=False) as live:
            while True:
                rows = look()
                now = {_place(row): (row.n_seeds, row.val, row.test) for row in rows}
                changed = {
                    row.run_ids
                    for row in rows
                    if before is not None and before.get(_place(row)) != now[_place(row)]
                }
                head = _head(under_way(), len(changed), seconds, first=before is None)
                live.update(Group(Text(head, style="bold"), *draw(rows, changed)), refresh=True)
                before = now
                time.sleep(seconds)
    except KeyboardInterrupt:
        return


def _head(runs: int, changed: int, seconds: float, *, first: bool) -> str:
    parts = [f"{datetime.now():%H:%M:%S}", f"{runs} {'run' if runs == 1 else 'runs'} under way"]
    if not first:
        rows = "row" if changed == 1 else "rows"
        parts.append(f"{changed} {rows} changed (*)" if changed else "no change")
    return ", ".join([*parts, f"every {seconds:g} s, Ctrl-C ends"])


def _place(row: Row) -> tuple[object, ...]:
    """Return what stays of a row when a seed is added to it."""
    kind = row.status if row.status in ("ablation", "pruned", "failed") else "run"
    configuration = row.dataset, row.method, row.config, row.baseline_of, row.arm
    return row.experiment, row.sweep, *configuration, kind
