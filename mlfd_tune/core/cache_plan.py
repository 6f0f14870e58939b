"""Choosing a cache plan: what the artifacts will take, what room there is, and what speed.

caching = plan_cache("auto", stages, students, store, memory_bytes=None, device=device)
pipeline = Pipeline(settings, catalogue, caching)
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mlfd_tune.core.caching import CachePlan, Caching, Estimates, Rates, Uses, choose_cache
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.stages import (
    DistilledStudentStage,
    FeaturesStage,
    JointTeacherStage,
    TargetsStage,
    TeacherTargetsStage,
    TrialStage,
)
from mlfd_tune.core.stages.features import FEATURE_SPLITS
from mlfd_tune.core.stages.model_files import without_draws
from mlfd_tune.core.store import Stage, Store, walk

__all__ = ["estimate_missing", "is_kept", "measure_rates", "plan_cache", "uses_of"]

_PROBE_BYTES = 32 << 20
_PROBE_IMAGES = 16
_PROBE_SECONDS = 0.3


def plan_cache(
    setting: Literal["auto"] | CachePlan,
    stages: Iterable[Stage],
    students: Mapping[TrialStage, int],
    store: Store,
    *,
    memory_bytes: int | None,
    device: str,
) -> Caching:
    """Return what of features and targets is to be stored, and why.

    Speed is measured only where it can decide: where features fit and targets do not. That takes
    about a second.

    Args:
        setting: `store.cache`.
        stages: All shared stages, as under the plan ``targets``.
        students: Students to come, and how many there will be of each kind.
        store: Where artifacts are kept.
        memory_bytes: `store.memory_bytes`.
        device: Torch device that networks run on.
    """
    if setting != "auto":
        return Caching(setting, "as set", memory_bytes)
    stages = list(walk(stages))
    estimates, budget = estimate_missing(stages, store), store.room()
    for student, count in students.items():
        estimates += _of_unplanned(student, count, stages)
    choice = choose_cache(estimates, budget)
    features = [stage for stage in stages if isinstance(stage, FeaturesStage)]
    if choice.plan == "features" and features:
        fits = replace(choice, memory_bytes=memory_bytes).fits_memory
        uses = uses_of(stages, students, store, fits)
        choice = choose_cache(estimates, budget, measure_rates(features, store.root, device), uses)
    return replace(choice, memory_bytes=memory_bytes)


def is_kept(stage: Stage, plan: CachePlan) -> bool:
    """Tell whether the store is to hold a shared stage's artifact under a plan."""
    if isinstance(stage, TargetsStage | TeacherTargetsStage):
        return plan == "targets"
    return plan != "none" or not isinstance(stage, FeaturesStage)


def estimate_missing(stages: Iterable[Stage], store: Store) -> Estimates:
    """Return what the stages that are not in the store will take."""
    found = Estimates()
    for stage in stages:
        if not store.has(stage):
            found += _estimate(stage)
    return found


def uses_of(
    stages: Sequence[Stage],
    students: Mapping[TrialStage, int],
    store: Store,
    fits_memory: Callable[[int], bool],
) -> Uses:
    """Return how often features are needed by the joint teachers and students to come.

    Args:
        stages: The shared stages.
        students: Students to come, and how many of each kind.
        store: What is there already.
        fits_memory: Tells whether a training may hold so many bytes; then it needs each image
            once, and else once an epoch.
    """
    extracted = read = run = 0
    for stage in stages:
        if isinstance(stage, FeaturesStage) and not store.has(stage):
            extracted += _images(stage)
        elif isinstance(stage, JointTeacherStage) and not store.has(stage):
            features = [stage.features[t, d] for d in stage.spec.datasets for t in stage.teachers]
            images = sum(map(_images, features))
            held = fits_memory(sum(each.estimate_bytes() for each in features))
            read += images * stage.epochs
            run += images * (1 if held else stage.epochs)
    for student, count in students.items():
        if not isinstance(student, DistilledStudentStage):
            continue
        targets = student.targets
        if isinstance(targets, TargetsStage):
            joint = targets.joint_teacher
            images = joint.data(targets.dataset).counts["train"] * len(joint.teachers)
            # Teachers that run along see other images; clean ones serve the norm alone.
            once = student.consistent or fits_memory(targets.estimate_bytes())
            passes = 1 if once else student.epochs
            read += images * passes * count
            run += images * passes * count
    return Uses(extracted, read, run)


