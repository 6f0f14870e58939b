"""The view of a student's teachers: clean images, or the very images that the student sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.cache_plan import uses_of
from mlfd_tune.core.caching import CachePlan, Caching
from mlfd_tune.core.data import AugmentSpec, augment
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.core.settings import deep_merge
from mlfd_tune.core.stages import DistilledStudentStage, TrialStage
from mlfd_tune.core.stages.joint_teacher import load_joint_teacher
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Store, walk
from tests.helpers.digit_tasks import assert_identical
from tests.helpers.pipelines import (
    CATALOGUE,
    draws_of_an_epoch,
    files,
    pipeline,
    settings,
    tensors,
    trainer_of,
)

CPU = torch.device("cpu")
INDICES = torch.tensor([4, 9, 1, 33, 90])
PLENTY, NOTHING = 10**9, 0
LIGHT: dict[str, Any] = {
    "student": {"train": {"augment": "light", "drop_rate": 0.2}},
    "teachers": {"two": {"arch": "test_convnext", "train": {"drop_rate": 0.3}}},
    "distillation": {"hint_level": "stride32"},
}
DISTILLED = ("mlfd", "own_teacher", "kd", "fitnet", "self_distillation")
# Of the pipeline of the tests' helpers, as they were before teachers had a view.
EARLIER_KEYS = {
    "mlfd": "ce15857c2e3d0bfc976e20c7550800a00e0724bd5a2a2a8f39a17e8ab9b9c990",
    "own_teacher": "da2b28f881e0f08591ba4232eae01c7cd40403d70a02d0c572eecc23dae47e89",
    "kd": "61197845c949ceba427788cccbc7b2b2352c232f8e0854d534e07c9a20c1c36b",
    "fitnet": "2a285382fcff71811d0dec59f2e98b52d69ce8897c2219d87edfd92e0a8ba210",
    "self_distillation": "e12003e0668077849a0dab03cae6440f70cf2ce85fcfddd6e03022820cc1c483",
    "unic": "5447c371494fb4ddfc72a465054d50fda33bd52ca3ac034e6cb5daf762b222ac",
    "multi_head": "06f3f65f3f84c6ebce9c89cec80c273eb4ad339c1fc021516de02bc684243798",
    "none": "9c220b23b87a9b9a6517955504b19537a80500787a287f0f53f395b3d8d1255f",
    "joint_teacher": "60f95cafac777363b5c4dc7c5a722afdf3b726da02eb3f7dfb0b120177e6eecd",
}


def student(
    method: str = "mlfd",
    view: str = "augmented",
    plan: CachePlan = "targets",
    memory: int = PLENTY,
    changes: Mapping[str, Any] | None = None,
) -> TrialStage:
    changed = deep_merge(deep_merge(LIGHT, {"distillation": {"teacher_view": view}}), changes or {})
    caching = Caching(plan, memory_bytes=memory)
    return Pipeline(settings(**changed), CATALOGUE, caching).student("one", method)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def step(task) -> tuple[Tensor, Tensor, tuple[Tensor, dict[str, Tensor]]]:
    """Return what the student and its teachers were shown in one step, and what these said."""
    shown, told = [], []
    hook = task.student.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    taught = task.targets.taught

    def watched(indices, images):
        told.append((images.clone(), taught(indices, images)))
        return told[-1][1]

    task.targets.taught = watched
    try:
        task.loss(INDICES, draws())
    finally:
        hook.remove()
        del task.targets.taught
    return shown[0], told[0][0], told[0][1]


def plain_joint_teacher(stage: DistilledStudentStage, store: Store, images: Tensor):
    """Return what the joint teacher says of images in 0-1: float64 logits and targets by level."""
    joint = stage.targets.joint_teacher
    features = {}
    for name in joint.teachers:
        extraction = joint.features[name, "one"]
        path = store.get_or_compute(extraction.teacher).path
        about, level = load_description(path), extraction.spec.level
        mean, std = (torch.tensor(about[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
        with torch.no_grad():
            _, seen = load_backbone(path, CPU)((images - mean) / std, levels=(level,))
        features[name] = seen[level].half().float()  # as the joint teacher knows them
    model = load_joint_teacher(store.get_or_compute(joint).path, CPU)
    with torch.no_grad():
        fused = model(features)
        return model.logits(fused["embedding"], "one").numpy(), {
            level: values.half().double().numpy() for level, values in fused.items()
        }


def standardised(values: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Return values in standard deviations from the mean of each channel of stored targets."""
    axes = tuple(axis for axis in range(stored.ndim) if axis != 1)
    stored = stored.astype(np.float64)
    mean, spread = stored.mean(axis=axes), stored.std(axis=axes)
    spread = np.where(spread > 1e-6, spread, 1)
    shape = (1, -1) + (1,) * (stored.ndim - 2)
    return (values - mean.reshape(shape)) / spread.reshape(shape)


