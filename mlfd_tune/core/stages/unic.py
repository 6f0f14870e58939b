"""Stage `student` of UNIC: several frozen teachers, and no joint teacher between.

Source: "UNIC: Universal Classification Models via Multi-teacher Distillation" (ECCV 2024,
arXiv 2408.05088).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

import torch

from mlfd_tune.core.caching import Caching
from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.models import Backbone, require_levels
from mlfd_tune.core.models.ladder import LadderOfProjectors, check_rungs
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.feature_sources import Rows, StoredRows, TeacherRows
from mlfd_tune.core.stages.features import FeaturesStage
from mlfd_tune.core.stages.student import StudentStage, StudentTask
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.stages.trial_stage import StudentSpec
from mlfd_tune.core.stages.unic_task import TeacherFeatures, UnicSpec, UnicTask
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.core.store.stage import read_below

__all__ = ["UnicSpec", "UnicStage", "UnicStudentSpec"]


class UnicStudentSpec(StudentSpec):
    """Identity of a student of several teachers, beside its dataset and their features."""

    unic: UnicSpec


class UnicStage(StudentStage):
    """Trains a student to predict several frozen teachers' features (UNIC).

    Features that are not stored are computed when its training starts, if they fit into memory, and
    else for every batch (`feature_sources`).

    Args:
        data: The packed dataset.
        spec: The student's identity.
        features: By teacher and level, what the teacher sees in the dataset's images.

    Raises:
        ModelChoiceError: The student or a teacher lacks a level, or no rung fits a token type.
        ValueError: Features of a teacher are missing, or there are no teachers or token types.
    """

    spec: UnicStudentSpec
    caching: Caching = Caching()

    def __init__(
        self,
        data: DatasetStage,
        spec: UnicStudentSpec,
        features: Mapping[tuple[str, str], FeaturesStage],
    ) -> None:
        super().__init__(data, spec)
        unic = spec.unic
        self.levels = {token_type: unic.level_of(token_type) for token_type in unic.token_types}
        needed = [(name, level) for name in unic.teachers for level in self.levels.values()]
        missing = [key for key in needed if key not in features]
        if missing or not needed:
            raise ValueError(f"UNIC: features of {missing or 'any teacher'} are missing")
        self.features = {key: features[key] for key in needed}
        check_rungs(unic.rungs, unic.token_types)
        require_levels(spec.arch, data.spec.image_size, unic.rungs)
        for (_, level), stage in self.features.items():
            require_levels(stage.teacher.spec.arch, stage.data.spec.image_size, (level,))

    def lessons(self) -> dict[str, Stage]:
        """Return every teacher's features that are predicted."""
        return {_lesson(*key): stage for key, stage in self.features.items()}

    def task(  # noqa: D102
        self,
        student: Backbone,
        data: PackedDataset,
        lessons: Mapping[str, Artifact],
        streams: RandomStreams,
    ) -> StudentTask:
        unic, device = self.spec.unic, next(student.parameters()).device
        rows = self._rows(lessons, device)
        sources = {
            teacher: {token_type: rows[teacher, level] for token_type, level in self.levels.items()}
            for teacher in unic.teachers
        }
        features = TeacherFeatures(sources)
        with streams.as_global("init/ladder"):
            ladder = LadderOfProjectors(
                student.level_shapes,
                features.shapes(),
                unic.rungs,
                hidden=unic.hidden,
                last_hidden=unic.last_hidden,
            ).to(device)
        return UnicTask(student, ladder, data, features, unic, self.spec.train, streams)

    def _rows(
        self, lessons: Mapping[str, Artifact], device: torch.device
    ) -> dict[tuple[str, str], Rows]:
        """Return every teacher's features of the training images, by teacher and level."""
        computed = [stage for stage in self.features.values() if not stage.stored]
        in_memory = self.caching.fits_memory(sum(stage.estimate_bytes() for stage in computed))
        load = cache(partial(load_backbone, device=device))  # each teacher once, for all levels
        found: dict[tuple[str, str], Rows] = {}
        for key, stage in self.features.items():
            name = _lesson(*key)
            if stage.stored:
                found[key] = StoredRows(lessons[name].path, "train", device)
                continue
            running = TeacherRows(stage, read_below(lessons, name), "train", device, load)
            found[key] = running.in_memory() if in_memory else running
        return found


def _lesson(teacher: str, level: str) -> str:
    return f"features/{teacher}/{level}"
