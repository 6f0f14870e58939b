"""From settings to stages: which artifacts a student needs, and how they depend on each other.

pipeline = Pipeline(settings)
student = store.get_or_compute(pipeline.student("digits"))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from mlfd_tune.core.data import DatasetSpec
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import (
    Backbone,
    StudentAdaptors,
    check_adaptor,
    finest,
    joint_out_shapes,
    level_shapes,
    require_levels,
)
from mlfd_tune.core.models.levels import map_levels
from mlfd_tune.core.numeric import resolve_precision
from mlfd_tune.core.settings import Method, PipelineSettings
from mlfd_tune.core.stages import (
    DatasetStage,
    DistillationSpec,
    EvaluationStage,
    FeaturesStage,
    JointTeacherStage,
    StudentStage,
    TargetsStage,
    TeacherStage,
)
from mlfd_tune.core.stages.joint_teacher import FusionSpec
from mlfd_tune.core.stages.model_files import without_memory
from mlfd_tune.core.training import TrainSpec

__all__ = ["DatasetCatalogue", "Pipeline", "check_settings"]


class DatasetCatalogue:
    """Dataset stages, made once: finding out what a folder holds means reading all of it.

    A catalogue travels to the workers, so that they neither list nor hash the images again.
    """

    def __init__(self) -> None:
        self._stages: dict[tuple[str, DatasetSpec, int], DatasetStage] = {}

    def stage(self, name: str, source: DatasetSpec, image_size: int) -> DatasetStage:
        """Return the stage that packs a dataset at an image size.

        Raises:
            UserError: The dataset cannot be read.
        """
        key = (name, source, image_size)
        if key not in self._stages:
            stage = DatasetStage(name, source, image_size)
            _ = stage.listing  # listed here, on the driver, and carried along
            self._stages[key] = stage
        return self._stages[key]


class Pipeline:
    """The stages of one configuration.

    Args:
        settings: The configuration.
        catalogue: Dataset stages to share with other pipelines.
    """

    def __init__(
        self, settings: PipelineSettings, catalogue: DatasetCatalogue | None = None
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue or DatasetCatalogue()

    def dataset(self, name: str) -> DatasetStage:
        """Return the stage that packs a dataset."""
        return self.catalogue.stage(name, self.settings.datasets[name], self.settings.image_size)

    def teacher(self, name: str) -> TeacherStage:
        """Return the stage that trains a dataset's teacher."""
        teacher = self.settings.teachers[name]
        return TeacherStage(
            self.dataset(name), teacher.arch, _resolved(teacher.train), self.settings.seed
        )

    def joint_teacher(self, target: str, method: Method = "mlfd") -> JointTeacherStage:
        """Return the stage that trains the joint teacher which `target`'s student learns from."""
        settings = self.settings.joint_teacher
        names, datasets = _fused(self.settings, target, method)
        teachers = [self.teacher(name) for name in names]
        level = finest(settings.levels)
        features = {
            (teacher.dataset, dataset): FeaturesStage(teacher, self.dataset(dataset), level)
            for teacher in teachers
            for dataset in datasets
        }
        fusion = FusionSpec(
            levels=settings.levels,
            adaptor=settings.adaptor,
            width=settings.width,
            dropout=settings.dropout,
            norm=settings.norm,
            channels=_channels(self.settings, datasets),
        )
        return JointTeacherStage(
            teachers, features, fusion, datasets, _resolved(settings.train), self.settings.seed
        )

    def targets(self, target: str, method: Method = "mlfd") -> TargetsStage:
        """Return the stage that runs the joint teacher over `target`'s training images."""
        return TargetsStage(self.joint_teacher(target, method), target)

    def student(
        self, target: str, method: Method | None = None, seed: int | None = None
    ) -> StudentStage:
        """Return the stage that trains `target`'s student, baseline or control.

        Args:
            target: The dataset.
            method: In place of the settings' method.
            seed: In place of the settings' seed of the student.
        """
        settings = self.settings
        method = method or settings.method
        seed = settings.student_seed(target) if seed is None else seed
        arch, train = settings.student_arch(target), _resolved(settings.students[target].train)
        if method == "none":
            return StudentStage(self.dataset(target), arch, train, seed)
        chosen = settings.distillation
        distillation = DistillationSpec(
            alpha=chosen.alpha,
            beta={level: chosen.beta[level] for level in settings.joint_teacher.levels},
            temperature=chosen.temperature,
            ce_weight=chosen.ce_weight,
            target_norm=chosen.target_norm,
            adaptor=chosen.adaptor,
        )
        targets = self.targets(target, method)
        return StudentStage(self.dataset(target), arch, train, seed, targets, distillation)

    def evaluation(
        self, target: str, method: Method | None = None, seed: int | None = None
    ) -> EvaluationStage:
        """Return the stage that reads the test split for `target`'s student."""
        return EvaluationStage(self.student(target, method, seed))