def measure_rates(features: Sequence[FeaturesStage], place: Path, device: str) -> Rates:
    """Measure what it costs on this machine to read features, and to compute them.

    Teachers are measured before they are trained: a network's speed does not depend on its weights.

    Args:
        features: The features in question; at least one.
        place: The store's folder, or where it will be: reading is measured on its disk.
        device: Torch device that teachers run on.
    """
    images = [_images(stage) for stage in features]
    networks: dict[tuple[str, int, str], float] = {}
    seconds = 0.0
    for stage, count in zip(features, images, strict=True):
        network = (stage.teacher.spec.arch, stage.data.spec.image_size, stage.spec.level)
        if network not in networks:
            networks[network] = _seconds_to_run(*network, stage.teacher.threads, device)
        seconds += count * networks[network]
    size = sum(stage.estimate_bytes() for stage in features) / sum(images)
    return Rates(read=size * _seconds_to_read_a_byte(place), run=seconds / sum(images))


def _estimate(stage: Stage) -> Estimates:
    size = stage.estimate_bytes()
    if isinstance(stage, TargetsStage | TeacherTargetsStage):
        return Estimates(targets=size)
    return Estimates(features=size) if isinstance(stage, FeaturesStage) else Estimates(rest=size)


def _of_unplanned(student: TrialStage, count: int, stages: Sequence[Stage]) -> Estimates:
    """Return what trials store for themselves, where their shared stages are not known before.

    A search over endlessly many joint teachers has one for every trial, and targets of each.
    """
    if not isinstance(student, DistilledStudentStage):
        return Estimates()
    kinds = (TargetsStage, TeacherTargetsStage)
    if any(isinstance(stage, kinds) and stage.dataset == student.dataset for stage in stages):
        return Estimates()
    own = [
        stage for stage in walk([student.targets]) if isinstance(stage, (JointTeacherStage, *kinds))
    ]
    total = Estimates()
    for stage in own:
        each = _estimate(stage)
        total += Estimates(each.rest * count, each.features * count, each.targets * count)
    return total


def _images(stage: FeaturesStage) -> int:
    return sum(stage.data.counts[split] for split in FEATURE_SPLITS)


def _seconds_to_run(arch: str, image_size: int, level: str, threads: int, device: str) -> float:
    """Return the seconds an image takes in one network."""
    with without_draws():
        model = Backbone(arch, num_classes=2, image_size=image_size).to(device).eval()
    images = torch.zeros(_PROBE_IMAGES, 3, image_size, image_size, device=device)

    def run() -> None:
        model(images, levels=(level,))
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    with torch.inference_mode(), fixed_threads(threads):
        run()  # what is set up in the first pass does not count
        begin, passes = time.perf_counter(), 0
        while not passes or time.perf_counter() - begin < _PROBE_SECONDS:
            run()
            passes += 1
        return (time.perf_counter() - begin) / (passes * _PROBE_IMAGES)


def _seconds_to_read_a_byte(place: Path) -> float:
    """Return the seconds a byte takes from the disk of a folder, and not from the file cache."""
    there = next(path for path in (place, *place.parents) if path.exists())
    with tempfile.TemporaryFile(dir=there) as file:
        file.write(np.random.default_rng(0).bytes(_PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # not everywhere
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        begin = time.perf_counter()
        while file.read(1 << 20):
            pass
        return (time.perf_counter() - begin) / _PROBE_BYTES
