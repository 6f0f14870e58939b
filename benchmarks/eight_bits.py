"""What it costs in accuracy to keep features in 8 bits: the same runs with both, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from mlfd_tune.core.pipeline import Catalogue, Pipeline
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.stages.feature_formats import FeaturesDtype
from mlfd_tune.core.store import Store

__all__ = ["Comparison", "compare_eight_bits"]

TARGET = "photos"
HALF: FeaturesDtype = "float16"
EIGHT: FeaturesDtype = "int8"


@dataclass(frozen=True)
class Comparison:
    """val/acc1 in percent of one kind of network, by seed.

    Attributes:
        name: The network.
        half: With float16 features.
        eight: With int8 features, the same seeds.
    """

    name: str
    half: tuple[float, ...]
    eight: tuple[float, ...]

    def __str__(self) -> str:
        """Return the means, and the paired difference with its spread and standard error."""
        gaps = [eight - half for eight, half in zip(self.eight, self.half, strict=True)]
        text = (
            f"{self.name} {mean(self.half):.2f} % with float16, {mean(self.eight):.2f} % with "
            f"int8, paired difference {mean(gaps):+.2f} points "
            f"({min(gaps):+.2f} to {max(gaps):+.2f})"
        )
        if len(gaps) > 1:
            text += f", standard error {stdev(gaps) / len(gaps) ** 0.5:.2f}"
        return text


def compare_eight_bits(
    store: Store, seeds: Sequence[int], epochs: int, images: int, device: str
) -> tuple[Comparison, Comparison]:
    """Train teachers, joint teacher and student anew for every seed, the latter two twice.

    Args:
        store: Where stages are kept; the teachers of a seed serve both.
        seeds: Of everything.
        epochs: Of every training; joint teachers train twice as long.
        images: Training images of every dataset.
        device: Where all is computed.

    Returns:
        The joint teachers and the students on the photos.
    """
    catalogue = Catalogue()
    joint: dict[FeaturesDtype, list[float]] = {HALF: [], EIGHT: []}
    student: dict[FeaturesDtype, list[float]] = {HALF: [], EIGHT: []}
    for seed in seeds:
        for dtype in joint:
            pipeline = Pipeline(_settings(seed, epochs, images, dtype), catalogue)
            fused = pipeline.joint_teacher(("digits", "letters", "photos"), (TARGET,))
            metrics = store.get_or_compute(fused, device=device).manifest.metrics
            joint[dtype].append(metrics[f"val/acc1/{TARGET}"])
            trained = store.get_or_compute(pipeline.student(TARGET, "mlfd"), device=device)
            student[dtype].append(trained.manifest.metrics["val/acc1"])
    return (
        Comparison("joint teacher", tuple(joint[HALF]), tuple(joint[EIGHT])),
        Comparison("student", tuple(student[HALF]), tuple(student[EIGHT])),
    )


def _settings(seed: int, epochs: int, images: int, dtype: FeaturesDtype) -> PipelineSettings:
    recipe = {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.02, "batch_size": 32}
    return PipelineSettings.model_validate(
        {
            "seed": seed,
            "image_size": 32,
            "datasets": {
                name: {"source": name, "train_size": images}
                for name in ("digits", "letters", "photos")
            },
            "teacher": {"arch": "test_resnet", "train": {**recipe, "epochs": epochs}},
            "student": {"train": {**recipe, "epochs": epochs}},
            "joint_teacher": {
                "levels": "L2",
                "features_dtype": dtype,
                "train": {**recipe, "epochs": 2 * epochs},
            },
        }
    )
