"""Stage `joint_teacher`: the teachers' features fused and trained (Algorithm 1, steps 8-14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import torch

from mlfd_tune.core.caching import Caching
from mlfd_tune.core.models import JointTeacher, fusion_depth, joint_out_shapes
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.feature_files import features_name
from mlfd_tune.core.stages.feature_sources import FeatureSource, NetworkLoader, open_features
from mlfd_tune.core.stages.features import FeaturesStage
from mlfd_tune.core.stages.fusion import FusionTask, JointTeacherSpec
from mlfd_tune.core.stages.model_files import (
    load_description,
    load_weights,
    model_bytes,
    save_model,
    without_draws,
    without_memory,
)
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.stages.training_stage import TrainingStage
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.training import Trainer

__all__ = ["JointTeacherStage", "load_joint_teacher"]


class JointTeacherStage(TrainingStage):
    """Trains a joint teacher on the features of frozen teachers.

    The order of teachers and datasets does not matter: both are taken by name. Features that are
    not stored are computed when its training starts, if they fit into memory, and else for every
    batch (`feature_sources`).

    Args:
        teachers: The datasets of the frozen teachers that are fused.
        features: Their features at the finest fused level, by (teacher, dataset) name.
        spec: How they are fused, and whose labels are learned: all (shared heads) or one (a joint
            teacher per dataset).
    """

    name = "joint_teacher"
    spec: JointTeacherSpec
    caching: Caching = Caching()

    def __init__(
        self,
        teachers: Sequence[str],
        features: Mapping[tuple[str, str], FeaturesStage],
        spec: JointTeacherSpec,
    ) -> None:
        self.teachers = tuple(sorted(teachers))
        self.features = features
        datasets = tuple(sorted(spec.datasets))
        self.spec = spec.model_copy(update={"datasets": datasets})

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        stages: dict[str, Stage] = {}
        for dataset in self.spec.datasets:
            for teacher in self.teachers:
                stages[features_name(teacher, dataset)] = self.features[teacher, dataset]
            stages[f"dataset/{dataset}"] = self.data(dataset)
        return stages

    @property
    def label(self) -> str:  # noqa: D102
        count = len(self.teachers)
        if self.teachers == self.spec.datasets:
            teachers = "own teacher" if count == 1 else f"{count} teachers"
        else:
            teachers = f"{count} teachers" if count > 1 else f"teacher of {self.teachers[0]}"
        depth, adaptor = fusion_depth(self.spec.fusion.levels), self.spec.fusion.adaptor
        return f"joint teacher {'+'.join(self.spec.datasets)} ({teachers}, {depth}, {adaptor})"

    @property
    def dataset(self) -> str | None:  # noqa: D102
        return self.spec.datasets[0] if len(self.spec.datasets) == 1 else None

    @property
    def epochs(self) -> int:  # noqa: D102
        return self.spec.train.epochs

    @cached_property
    def in_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image's features at the finest level, by teacher."""
        dataset = self.spec.datasets[0]
        return {teacher: self.features[teacher, dataset].shape for teacher in self.teachers}

    @cached_property
    def out_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image's distillation target at every fused level."""
        fusion = self.spec.fusion
        return joint_out_shapes(
            fusion.levels,
            fusion.channels,
            self.in_shapes,
            fusion.width,
            fusion.adaptor,
            fusion.fuse_at,
        )

    def data(self, dataset: str) -> DatasetStage:
        """Return the stage that packs one of the datasets it learns."""
        return self.features[self.teachers[0], dataset].data

    def estimate_bytes(self) -> int:
        """The weights of adaptors, trunk and heads."""
        with without_memory():
            model = JointTeacher(**self._description())
        return model_bytes(model, names=len(self.teachers) + len(self.spec.datasets))

    def trainer(self, inputs: Mapping[str, Artifact], device: torch.device) -> Trainer:  # noqa: D102
        spec = self.spec
        streams = RandomStreams(spec.seed, "joint_teacher", "+".join(spec.datasets))
        with streams.as_global("init"):
            model = JointTeacher(**self._description()).to(device)
        needed = sum(stage.estimate_bytes() for stage in self._computed_features())
        in_memory = self.caching.fits_memory(needed)
        load = cache(partial(load_backbone, device=device))  # each teacher once, for all datasets
        features = {
            split: {
                name: self.source(inputs, name, split, device, load, in_memory=in_memory)
                for name in spec.datasets
            }
            for split in ("train", "val")
        }
        task = FusionTask(model, features["train"], features["val"], spec)
        return Trainer(task, spec.train, streams, device)

    def source(
        self,
        inputs: Mapping[str, Artifact],
        dataset: str,
        split: str,
        device: torch.device,
        load: NetworkLoader,
        *,
        in_memory: bool = False,
    ) -> FeatureSource:
        """Return the teachers' features of one dataset, as `open_features` does."""
        stages = {teacher: self.features[teacher, dataset] for teacher in self.teachers}
        return open_features(inputs, stages, split, device, load, in_memory=in_memory)

    def save(self, trainer: Trainer, out: Path) -> None:  # noqa: D102
        assert isinstance(trainer.task, FusionTask)
        save_model(trainer.task.model, self._description(), out)

    def _computed_features(self) -> list[FeaturesStage]:
        """Return the features that are not stored."""
        stages = [
            self.features[teacher, name] for name in self.spec.datasets for teacher in self.teachers
        ]
        return [stage for stage in stages if not stage.stored]

    def _description(self) -> dict[str, Any]:
        """Return what makes the network, for `JointTeacher` and for the file beside the weights."""
        fusion = self.spec.fusion
        return {
            "levels": fusion.levels,
            "in_shapes": self.in_shapes,
            "out_shapes": self.out_shapes,
            "num_classes": {name: self.data(name).num_classes for name in self.spec.datasets},
            "adaptor": fusion.adaptor,
            "width": fusion.width,
            "dropout": fusion.dropout,
            "norm": fusion.norm,
            "residual": fusion.residual,
            "alignment": fusion.alignment,
            "fuse_at": fusion.fuse_at,
            "depth": fusion.depth,
        }


def load_joint_teacher(path: Path, device: torch.device) -> JointTeacher:
    """Return the joint teacher in an artifact's folder, in evaluation mode."""
    about = load_description(path)
    for shapes in ("in_shapes", "out_shapes"):
        about[shapes] = {name: tuple(shape) for name, shape in about[shapes].items()}
    about["levels"] = tuple(about["levels"])
    with without_draws():
        model = JointTeacher(**about)
    load_weights(model, path)
    return model.to(device).eval()
