"""A student is the same whatever the store holds: targets, features or neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from mlfd_tune.core.caching import CachePlan, Caching
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.core.settings import deep_merge
from mlfd_tune.core.stages import DistilledStudentStage, TrialStage
from mlfd_tune.core.stages.target_sources import TargetsInMemory, TargetsOnTheFly
from mlfd_tune.core.store import Stage, Store, walk
from mlfd_tune.core.store.stage import read_below
from tests.helpers.pipelines import CATALOGUE, files, settings

CPU = torch.device("cpu")
PLENTY, NOTHING = 10**9, 0
BASE: dict[str, Any] = {
    "student": {"train": {"epochs": 2}},
    "teachers": {"two": {"arch": "test_convnext"}},
    "unic": {"hidden": 16, "last_hidden": 16},
    "distillation": {"hint_level": "stride32"},
}
METHODS = ("mlfd", "own_teacher", "kd", "unic")
LARGE = {"datasets": {"one": {"train_size": 560}}}  # batches of 512 and 48, and of 256, 256 and 48


def student(
    method: str,
    plan: CachePlan = "targets",
    memory: int = PLENTY,
    changes: Mapping[str, Any] | None = None,
) -> TrialStage:
    made = settings(**deep_merge(BASE, changes or {}))
    caching = Caching(plan, memory_bytes=memory)
    return Pipeline(made, CATALOGUE, caching).student("one", method)


def kept_kinds(store: Store) -> Counter[str]:
    return Counter(path.parent.name for path in store.root.glob("artifacts/*/*"))


def every_key(stage: Stage) -> dict[str, str]:
    """Return the keys of a stage and of all that it is made of, stored or not."""
    found = {stage.label: stage.key}
    for below in stage.inputs.values():
        found |= every_key(below)
    return found


def targets_of(stage: DistilledStudentStage, store: Store):
    """Return what makes the targets of a student that has no artifact of them."""
    given = {name: store.get_or_compute(below) for name, below in stage.reads.items()}
    return stage.targets.maker(read_below(given, "targets"), CPU)


@pytest.fixture(scope="module")
def stored(store):
    """Return the student of each method as it learns from artifacts."""
    return {method: store.get_or_compute(student(method)) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("plan", ["features", "none"])
def test_no_key_depends_on_the_plan(method, plan):
    assert every_key(student(method, plan)) == every_key(student(method))


def test_a_plan_decides_which_stages_are_read_and_so_computed():
    def kinds(plan: CachePlan) -> Counter[str]:
        return Counter(stage.stage_name for stage in walk([student("mlfd", plan)]))

    everything = kinds("targets")
    assert everything["targets"] == 1
    assert everything["features"] == 2
    assert everything - kinds("features") == {"targets": 1}
    assert everything - kinds("none") == {"targets": 1, "features": 2}
    assert set(student("mlfd", "features").reads) == {
        "dataset",
        "targets/joint_teacher",
        "targets/dataset/one",
        "targets/features/one/one",
        "targets/features/two/one",
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("plan", ["features", "none"])
def test_from_lessons_in_memory_comes_the_same_student_bit_by_bit(tmp_path, stored, method, plan):
    store = Store(tmp_path / "store")
    artifact = store.get_or_compute(student(method, plan))
    expected = stored[method]
    assert files(artifact) == files(expected)
    assert artifact.manifest.history == expected.manifest.history
    assert artifact.manifest.inputs == expected.manifest.inputs
    kinds = kept_kinds(store)
    assert not kinds["targets"]
    assert bool(kinds["features"]) == (plan == "features" and method != "kd")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("plan", ["features", "none"])
def test_from_lessons_made_batch_by_batch_comes_the_same_student_but_for_rounding(
    tmp_path, stored, method, plan
):
    store = Store(tmp_path / "store")
    history = store.get_or_compute(student(method, plan, NOTHING)).manifest.history
    for epoch, expected in zip(history, stored[method].manifest.history, strict=True):
        assert epoch["train/loss"] == pytest.approx(expected["train/loss"], rel=5e-3)
    kinds = kept_kinds(store)
    assert not kinds["targets"]
    assert bool(kinds["features"]) == (plan == "features" and method != "kd")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_lessons_in_memory_are_the_artifacts_where_there_are_many_batches(store, tmp_path, dtype):
    made = student("mlfd", changes=LARGE)
    for features in made.targets.joint_teacher.features.values():
        features.spec = features.spec.model_copy(update={"dtype": dtype})
    artifact = store.get_or_compute(made.targets)
    uncached = student("mlfd", "none", changes=LARGE)
    for features in uncached.targets.joint_teacher.features.values():
        features.spec = features.spec.model_copy(update={"dtype": dtype})
    assert uncached.targets.key == made.targets.key
    # The joint teacher too learns from features in memory, in a store that has none.
    held = TargetsInMemory(
        targets_of(uncached, Store(tmp_path / "store")), "none", ("embedding", "stride32"), CPU
    )
    logits, by_level = held.gather(torch.arange(560))
    assert np.array_equal(logits.numpy(), np.load(artifact.path / "logits.npy"))
    for level, values in by_level.items():
        stored = np.load(artifact.path / f"{level}.npy").astype(np.float32)
        assert np.array_equal(values.numpy(), stored)


@pytest.mark.parametrize("method", ["mlfd", "fitnet"])
@pytest.mark.parametrize("plan", ["features", "none"])
@pytest.mark.parametrize("norm", ["none", "standardise", "l2"])
def test_targets_made_for_a_batch_are_the_artifacts_within_half_precision(
    store, method, plan, norm
):
    levels = ("stride32",)
    artifact = store.get_or_compute(student(method).targets)
    on_the_fly = TargetsOnTheFly(targets_of(student(method, plan), store), norm, levels, CPU)
    indices = torch.tensor([90, 3, 3, 41, 77])
    logits, features = on_the_fly.gather(indices)
    stored = np.load(artifact.path / "stride32.npy").astype(np.float64)
    expected = stored[indices.numpy()]
    if norm == "standardise":
        mean, spread = stored.mean(axis=(0, 2, 3)), stored.std(axis=(0, 2, 3))
        spread = np.where(spread > 1e-6, spread, 1)
        expected = (expected - mean[:, None, None]) / spread[:, None, None]
    elif norm == "l2":
        expected /= np.sqrt((expected**2).mean(axis=(1, 2, 3), keepdims=True)).clip(1e-6)
    np.testing.assert_allclose(features["stride32"].numpy(), expected, rtol=4e-3, atol=4e-3)
    told = np.load(artifact.path / "logits.npy")[indices.numpy()]
    np.testing.assert_allclose(logits.numpy(), told, rtol=1e-4, atol=1e-4)
    assert on_the_fly.shapes() == {"stride32": stored.shape[1:]}
    assert not logits.requires_grad
    assert not features["stride32"].requires_grad


def test_a_student_of_mixed_precision_learns_from_lessons_of_full_precision(store):
    mixed = {"student": {"train": {"precision": "bf16"}}}
    stage = student("mlfd", "none", changes=mixed)
    maker = targets_of(stage, store)
    indices = torch.arange(8)
    expected, _ = maker.gather(indices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, _ = maker.gather(indices)
    assert torch.equal(inside, expected)


def test_a_training_on_lessons_of_its_own_can_be_interrupted_and_resumed(store, tmp_path):
    stage = student("mlfd", "none", changes={"student": {"train": {"epochs": 3}}})
    given = {name: store.get_or_compute(below) for name, below in stage.reads.items()}
    first = stage.trainer(given, CPU)
    first.train_epoch()
    first.save(tmp_path)
    again = stage.trainer(given, CPU)
    assert again.resume(tmp_path)
    first.train_epoch(), again.train_epoch()
    assert first.history == again.history
