"""What `train` does: one student through the store, and how it compares with what was expected."""

from __future__ import annotations

from mlfd_tune.cli.checks import check_inputs
from mlfd_tune.cli.computing import compute, usable_device
from mlfd_tune.cli.options import console, print_json, problems_in
from mlfd_tune.config import Loaded, TrainConfig, pipeline_settings
from mlfd_tune.core.cache_plan import plan_cache
from mlfd_tune.core.pipeline import Catalogue, Pipeline, check_settings
from mlfd_tune.core.store import Store, walk
from mlfd_tune.tracking.weights import mlflow_fetcher

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
        settings = pipeline_settings(config)
        check_settings(settings)
        store = Store(config.store.path, config.store.max_bytes)
        catalogue = Catalogue(mlflow_fetcher(config.tracking.uri, store.root / "weights"))
        check_inputs(config, catalogue, store)
        student = Pipeline(settings, catalogue).student(config.target)
        caching = plan_cache(
            config.store.cache,
            [student],
            {student: 1},
            store,
            memory_bytes=config.store.memory_bytes,
            device=device,
        )
        student = Pipeline(settings, catalogue, caching).student(config.target)
        stages = list(walk([student]))
        todo = [stage for stage in stages if not store.has(stage)]
        needed = sum(stage.estimate_bytes() for stage in todo)
        store.require_space(needed, "the student and what it needs")
        console(stderr=json_).print(str(caching), highlight=False)
        compute(todo, store, device, console(stderr=json_))
        artifact = store.get_or_compute(student, device=device)
    metrics = dict(artifact.manifest.metrics)
    expected = config.provenance.expected.get("val/acc1") if config.provenance else None
    reused = len(stages) - len(todo)
    if json_:
        print_json(
            {
                "dataset": config.target,
                "key": artifact.key,
                "path": str(artifact.path),
                "metrics": metrics,
                "reused_stages": reused,
                "expected": expected,
                "reproduced": None if expected is None else metrics["val/acc1"] == expected,
            }
        )
        return
    out = console()
    out.print(f"{student.label}: val/acc1 {metrics['val/acc1']:.2f}, {reused} stages reused")
    weights = artifact.path / "model.safetensors"
    if weights.is_file():  # a joint teacher's own reading has none
        out.print(f"weights: {weights}", soft_wrap=True, highlight=False)
    if expected is not None:
        same = metrics["val/acc1"] == expected
        verdict = "reproduced exactly" if same else f"differs from the recorded {expected:.4f}"
        out.print(f"val/acc1 {metrics['val/acc1']:.4f}: {verdict}", highlight=False)