def check_settings(settings: PipelineSettings) -> None:
    """Check what only shows when settings meet: architectures, levels and adaptors.

    Raises:
        UserError: All problems found, each with its key.
    """
    problems = list(_arch_problems(settings))
    if settings.method != "none":
        problems += _fusion_problems(settings)
        # Shapes can only be asked of architectures that have the levels.
        problems = problems or list(_distillation_problems(settings))
    if problems:
        raise UserError(*problems)


def _fused(settings: PipelineSettings, target: str, method: Method) -> tuple[list[str], list[str]]:
    """Return whose teachers are fused for `target`'s student, and whose labels they learn."""
    if method == "own_teacher":
        return [target], [target]
    names = list(settings.datasets)
    return names, names if settings.joint_teacher.heads == "shared" else [target]


def _channels(settings: PipelineSettings, datasets: Sequence[str]) -> dict[str, int]:
    """Channels of the maps: the student's own, so that no student adaptor is needed.

    Where students of several architectures share a joint teacher, its width. At L1 there is no
    map, so the student's architecture leaves the joint teacher as it is.
    """
    archs = {settings.student_arch(name) for name in datasets}
    levels = map_levels(settings.joint_teacher.levels)
    if len(archs) > 1:
        return dict.fromkeys(levels, settings.joint_teacher.width)
    shapes = level_shapes(archs.pop(), settings.image_size)
    return {level: shapes[level][0] for level in levels}


def _fusion_problems(settings: PipelineSettings) -> Iterator[str]:
    fusion, chosen = settings.joint_teacher, settings.distillation
    try:
        check_adaptor(fusion.adaptor, fusion.levels)
    except UserError as error:
        yield f"joint_teacher.adaptor: {error}"
    weights = (chosen.alpha, chosen.ce_weight, *(chosen.beta[level] for level in fusion.levels))
    if not any(weights):
        yield (
            "distillation: alpha, ce_weight and the beta of every fused level are 0, so there is "
            "nothing to learn (allowed: at least one above 0)"
        )


def _distillation_problems(settings: PipelineSettings) -> Iterator[str]:
    """Find out whether the student's adaptors can reach the targets, from shapes alone."""
    fusion, size = settings.joint_teacher, settings.image_size
    for target in settings.datasets:
        teachers, datasets = _fused(settings, target, settings.method)
        in_shapes = {
            name: level_shapes(settings.teachers[name].arch, size)[finest(fusion.levels)]
            for name in teachers
        }
        channels = _channels(settings, datasets)
        shapes = joint_out_shapes(fusion.levels, channels, in_shapes, fusion.width, fusion.adaptor)
        student, adaptor = settings.student_arch(target), settings.distillation.adaptor
        for level in fusion.levels:
            try:
                with without_memory():
                    StudentAdaptors(level_shapes(student, size), shapes, (level,), adaptor)
            except UserError as error:
                yield f"distillation.adaptor: student of {target} at {level}: {error}"


def _arch_problems(settings: PipelineSettings) -> Iterator[str]:
    levels = settings.joint_teacher.levels
    needed: Mapping[str, tuple[str, ...]] = {"teachers": (), "students": ()}
    if settings.method != "none":
        needed = {"teachers": (finest(levels),), "students": levels}
    for name in settings.datasets:
        for key, arch, train in (
            ("teachers", settings.teachers[name].arch, settings.teachers[name].train),
            ("students", settings.student_arch(name), settings.students[name].train),
        ):
            message = _arch_problem(arch, settings.image_size, needed[key])
            if message:
                yield f"{key}.{name}.arch: {message}"
            elif train.drop_path_rate and not _has_drop_path(arch, settings.image_size):
                yield (
                    f"{key}.{name}.train.drop_path_rate: architecture {arch!r} has no stochastic "
                    f"depth, but the rate is {train.drop_path_rate} (allowed: 0)"
                )


@cache
def _arch_problem(arch: str, image_size: int, levels: tuple[str, ...]) -> str | None:
    try:
        require_levels(arch, image_size, levels)
    except UserError as error:
        return str(error)
    return None


@cache
def _has_drop_path(arch: str, image_size: int) -> bool:
    try:
        with without_memory():
            Backbone(arch, num_classes=2, image_size=image_size, drop_path_rate=0.1)
    except UserError:
        return False
    return True


def _resolved(train: TrainSpec) -> TrainSpec:
    return train.model_copy(update={"precision": resolve_precision(train.precision)})
