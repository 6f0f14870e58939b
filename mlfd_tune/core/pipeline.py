"""From settings to stages: which artifacts a student needs, and how they depend on each other.

pipeline = Pipeline(settings)
student = store.get_or_compute(pipeline.student("digits"))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from mlfd_tune.core.caching import Caching
from mlfd_tune.core.catalogue import Catalogue
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.losses import FEATURE_LOSSES
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.methods.shapes import compared_levels, joint_channels
from mlfd_tune.core.models import ADAPTORS, Backbone, finest, require_levels
from mlfd_tune.core.numeric import resolve_precision
from mlfd_tune.core.registry import Registry
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.stages import (
    DatasetStage,
    DistillationSpec,
    DistilledSpec,
    EvaluationStage,
    FeaturesStage,
    FusionSpec,
    JointTeacherSpec,
    JointTeacherStage,
    LoadedTeacherStage,
    StudentSpec,
    Teacher,
    TeacherStage,
    TrialStage,
)
from mlfd_tune.core.stages.feature_formats import FeaturesDtype
from mlfd_tune.core.stages.lessons import follow_caching
from mlfd_tune.core.stages.model_files import without_memory
from mlfd_tune.core.stages.normalisation import choose_normalisation
from mlfd_tune.core.training import TrainSpec

__all__ = ["Catalogue", "Pipeline", "check_settings"]


class Pipeline:
    """The stages of one configuration.

    Args:
        settings: The configuration.
        catalogue: Dataset stages to share with other pipelines.
        caching: What of features and targets is stored. No key depends on it.
    """

    def __init__(
        self,
        settings: PipelineSettings,
        catalogue: Catalogue | None = None,
        caching: Caching = Caching(),  # noqa: B008  frozen
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue or Catalogue()
        self.caching = caching

    def dataset(self, name: str, image_size: int | None = None) -> DatasetStage:
        """Return the stage that packs a dataset, at the settings' image size unless told."""
        size = image_size or self.settings.image_size
        return self.catalogue.stage(name, self.settings.datasets[name], size)

    def student_data(self, target: str) -> DatasetStage:
        """Return the stage that packs a dataset as its student sees it."""
        return self.dataset(target, self.settings.student_image_size(target))

    def teacher(self, name: str) -> Teacher:
        """Return the stage that trains a dataset's teacher, or loads it."""
        teacher = self.settings.teachers[name]
        arch, train = teacher.arch, _resolved(teacher.train)
        data = self.dataset(name, self.settings.teacher_image_size(name))
        source = self.catalogue.weights(teacher.weights, arch) if teacher.weights else None
        normalisation = choose_normalisation(teacher.normalisation, arch, source)
        if source is None or teacher.fine_tune:
            seed = self.settings.seed
            return TeacherStage(data, arch, train, seed, source, normalisation)
        return LoadedTeacherStage(data, arch, source, train.threads, normalisation)

    def earlier_generation(self, target: str) -> TeacherStage:
        """Return the stage that trains a teacher just as `target`'s student is trained."""
        settings = self.settings
        train = _resolved(settings.students[target].train)
        return TeacherStage(
            self.student_data(target), settings.student_arch(target), train, settings.seed
        )

    def features(
        self, teacher: str, dataset: str, level: str, dtype: FeaturesDtype | None = None
    ) -> FeaturesStage:
        """Return the stage that runs `teacher`'s network over a dataset's images.

        Args:
            teacher: Whose network; it computes in the precision of its training.
            dataset: Whose images.
            level: Such as ``embedding`` or ``stride32``.
            dtype: How they are kept, in place of the joint teacher's `features_dtype`.
        """
        data = self.dataset(dataset, self.settings.teacher_image_size(teacher))
        precision = resolve_precision(self.settings.teachers[teacher].train.precision)
        dtype = dtype or self.settings.joint_teacher.features_dtype
        return FeaturesStage(self.teacher(teacher), data, level, dtype, precision)

    def joint_teacher(
        self, teachers: Sequence[str], datasets: Sequence[str], seed: int | None = None
    ) -> JointTeacherStage:
        """Return the stage that trains a joint teacher.

        Args:
            teachers: The datasets whose teachers are fused.
            datasets: The datasets whose labels it learns.
            seed: In place of the settings' seed.
        """
        settings = self.settings.joint_teacher
        level = finest(settings.levels)
        features = {
            (teacher, dataset): self.features(teacher, dataset, level)
            for teacher in teachers
            for dataset in datasets
        }
        fusion = FusionSpec(
            levels=settings.levels,
            adaptor=settings.adaptor,
            width=settings.width,
            dropout=settings.dropout,
            norm=settings.norm,
            channels=joint_channels(self.settings, datasets),
            residual=settings.residual,
            alignment=settings.alignment,
            fuse_at=settings.fuse_at,
            depth=settings.depth,
            extensions=_extensions((ADAPTORS, settings.adaptor)),
        )
        # One dataset has nothing to be sampled beside.
        sampling = settings.sampling if len(datasets) > 1 else "proportional"
        temperature = settings.sampling_temperature if sampling == "temperature" else None
        spec = JointTeacherSpec(
            fusion=fusion,
            datasets=tuple(datasets),
            train=_resolved(settings.train),
            seed=self.settings.seed if seed is None else seed,
            sampling=sampling,
            sampling_temperature=temperature,
        )
        stage = JointTeacherStage(teachers, features, spec)
        follow_caching(stage, self.caching)
        return stage

    def student_spec(self, target: str, seed: int) -> StudentSpec:
        """Return the identity that `target`'s student has under every method."""
        settings = self.settings
        return StudentSpec(
            dataset=target,
            arch=settings.student_arch(target),
            train=_resolved(settings.students[target].train),
            seed=seed,
        )

    def distilled_spec(self, target: str, seed: int, levels: Sequence[str]) -> DistilledSpec:
        """Return the identity of a student that learns by Eq. 3 at `levels`."""
        chosen = self.settings.distillation
        compared = compared_levels(self.settings, levels)
        values: dict[str, Any] = {
            name: getattr(chosen, name)
            for name in DistillationSpec.model_fields
            if name not in ("beta", "extensions")
        }
        distillation = DistillationSpec(
            **values,
            beta={level: chosen.beta[level] for level in compared},
            extensions=_extensions(
                (ADAPTORS, chosen.adaptor), (FEATURE_LOSSES, chosen.feature_loss)
            ),
        )
        student = dict(self.student_spec(target, seed)) | {"distillation": distillation}
        return DistilledSpec(**student)

    def student(
        self, target: str, method: str | None = None, seed: int | None = None
    ) -> TrialStage:
        """Return the stage that trains `target`'s student, baseline or control.

        Args:
            target: The dataset.
            method: In place of the settings' method.
            seed: In place of the settings' seed of the student.
        """
        method = method or self.settings.method
        seed = self.settings.student_seed(target) if seed is None else seed
        stage = METHODS.require(method)().student(self, target, seed)
        stage.method = method
        follow_caching(stage, self.caching)
        added = _extensions((METHODS, method))
        if added:
            # Whatever another package's method puts into its spec, its name and version are there.
            options = self.settings.method_options
            update = {"extensions": stage.spec.extensions | added, "options": options}
            stage.spec = stage.spec.model_copy(update=update)
            stage.__dict__.pop("key", None)  # where the method has asked for it before
        return stage

    def evaluation(
        self, target: str, method: str | None = None, seed: int | None = None
    ) -> EvaluationStage:
        """Return the stage that reads the test split for `target`'s student."""
        stage = self.student(target, method, seed)
        return EvaluationStage(stage.reader(), stage.data)


