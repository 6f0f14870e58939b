"""What is checked before `run` and `train` write anything: tracking, datasets, images."""

from __future__ import annotations

from collections.abc import Iterator

from mlfd_tune.config import ExperimentConfig
from mlfd_tune.core.data import DatasetSpec, load_dataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.pipeline import Catalogue
from mlfd_tune.core.stages.model_files import without_draws
from mlfd_tune.core.stages.weights import backbone_from
from mlfd_tune.core.store import Store
from mlfd_tune.tracking import check_uri

__all__ = ["check_inputs"]

# Datasets of a folder up to this size are decoded once beforehand, which takes seconds at most. In
# larger ones a damaged image is found when they are packed.
_FEW_IMAGES = 1000
_SHOWN = 10


def check_inputs(config: ExperimentConfig, catalogue: Catalogue, store: Store) -> None:
    """Check that runs can be logged and that every dataset and teacher can be read.

    Args:
        config: The experiment.
        catalogue: Gets the dataset stages, so that nothing is listed or hashed twice.
        store: What it holds was read before.

    Raises:
        UserError: All problems at once, each with its key.
    """
    problems = list(_tracking_problems(config.tracking.uri))
    for name, spec in config.datasets.items():
        try:
            stage = catalogue.stage(name, spec, config.image_size)
            damaged = [] if store.has(stage) else list(_damaged_images(spec))
        except UserError as error:
            damaged = list(error.problems)
        problems += [f"datasets.{name}: {line}" for line in damaged[:_SHOWN]]
        if len(damaged) > _SHOWN:
            problems.append(f"datasets.{name}: and {len(damaged) - _SHOWN} more like these")
    problems += _weights_problems(config, catalogue)
    if problems:
        raise UserError(*problems)


def _tracking_problems(uri: str) -> Iterator[str]:
    try:
        check_uri(uri)
    except UserError as error:
        for line in error.problems:
            yield f"tracking.uri: {line.removeprefix('tracking uri: ')}"


def _weights_problems(config: ExperimentConfig, catalogue: Catalogue) -> Iterator[str]:
    for name, teacher in config.teachers.items():
        if teacher.weights is None:
            continue
        try:
            source = catalogue.weights(teacher.weights, teacher.arch)
            if source.kind == "file":  # timm's own fit, and are a download
                size = config.teacher_image_size(name)
                with without_draws():
                    backbone_from(source, teacher.arch, 2, size, keep_head=False)
        except UserError as error:
            for line in error.problems:
                yield f"teachers.{name}.weights: {line.removeprefix('weights: ')}"


def _damaged_images(spec: DatasetSpec) -> Iterator[str]:
    if spec.source != "folder":
        return
    splits = load_dataset(spec).splits.values()
    if sum(len(split) for split in splits) > _FEW_IMAGES:
        return
    for split in splits:
        for index in range(len(split)):
            try:
                split.image(index)
            except UserError as error:
                yield from error.problems
