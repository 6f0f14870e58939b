"""Baselines: labels alone, of the student's own dataset or of all (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from mlfd_tune.core.methods.base import METHODS, Method
from mlfd_tune.core.stages import BaselineStage, MultiDatasetSpec, MultiDatasetStage, StudentStage

if TYPE_CHECKING:
    from mlfd_tune.core.pipeline import Pipeline
    from mlfd_tune.core.settings import PipelineSettings

__all__ = ["JointHead", "LabelsAlone", "MultiHead"]


@METHODS.register("none")
class LabelsAlone(Method):
    """The dataset-specific baseline: the student's network on its dataset's labels."""

    description = "labels alone: the dataset-specific baseline"
    role = "baseline"

    def student(self, pipeline: Pipeline, target: str, seed: int) -> StudentStage:  # noqa: D102
        spec = pipeline.student_spec(target, seed)
        return BaselineStage(pipeline.student_data(target), spec)


class _MultiDataset(Method):
    role = "baseline"
    _kind: ClassVar[Literal["multi_head", "joint_head"]]

    def student(self, pipeline: Pipeline, target: str, seed: int) -> StudentStage:
        size = pipeline.settings.student_image_size(target)
        others = {
            name: pipeline.dataset(name, size)
            for name in sorted(pipeline.settings.datasets)
            if name != target
        }
        mixed = pipeline.settings.multi_dataset if self._kind == "joint_head" else None
        spec = MultiDatasetSpec(
            **dict(pipeline.student_spec(target, seed)),
            others=tuple(others),
            kind=self._kind,
            sampling=mixed and mixed.sampling,
            sampling_temperature=(
                mixed.sampling_temperature if mixed and mixed.sampling == "temperature" else None
            ),
        )
        return MultiDatasetStage(pipeline.student_data(target), spec, others)

    def problems(self, settings: PipelineSettings) -> Iterator[str]:
        if len(settings.datasets) < 2:
            yield f"method: {self._kind} needs two datasets or more, there is one"


@METHODS.register("multi_head")
class MultiHead(_MultiDataset):
    """One backbone, a head per dataset; every step sums the gradients of a batch of each."""

    description = "one backbone with a head per dataset, trained on all labels"
    _kind = "multi_head"


@METHODS.register("joint_head")
class JointHead(_MultiDataset):
    """One classifier over the union of all datasets' classes; batches mix all datasets."""

    description = "one classifier over the classes of all datasets, trained on mixed batches"
    sections = ("multi_dataset",)
    _kind = "joint_head"
