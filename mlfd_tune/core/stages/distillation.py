"""Stage `student` of the methods that distil logits and features by Eq. 3."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mlfd_tune.core.caching import Caching
from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.losses import FEATURE_LOSSES
from mlfd_tune.core.models import Backbone, StudentAdaptors
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.distillation_task import DistillationSpec, DistillationTask
from mlfd_tune.core.stages.student import StudentStage, StudentTask
from mlfd_tune.core.stages.target_files import TargetsView, stored_norms, targets_bytes
from mlfd_tune.core.stages.target_sources import (
    TargetsInMemory,
    TargetsOnTheFly,
    TargetSource,
    fit_norms,
)
from mlfd_tune.core.stages.targets import TargetsStage
from mlfd_tune.core.stages.teacher_targets import TeacherTargetsStage
from mlfd_tune.core.stages.trial_stage import StudentSpec
from mlfd_tune.core.stages.view_targets import ViewTargets
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.store.stage import read_below
from mlfd_tune.core.target_norm import TargetNorm

__all__ = ["DistillationSpec", "DistilledSpec", "DistilledStudentStage"]

_TARGETS, _VIEW = "targets", "view"


class DistilledSpec(StudentSpec):
    """Identity of a distilled student, beside its dataset and its targets."""

    distillation: DistillationSpec


class DistilledStudentStage(StudentStage):
    """Trains a student on the targets of a joint teacher, or of one network.

    Targets that are not stored are computed when its training starts, if they fit into memory, and
    else for every batch (`target_sources`). With the teacher view ``augmented`` they are computed
    for every batch in any case, of the student's own images (`view_targets`); the targets of clean
    images then serve the norm alone.

    Args:
        data: The packed dataset.
        spec: The student's identity.
        targets: What it is taught.
    """

    version = 2  # of plain transformers, levels by depth
    spec: DistilledSpec
    caching: Caching = Caching()

    def __init__(
        self,
        data: DatasetStage,
        spec: DistilledSpec,
        targets: TargetsStage | TeacherTargetsStage,
    ) -> None:
        super().__init__(data, spec)
        self.targets = targets

    @property
    def consistent(self) -> bool:
        """Whether its teachers look at the images that it sees itself."""
        return self.spec.distillation.teacher_view == "augmented"

    def lessons(self) -> dict[str, Stage]:
        """Return the targets, and the networks where they are to run along."""
        networks = self.targets.networks() if self.consistent else {}
        return {_TARGETS: self.targets} | {f"{_VIEW}/{name}": s for name, s in networks.items()}

    def task(  # noqa: D102
        self,
        student: Backbone,
        data: PackedDataset,
        lessons: Mapping[str, Artifact],
        streams: RandomStreams,
    ) -> StudentTask:
        spec, chosen = self.spec, self.spec.distillation
        levels, device = tuple(chosen.beta), next(student.parameters()).device
        with fixed_threads(spec.train.threads):  # fitting the norm sums over the targets
            targets = self._open_targets(lessons, levels, device)
        with streams.as_global("init/adaptors"):
            adaptors = StudentAdaptors(
                {level: student.level_shapes[level] for level in levels},
                targets.shapes(),
                levels,
                kind=chosen.adaptor,
                residual=chosen.residual,
                alignment=chosen.alignment,
                compares=FEATURE_LOSSES[chosen.feature_loss].compares,
            ).to(device)
        return DistillationTask(student, adaptors, data, targets, chosen, spec.train)

    def _open_targets(
        self, lessons: Mapping[str, Artifact], levels: tuple[str, ...], device: torch.device
    ) -> TargetSource:
        norm = self.spec.distillation.target_norm
        if self.consistent:
            view = self.targets.view(read_below(lessons, _VIEW), device)
            return ViewTargets(view, self._fit_norms(lessons, levels, device), device)
        if self.targets.stored:
            return TargetsView(lessons[_TARGETS].path, norm, levels, device)
        maker = self.targets.maker(read_below(lessons, _TARGETS), device)
        shapes = {level: self.targets.out_shapes[level] for level in levels}
        if self.caching.fits_memory(targets_bytes(shapes, self.data.num_classes, len(maker))):
            return TargetsInMemory(maker, norm, levels, device)
        return TargetsOnTheFly(maker, norm, levels, device)

    def _fit_norms(
        self, lessons: Mapping[str, Artifact], levels: tuple[str, ...], device: torch.device
    ) -> dict[str, TargetNorm]:
        """Return the norm of each level, fitted to the targets of clean images."""
        norm = self.spec.distillation.target_norm
        if self.targets.stored:
            return stored_norms(lessons[_TARGETS].path, norm, levels)
        return fit_norms(self.targets.maker(read_below(lessons, _TARGETS), device), norm, levels)
