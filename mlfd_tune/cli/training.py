"""What `train` does: one student through the store, and how it compares with what was expected."""

from __future__ import annotations

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mlfd_tune.cli.options import print_json
from mlfd_tune.config import Loaded, TrainConfig, pipeline_settings
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.pipeline import Pipeline, check_settings
from mlfd_tune.core.store import Artifact, Stage, Store, walk

__all__ = ["train_one"]


def train_one(
    loaded: Loaded, config: TrainConfig, device: str | None, out: Console, json_: bool
) -> None:
    """Train the student of a configuration and print its metrics.

    Raises:
        UserError: Bad settings or device.
    """
    settings = pipeline_settings(config)
    check_settings(settings)
    device = _device(device)
    store = Store(config.store.path, config.store.max_bytes)
    pipeline = Pipeline(settings)
    student = pipeline.student(config.target)
    reused = [stage for stage in walk([student]) if store.has(stage)]
    artifact = _with_progress(store, list(walk([student])), device, out)
    metrics = dict(artifact.manifest.metrics)
    if json_:
        print_json({"key": artifact.key, "path": str(artifact.path), "metrics": metrics})
        return
    out.print(f"{student.label}: val/acc1 {metrics['val/acc1']:.2f}, {len(reused)} stages reused")
    out.print(f"weights: {artifact.path / 'model.safetensors'}", soft_wrap=True, highlight=False)
    expected = config.provenance.expected.get("val/acc1") if config.provenance else None
    if expected is not None:
        same = metrics["val/acc1"] == expected
        verdict = "reproduced exactly" if same else f"differs from the recorded {expected:.4f}"
        out.print(f"val/acc1 {metrics['val/acc1']:.4f}: {verdict}", highlight=False)


def _with_progress(store: Store, stages: list[Stage], device: str, out: Console) -> Artifact:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeElapsedColumn(), console=out, transient=True) as bars:
        for stage in stages:
            if store.has(stage):
                continue
            task = bars.add_task(stage.label, total=1.0, text="")

            def report(fraction: float, text: str, task: object = task) -> None:
                bars.update(task, completed=fraction, text=text)  # type: ignore[arg-type]

            store.get_or_compute(stage, device=device, progress=report)
            bars.update(task, completed=1.0)
    return store.get_or_compute(stages[-1], device=device)


def _device(name: str | None) -> str:
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return name
