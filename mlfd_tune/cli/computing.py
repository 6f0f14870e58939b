"""What commands that compute stages share: the device, and progress while they compute."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.store import Stage, Store

__all__ = ["compute", "usable_device"]


def compute(todo: Iterable[Stage], store: Store, device: str, out: Console) -> None:
    """Compute stages in the order given, with a bar for each on `out` while it lasts."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeElapsedColumn(), console=out, transient=True) as bars:
        for stage in todo:
            task = bars.add_task(stage.label, total=1.0, text="")

            def report(fraction: float, text: str, task: TaskID = task) -> None:
                bars.update(task, completed=fraction, text=text)

            store.get_or_compute(stage, device=device, progress=report)
            bars.update(task, completed=1.0)


def usable_device(name: str | None) -> str:
    """Return the device asked for, or by default a GPU where there is one.

    Raises:
        UserError: There is no such device here.
    """
    usable = ["cpu"]
    if torch.cuda.is_available():
        usable += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if name is None:
        return "cuda" if "cuda" in usable else "cpu"
    if name not in usable:
        known = allowed_values(name, usable)
        raise UserError(f"--device {name}: there is no such device here {known}")
    return name