@pytest.mark.parametrize("method", EARLIER_KEYS)
def test_with_clean_views_every_key_is_what_it_was(method):
    for made in (pipeline(), pipeline(distillation={"teacher_view": "clean"})):
        assert made.student("one", method).key == EARLIER_KEYS[method]


@pytest.mark.parametrize("method", METHODS)
def test_the_view_changes_a_distilled_student_and_nothing_else(method):
    clean, augmented = student(method, "clean"), student(method)
    assert (clean.key != augmented.key) == (method in DISTILLED)
    if method in DISTILLED:
        assert clean.targets.key == augmented.targets.key


@pytest.mark.parametrize("norm", ["standardise", "none"])
def test_targets_are_what_the_joint_teacher_says_of_the_very_images_the_student_sees(store, norm):
    changes = {"joint_teacher": {"levels": "L3"}, "distillation": {"target_norm": norm}}
    stage = student(changes=changes)
    task = trainer_of(stage, store).task
    task.model.train()
    seen_by_student, images, (logits, features) = step(task)

    raw = task.training.images.take(INDICES)
    assert torch.equal(images, augment(raw, AugmentSpec.model_validate("light"), draws()))
    mean, std = (np.reshape(v, (1, 3, 1, 1)) for v in (task.training.mean, task.training.std))
    np.testing.assert_allclose(seen_by_student, (images.numpy() - mean) / std, atol=1e-5)
    expected_logits, expected = plain_joint_teacher(stage, store, images)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-5, atol=1e-5)
    assert features.keys() == expected.keys() == {"embedding", "stride32", "stride16"}
    clean = store.get_or_compute(stage.targets).path
    for level, values in expected.items():
        if norm == "standardise":
            values = standardised(values, np.load(clean / f"{level}.npy"))
        np.testing.assert_allclose(features[level], values, rtol=2e-3, atol=2e-3)
        assert not features[level].requires_grad
    assert not logits.requires_grad


