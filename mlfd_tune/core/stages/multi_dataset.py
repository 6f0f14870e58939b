"""Stage `baseline` of the methods that train one network on several datasets' labels.

The baselines `multi_head` and `joint_head` of MLFD, section 4.2. They are trained once for every
target dataset, paired with its student: the same architecture and initial weights, the target's
images in the same order with the same augmentation draws, as many optimizer steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.multi_dataset_tasks import (
    JointHeadTask,
    MultiDatasetTask,
    MultiHeadTask,
)
from mlfd_tune.core.stages.student import StudentStage
from mlfd_tune.core.stages.trial_stage import StudentSpec
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.training import SamplingPolicy

__all__ = ["MultiDatasetSpec", "MultiDatasetStage"]


class MultiDatasetSpec(StudentSpec):
    """Identity of a network trained on several datasets, beside the images.

    What has no part in the training is None and nothing else, so that equal trainings have equal
    hashes.

    Attributes:
        others: The datasets beside the target, in order of name.
        kind: One head for every dataset, or one classifier over the union of their classes.
        sampling: How much of each dataset is in a batch of `joint_head`; None for `multi_head`.
        sampling_temperature: Of the policy ``temperature``; None for the others.
    """

    others: tuple[str, ...] = Field(min_length=1)
    kind: Literal["multi_head", "joint_head"]
    sampling: SamplingPolicy | None = None
    sampling_temperature: float | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if list(self.others) != sorted({*self.others} - {self.dataset}):
            raise ValueError(f"others are not each once, by name, and without {self.dataset!r}")
        if (self.sampling is None) != (self.kind == "multi_head"):
            raise ValueError(f"sampling is {self.sampling!r}, but the kind is {self.kind}")
        if (self.sampling_temperature is None) != (self.sampling != "temperature"):
            raise ValueError(
                f"sampling_temperature is {self.sampling_temperature}, but sampling is "
                f"{self.sampling!r}"
            )
        return self


class MultiDatasetStage(StudentStage):
    """Trains a network on the labels of its dataset and of others, and keeps its own head alone.

    Args:
        data: The packed target dataset.
        spec: The network's identity.
        others: The other packed datasets, by name.

    Raises:
        UserError: Another dataset is packed at another image size than the target.
        ValueError: `others` are not those of the spec.
    """

    name = "baseline"
    spec: MultiDatasetSpec

    def __init__(
        self,
        data: DatasetStage,
        spec: MultiDatasetSpec,
        others: Mapping[str, DatasetStage],
    ) -> None:
        super().__init__(data, spec)
        if sorted(others) != list(spec.others):
            raise ValueError(f"the spec is for {spec.others}, not for {tuple(sorted(others))}")
        _require_same_size(data, others)
        self.others = {name: others[name] for name in spec.others}

    def lessons(self) -> dict[str, Stage]:
        """Return the other datasets."""
        return {_input_name(name): stage for name, stage in self.others.items()}

    def task(  # noqa: D102
        self,
        student: Backbone,
        data: PackedDataset,
        lessons: Mapping[str, Artifact],
        streams: RandomStreams,
    ) -> MultiDatasetTask:
        spec = self.spec
        others = {name: PackedDataset(lessons[_input_name(name)].path) for name in self.others}
        if spec.sampling is None:
            return MultiHeadTask(student, data, others, spec.train, streams)
        return JointHeadTask(
            student,
            data,
            others,
            spec.train,
            streams,
            sampling=spec.sampling,
            temperature=spec.sampling_temperature,
        )


def _input_name(dataset: str) -> str:
    return f"dataset/{dataset}"


def _require_same_size(data: DatasetStage, others: Mapping[str, DatasetStage]) -> None:
    size = data.spec.image_size
    problems = [
        f"dataset {name} is packed at {stage.spec.image_size} px (allowed: {size}, as "
        f"{data.dataset_name}, since one network takes the images of both)"
        for name, stage in sorted(others.items())
        if stage.spec.image_size != size
    ]
    if problems:
        raise UserError(*problems)
