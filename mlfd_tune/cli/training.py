"""What `train` does: one student through the store, and how it compares with what was expected."""

from __future__ import annotations

from mlfd_tune.cli.computing import usable_device
from mlfd_tune.cli.options import console, print_json, problems_in
from mlfd_tune.cli.students import plan_students
from mlfd_tune.config import Loaded, TrainConfig
from mlfd_tune.core.store import Store

__all__ = ["train_one"]


def train_one(loaded: Loaded, device: str | None, json_: bool) -> None:
    """Train the student of a configuration and print its metrics.

    Raises:
        UserError: Bad settings, datasets or device.
    """
    config = loaded.config
    assert isinstance(config, TrainConfig)
    device = usable_device(device)
    with problems_in(loaded.path):
        store = Store(config.store.path, config.store.max_bytes)
        work = plan_students(config, store, device)
        work.run(console(stderr=json_))
        (student,) = work.students
        artifact = work.artifact(student)
    metrics = dict(artifact.manifest.metrics)
    expected = config.provenance.expected.get("val/acc1") if config.provenance else None
    if json_:
        print_json(
            {
                "dataset": config.target,
                "key": artifact.key,
                "path": str(artifact.path),
                "metrics": metrics,
                "reused_stages": work.reused,
                "expected": expected,
                "reproduced": None if expected is None else metrics["val/acc1"] == expected,
            }
        )
        return
    out = console()
    out.print(f"{student.label}: val/acc1 {metrics['val/acc1']:.2f}, {work.reused} stages reused")
    weights = artifact.path / "model.safetensors"
    if weights.is_file():  # a joint teacher's own reading has none
        out.print(f"weights: {weights}", soft_wrap=True, highlight=False)
    if expected is not None:
        same = metrics["val/acc1"] == expected
        verdict = "reproduced exactly" if same else f"differs from the recorded {expected:.4f}"
        out.print(f"val/acc1 {metrics['val/acc1']:.4f}: {verdict}", highlight=False)