@pytest.mark.parametrize("method", ["kd", "fitnet", "self_distillation"])
def test_one_teacher_too_says_its_targets_of_the_images_the_student_sees(store, method):
    stage = student(method, changes={"distillation": {"target_norm": "none"}})
    _, images, (logits, features) = step(trainer_of(stage, store).task)
    path = store.get_or_compute(stage.targets.teacher).path
    about = load_description(path)
    mean, std = (torch.tensor(about[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    levels = stage.targets.spec.levels
    with torch.no_grad():
        expected_logits, expected = load_backbone(path, CPU)((images - mean) / std, levels=levels)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-5, atol=1e-5)
    assert set(features) == set(levels)
    for level in levels:
        np.testing.assert_allclose(features[level], expected[level], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["mlfd", "fitnet"])
def test_without_augmentation_both_views_give_the_same_targets_within_half_precision(store, method):
    plain = {"student": {"train": {"augment": "none"}}}
    *_, (logits, features) = step(trainer_of(student(method, changes=plain), store).task)
    clean = trainer_of(student(method, "clean", changes=plain), store).task
    expected_logits, expected = clean.targets.gather(INDICES)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-3, atol=1e-3)
    for level, values in expected.items():
        np.testing.assert_allclose(features[level], values, rtol=4e-3, atol=4e-3)


@pytest.mark.parametrize("method", ["mlfd", "fitnet"])
def test_with_augmentation_the_targets_of_the_views_differ(store, method):
    *_, (logits, features) = step(trainer_of(student(method), store).task)
    clean_logits, clean = trainer_of(student(method, "clean"), store).task.targets.gather(INDICES)
    assert (logits - clean_logits).abs().max() > 0.01
    for level, values in clean.items():
        assert (features[level] - values).abs().mean() > 0.01


def test_students_of_both_views_start_alike_and_see_the_same_images(store, monkeypatch):
    clean, augmented = (trainer_of(student("mlfd", v), store) for v in ("clean", "augmented"))
    assert_identical(clean.task.student.state_dict(), augmented.task.student.state_dict())
    assert torch.equal(step(clean.task)[0], step(augmented.task)[0])
    one, other = (draws_of_an_epoch(trainer, monkeypatch) for trainer in (clean, augmented))
    assert one == other


def test_the_student_differs_and_is_validated_on_the_same_clean_images(store):
    clean, augmented = (store.get_or_compute(student("mlfd", v)) for v in ("clean", "augmented"))
    assert clean.manifest.metrics.keys() == augmented.manifest.metrics.keys()
    mine, other = tensors(clean), tensors(augmented)
    assert any(not torch.equal(mine[name], other[name]) for name in mine)
    tasks = [trainer_of(student("mlfd", v), store).task for v in ("clean", "augmented")]
    for task in tasks:
        task.model.eval()
    assert tasks[0].evaluate() == tasks[1].evaluate()


@pytest.mark.parametrize("method", ["mlfd", "kd", "fitnet"])
@pytest.mark.parametrize("plan", ["features", "none"])
def test_the_student_is_the_same_bit_by_bit_whatever_is_stored(store, tmp_path, method, plan):
    expected = store.get_or_compute(student(method))
    own = Store(tmp_path / "store")
    artifact = own.get_or_compute(student(method, plan=plan))
    assert files(artifact) == files(expected)
    assert artifact.manifest.history == expected.manifest.history
    assert not list(own.root.glob("artifacts/targets/*"))


@pytest.mark.parametrize("method", ["mlfd", "kd", "fitnet"])
@pytest.mark.parametrize("memory", [PLENTY, NOTHING])
def test_the_student_is_the_same_bit_by_bit_whatever_memory_there_is(store, method, memory):
    expected = store.get_or_compute(student(method))
    stage = student(method, plan="none", memory=memory)
    given = {name: store.get_or_compute(below) for name, below in stage.reads.items()}
    trainer = stage.trainer(given, CPU)
    trainer.train_epoch()
    assert_identical(trainer.task.student.state_dict(), tensors(expected))


@pytest.mark.parametrize("plan", ["targets", "features", "none"])
def test_the_networks_are_read_whatever_is_stored(plan):
    networks = {"view/joint_teacher", "view/teacher/one", "view/teacher/two"}
    assert networks <= student(plan=plan).reads.keys()
    assert {"view/teacher"} == {n for n in student("kd", plan=plan).reads if n.startswith("view/")}
    assert not any(name.startswith("view/") for name in student("mlfd", "clean", plan).reads)


def test_a_training_can_be_interrupted_and_resumed(store, tmp_path):
    stage = student(changes={"student": {"train": {"epochs": 3}}})
    through, stopped = trainer_of(stage, store), trainer_of(stage, store)
    stopped.train_epoch()
    stopped.save(tmp_path)
    resumed = trainer_of(stage, store)
    assert resumed.resume(tmp_path)
    for trainer, epochs in ((through, 3), (resumed, 2)):
        for _ in range(epochs):
            trainer.train_epoch()
    assert through.history == resumed.history
    assert_identical(through.task.model.state_dict(), resumed.task.model.state_dict())


def test_teachers_stay_as_they_are_while_the_student_trains(store):
    trainer = trainer_of(student(), store)
    images = torch.rand(8, 3, 32, 32, generator=draws())
    before = trainer.task.targets.taught(torch.arange(8), images)
    state = torch.random.get_rng_state()
    again = trainer.task.targets.taught(torch.arange(8), images)
    assert torch.equal(torch.random.get_rng_state(), state), "no dropout draws"
    trainer.train_epoch()
    after = trainer.task.targets.taught(torch.arange(8), images)
    for logits, features in (again, after):
        assert torch.equal(logits, before[0])
        assert_identical(features, before[1])
    networks = {name for name, _ in trainer.task.model.named_children()}
    assert networks == {"student", "adaptors"}


def test_a_step_of_mixed_precision_leaves_the_teachers_in_theirs(store):
    targets = trainer_of(student(), store).task.targets
    images = torch.rand(8, 3, 32, 32, generator=draws())
    logits, features = targets.taught(torch.arange(8), images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, inside_features = targets.taught(torch.arange(8), images)
    assert torch.equal(inside, logits)
    assert_identical(inside_features, features)


@pytest.mark.parametrize("size", [16, 48])
def test_a_teacher_of_another_size_sees_the_students_images_brought_to_it(store, size):
    sizes = {"teachers": {"one": {"image_size": size, "arch": "test_vit"}}}
    stage = student("kd", changes=sizes)
    _, images, (logits, _) = step(trainer_of(stage, store).task)
    assert images.shape[-1] == 32
    path = store.get_or_compute(stage.targets.teacher).path
    about = load_description(path)
    mean, std = (torch.tensor(about[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    brought = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected, _ = load_backbone(path, CPU)((brought - mean) / std)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_a_plan_counts_one_pass_over_the_clean_images_for_the_norm(tmp_path):
    changes = {"student": {"train": {"epochs": 5}}}
    for view, passes in (("clean", 5), ("augmented", 1)):
        made = student("mlfd", view, changes=changes)
        stages = [stage for stage in walk(made.inputs.values()) if stage.stage_name == "targets"]
        uses = uses_of(stages, {made: 1}, Store(tmp_path), lambda needed: False)
        assert uses.run == passes * 2 * made.data.counts["train"]