def check_settings(settings: PipelineSettings) -> None:
    """Check what only shows when settings meet: architectures, levels and adaptors.

    Raises:
        UserError: All problems found, each with its key.
    """
    problems = list(_arch_problems(settings))
    # Shapes can only be asked of architectures that have the levels.
    problems = problems or list(METHODS[settings.method]().problems(settings))
    if problems:
        raise UserError(*problems)


def _arch_problems(settings: PipelineSettings) -> Iterator[str]:
    method = METHODS[settings.method]()
    of_teachers, of_students = method.teacher_levels(settings), method.student_levels(settings)
    for name, teacher in settings.teachers.items():
        size = settings.teacher_image_size(name)
        yield from _network_problems(
            f"teachers.{name}", teacher.arch, size, of_teachers, teacher.train
        )
        size, arch = settings.student_image_size(name), settings.student_arch(name)
        yield from _network_problems(
            f"students.{name}", arch, size, of_students, settings.students[name].train
        )


def _network_problems(
    key: str, arch: str, image_size: int, levels: tuple[str, ...], train: TrainSpec
) -> Iterator[str]:
    message = _arch_problem(arch, image_size, levels)
    if message:
        yield f"{key}.arch: {message}"
    elif train.drop_path_rate and not _has_drop_path(arch, image_size):
        yield (
            f"{key}.train.drop_path_rate: architecture {arch!r} has no stochastic depth, but the "
            f"rate is {train.drop_path_rate} (allowed: 0)"
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


def _extensions(*used: tuple[Registry[Any], str]) -> dict[str, str]:
    """Return the packages that kinds come from, for the identity of what is made with them."""
    origins = {f"{registry.concept} {name}": registry.origin(name) for registry, name in used}
    return {name: origin for name, origin in origins.items() if origin is not None}
