"""UNIC's student: the loss of a batch, its draws, and what is left of the ladder."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mlfd_tune.core.models import Backbone, ModelChoiceError
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.stages import FeaturesStage, UnicSpec, UnicStage, UnicStudentSpec
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Store
from tests.helpers.digit_tasks import assert_identical, train_to_the_end, weights
from tests.helpers.pipelines import draws_of_an_epoch, pipeline, tensors, trainer_of

CPU = torch.device("cpu")
TEACHERS = ("one", "two")
FIRST_LAYER = "model.conv1.0.weight"
LINEUP = {"teachers": {"two": {"arch": "test_convnext"}}}
UNIC: dict[str, Any] = {
    "teachers": TEACHERS,
    "rungs": ("embedding", "stride32", "stride16"),
    "token_types": ("embedding", "map"),
    "map_level": "stride32",
    "hidden": 16,
    "last_hidden": 24,
    "dropping": "loss_ranked",
    "labels": True,
}


def unic_stage(student: dict[str, Any] | None = None, **unic: Any) -> UnicStage:
    """Return the student of dataset `one`; `student` as in an experiment, `unic` over `UNIC`."""
    made = pipeline(**LINEUP, student=student or {})
    features = {
        (teacher, level): FeaturesStage(made.teacher(teacher), made.dataset("one"), level)
        for teacher in TEACHERS
        for level in ("embedding", "stride32")
    }
    spec = UnicStudentSpec(**dict(baseline_stage(student).spec), unic=UnicSpec(**UNIC | unic))
    return UnicStage(made.dataset("one"), spec, features)


def baseline_stage(student: dict[str, Any] | None = None):
    return pipeline(**LINEUP, student=student or {}).student("one", "none")


def batch_loss(task, indices):
    """Return the loss terms of the samples, always augmented alike."""
    return task.loss(torch.as_tensor(indices), torch.Generator().manual_seed(5))


# --- the loss -----------------------------------------------------------------------------------


def unic_loss(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return half the cosine distance and half the smooth L1 distance of tokens (N, L, D)."""
    dot = (predicted * target).sum(axis=2)
    norms = np.sqrt((predicted**2).sum(axis=2) * (target**2).sum(axis=2))
    gap = np.abs(predicted - target)
    smooth = np.where(gap < 1, 0.5 * gap**2, gap - 0.5).mean(axis=2)
    return (0.5 * (1 - dot / norms) + 0.5 * smooth).mean(axis=1)


def cosine(progress: float, end: float) -> float:
    return end + (1 - end) * (1 + np.cos(np.pi * progress)) / 2


class MovingStatistics:
    """Mean and spread of each channel, as moving averages over batches (N, L, D)."""

    def __init__(self) -> None:
        self.mean = self.std = 0.0

    def update(self, values: np.ndarray, momentum: float) -> None:
        self.mean = (1 - momentum) * self.mean + momentum * values.mean(axis=(0, 1))
        self.std = (1 - momentum) * self.std + momentum * values.std(axis=(0, 1))

    def standardised(self, values: np.ndarray, momentum: float) -> np.ndarray:
        self.update(values, momentum)
        return (values - self.mean) / np.where(self.std > 1e-5, self.std, 1)


def features_of(stage: UnicStage, store: Store, teacher: str, token_type: str) -> np.ndarray:
    """Return what a teacher sees in every training image, as tokens (N, L, C)."""
    level = {"embedding": "embedding", "map": "stride32"}[token_type]
    artifact = store.get_or_compute(stage.inputs[f"features/{teacher}/{level}"])
    values = np.load(artifact.path / "train.npy").astype(np.float64)
    return values.reshape(*values.shape[:2], -1).transpose(0, 2, 1)


def kept(losses: np.ndarray, policy: str, rate: float, draws: np.ndarray) -> np.ndarray:
    """Return which teacher (N, T) each image learns from."""
    if policy == "none":
        return np.ones_like(losses, dtype=bool)
    certain = (losses if policy == "loss_ranked" else draws).argmax(axis=1)
    return (draws >= rate) | (np.arange(losses.shape[1]) == certain[:, None])


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    log_sum = np.log(np.exp(logits).sum(axis=1))
    return float((log_sum - logits[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize(
    "chosen",
    [
        {"drop_rate": 0.5},
        {"dropping": "uniform", "drop_rate": 0.7, "weight": 0.3, "ce_weight": 0.4},
        {"dropping": "none", "token_types": ("embedding",), "labels": False},
        {"token_types": ("map",), "rungs": ("stride16", "stride8"), "momentum_end": 0.2},
    ],
    ids=lambda chosen: ", ".join(chosen),
)
def test_the_loss_is_unics_of_the_standardised_features(store, chosen):
    stage = unic_stage(**chosen)
    trainer, spec = trainer_of(stage, store), stage.spec.unic
    task, train = trainer.task, stage.spec.train
    task.model.train()
    draws = RandomStreams(stage.spec.seed, "student", "one").torch("teacher_dropping/1")
    statistics = {key: MovingStatistics() for key in product(TEACHERS, spec.token_types)}
    for number, indices in enumerate(([5, 1, 40, 7, 8, 60], [2, 9, 33, 0, 71, 3])):
        terms = batch_loss(task, indices)
        images, labels = task.training.augmented(
            torch.as_tensor(indices), train.augment, torch.Generator().manual_seed(5)
        )
        with torch.no_grad():
            logits, given = task.student(images, levels=spec.rungs)
            predicted = task.ladder(given)
        momentum = cosine(number / (task.size // train.batch_size - 1), spec.momentum_end)
        each = {}
        for teacher, token_type in statistics:
            target = features_of(stage, store, teacher, token_type)[indices]
            own = predicted[teacher][token_type].double().numpy()
            standardised = statistics[teacher, token_type].standardised(target, momentum)
            each[teacher, token_type] = unic_loss(own.reshape(target.shape), standardised)
        by_teacher = [[each[name, kind] for kind in spec.token_types] for name in TEACHERS]
        losses = np.mean(by_teacher, axis=1).T
        chances = torch.rand(losses.shape, generator=draws).numpy()
        keeps = kept(losses, spec.dropping, spec.drop_rate, chances)
        ce = cross_entropy(logits.double().numpy(), labels.numpy())
        expected = {
            "loss": spec.weight * losses[keeps].mean() + spec.ce_weight * ce,
            "loss_ce": ce,
            "loss_unic": losses[keeps].mean(),
        }
        for column, teacher in enumerate(TEACHERS):
            expected[f"loss_teacher/{teacher}"] = losses[:, column].mean()
            expected[f"kept_teacher/{teacher}"] = keeps[:, column].mean()
        parts = {name: float(value) for name, value in terms.parts.items()}
        assert parts == pytest.approx(expected, rel=1e-4)
        assert terms.total.item() == pytest.approx(expected["loss"], rel=1e-4)


def test_the_teacher_with_the_largest_loss_is_always_kept(store):
    task = trainer_of(unic_stage(drop_rate=1.0), store).task
    task.model.train()
    batch_loss(task, range(64))  # which brings both teachers to one scale
    task.model.eval()
    chosen = set()
    for index in range(24):
        parts = batch_loss(task, [index]).parts
        by_loss = sorted(TEACHERS, key=lambda name: float(parts[f"loss_teacher/{name}"]))
        assert [float(parts[f"kept_teacher/{name}"]) for name in by_loss] == [0.0, 1.0]
        assert float(parts["loss_unic"]) == float(parts[f"loss_teacher/{by_loss[1]}"])
        chosen.add(by_loss[1])
    assert chosen == set(TEACHERS), "neither teacher is the harder one for every image"


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_statistics_are_moving_averages_whose_momentum_ends_with_the_training(
    store, accumulate
):
    train = {"epochs": 2, "batch_size": 16, "accumulate": accumulate, "lr": 1e-3}
    stage = unic_stage({"train": train})
    trainer = train_to_the_end(trainer_of(stage, store))
    seen = features_of(stage, store, "two", "map")
    in_epoch = 96 // (16 * accumulate) * accumulate
    expected, number = MovingStatistics(), 0
    for epoch in (1, 2):
        order = torch.randperm(96, generator=trainer.streams.torch(f"order/{epoch}")).numpy()
        for batch in order[: 16 * in_epoch].reshape(in_epoch, 16):
            momentum = cosine(number / (2 * in_epoch - 1), 0.001)
            expected.update(seen[batch], momentum)
            number += 1
    assert momentum == pytest.approx(0.001)
    statistics = trainer.task.standardisers["two", "map"]
    np.testing.assert_allclose(statistics.mean.numpy(), expected.mean, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(statistics.std.numpy(), expected.std, rtol=1e-3, atol=1e-5)


def test_judging_a_student_moves_no_statistic(store):
    task = trainer_of(unic_stage(), store).task
    task.model.train()
    batch_loss(task, range(8))
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    task.model.eval()
    batch_loss(task, range(8, 16))
    task.evaluate()
    assert_identical(task.model.state_dict(), before)


def test_every_term_is_logged(store):
    manifest = store.get_or_compute(unic_stage()).manifest
    assert {name for name in manifest.metrics if name.startswith("train/")} == {
        "train/loss",
        "train/loss_ce",
        "train/loss_unic",
        *(f"train/loss_teacher/{teacher}" for teacher in TEACHERS),
        *(f"train/kept_teacher/{teacher}" for teacher in TEACHERS),
        "train/lr",
    }
    assert {"val/acc1", "val/acc5", "val/loss"} <= manifest.metrics.keys()
    assert sum(manifest.metrics[f"train/kept_teacher/{teacher}"] for teacher in TEACHERS) > 1


def test_the_teachers_are_predicted_better_with_time(store):
    student = {"train": {"epochs": 5, "batch_size": 16, "schedule": "constant"}}
    history = store.get_or_compute(unic_stage(student, labels=False)).manifest.history
    for teacher in TEACHERS:
        first, last = (history[epoch][f"train/loss_teacher/{teacher}"] for epoch in (0, -1))
        assert last < 0.9 * first


# --- labels -------------------------------------------------------------------------------------


def gradients(task, indices=range(8)) -> dict[str, torch.Tensor | None]:
    """Return the gradient of one batch's loss for every weight of the student."""
    task.model.train()
    task.model.zero_grad()
    batch_loss(task, indices).total.backward()
    return {name: parameter.grad for name, parameter in task.student.named_parameters()}


@pytest.mark.parametrize(
    ("arch", "classifier"),
    [
        ("test_resnet", {"model.fc"}),
        ("test_vit", {"model.head"}),
        ("test_mambaout", {"model.head.fc"}),
        ("deit_tiny_distilled_patch16_224", {"model.head", "model.head_dist"}),
    ],
)
def test_without_labels_the_cross_entropy_trains_the_classifier_alone(store, arch, classifier):
    chosen = {"rungs": ("embedding",), "token_types": ("embedding",), "weight": 0.0}
    student = {"arch": arch}
    task = trainer_of(unic_stage(student, labels=False, **chosen), store).task
    reached = {name for name, gradient in gradients(task).items() if gradient is not None}
    assert reached == {f"{name}.{kind}" for name in classifier for kind in ("weight", "bias")}
    with_labels = gradients(trainer_of(unic_stage(student, **chosen), store).task)
    for name in reached:
        assert torch.equal(task.student.get_parameter(name).grad, with_labels[name]), name


def test_without_labels_the_features_learn_the_same_whatever_the_cross_entropy_weighs(store):
    plain, heavy, none = (
        gradients(trainer_of(unic_stage(labels=False, ce_weight=weight), store).task)
        for weight in (1.0, 50.0, 0.0)
    )
    for name, gradient in plain.items():
        if name.startswith("model.fc"):
            assert none[name] is None
            torch.testing.assert_close(heavy[name], 50 * gradient)
        else:
            assert torch.equal(heavy[name], gradient), name
            assert torch.equal(none[name], gradient), name
    assert plain[FIRST_LAYER].any()


def test_with_labels_the_cross_entropy_reaches_the_features(store):
    one, other = (
        gradients(trainer_of(unic_stage(labels=labels), store).task) for labels in (True, False)
    )
    assert not torch.equal(one[FIRST_LAYER], other[FIRST_LAYER])


def test_without_labels_the_student_makes_one_pass_a_batch_and_keeps_no_mark_of_it(store):
    trainer = trainer_of(unic_stage(labels=False), store)
    trainer.train_epoch()
    student = trainer.task.student
    student.zero_grad()
    counts = {int(v) for name, v in student.state_dict().items() if "num_batches" in name}
    assert counts == {3}
    logits, _ = student(torch.rand(4, 3, 32, 32))
    logits.sum().backward()
    assert student.get_parameter(FIRST_LAYER).grad.any()


def test_without_the_distillation_term_a_student_is_its_baseline_to_the_bit(store):
    train = {"augment": "light", "drop_rate": 0.2, "label_smoothing": 0.1}
    student = store.get_or_compute(unic_stage({"train": train}, weight=0.0))
    baseline = store.get_or_compute(baseline_stage({"train": train}))
    assert_identical(tensors(student), tensors(baseline))
    for name in ("val/acc1", "train/loss", "train/loss_ce"):
        assert student.manifest.metrics[name] == baseline.manifest.metrics[name]
    assert np.isfinite(student.manifest.metrics["train/loss_unic"])


# --- what is kept -------------------------------------------------------------------------------


class Operations(TorchDispatchMode):
    """Notes every operation and the shapes it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[tuple[int, ...]]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        shapes = [tuple(value.shape) for value in args if isinstance(value, torch.Tensor)]
        self.seen.append((str(func), shapes))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("labels", [True, False])
def test_the_ladder_leaves_no_trace_in_what_is_kept(store, labels):
    artifact = store.get_or_compute(unic_stage(labels=labels))
    student = load_backbone(artifact.path, CPU)
    plain = Backbone("test_resnet", 10, 32).eval()
    shapes = {name: value.shape for name, value in plain.state_dict().items()}
    assert {name: value.shape for name, value in tensors(artifact).items()} == shapes
    images, counted = torch.rand(2, 3, 32, 32), []
    for model in (student, plain):
        with torch.no_grad(), FlopCounterMode(display=False) as flops, Operations() as operations:
            model(images)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        counted.append((parameters, flops.get_total_flops(), operations.seen))
    assert counted[0] == counted[1]
    assert counted[0][1] > 0


def test_the_ladder_is_trained_beside_the_student(store):
    trainer = trainer_of(unic_stage(), store)
    before = {name: p.detach().clone() for name, p in trainer.task.ladder.named_parameters()}
    trainer.train_epoch()
    for name, parameter in trainer.task.ladder.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_an_artifact_is_as_large_as_estimated(store):
    stage = unic_stage()
    size = store.get_or_compute(stage).manifest.bytes
    assert 0.8 * stage.estimate_bytes() - 8192 <= size <= stage.estimate_bytes()


# --- resuming and pairing -----------------------------------------------------------------------

EVERYTHING = {
    "optimizer": "sgd",
    "ema_decay": 0.9,
    "accumulate": 2,
    "batch_size": 16,
    "clip_grad": 0.5,
    "augment": "light",
    "drop_rate": 0.2,
    "precision": "bf16",
}


@pytest.mark.parametrize(
    ("train", "labels"), [({}, True), (EVERYTHING, False)], ids=["plain", "everything at once"]
)
def test_a_resumed_training_equals_an_uninterrupted_one_bit_by_bit(store, tmp_path, train, labels):
    stage = unic_stage({"train": {"epochs": 3, **train}}, labels=labels)
    whole = train_to_the_end(trainer_of(stage, store))
    first = trainer_of(stage, store)
    first.train_epoch()
    first.save(tmp_path)
    train_to_the_end(first)  # what was lost, and must leave no trace

    second = trainer_of(stage, store)
    torch.manual_seed(99)
    assert second.resume(tmp_path)
    train_to_the_end(second)
    assert second.history == whole.history == first.history
    assert_identical(weights(second), weights(whole))
    with whole.final_weights(), second.final_weights():
        assert_identical(weights(second), weights(whole))


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"labels": False},
        {"dropping": "uniform", "drop_rate": 0.9},
        {"rungs": ("stride32",), "hidden": 8, "token_types": ("map",)},
    ],
    ids=str,
)
def test_the_student_starts_as_the_baseline_and_sees_the_same_images(store, monkeypatch, chosen):
    student = {"train": {"augment": "light", "drop_rate": 0.2}}
    trainer = trainer_of(unic_stage(student, **chosen), store)
    baseline = trainer_of(baseline_stage(student), store)
    assert_identical(trainer.task.student.state_dict(), baseline.task.student.state_dict())
    draws = draws_of_an_epoch(trainer, monkeypatch)
    assert draws == draws_of_an_epoch(baseline, monkeypatch)
    assert len(draws) == 3


def test_the_drops_of_an_epoch_depend_on_its_number_alone(store):
    task = trainer_of(unic_stage(dropping="uniform"), store).task
    task.model.eval()

    def shares(epoch):
        task.begin_epoch(epoch, 5)
        return [float(batch_loss(task, range(32)).parts["kept_teacher/one"]) for _ in range(4)]

    first, second, again = shares(1), shares(2), shares(1)
    assert first == again
    assert first != second
    assert len(set(first)) > 1


# --- what is refused ----------------------------------------------------------------------------


def test_the_stage_reads_the_features_it_predicts_and_nothing_more():
    assert set(unic_stage(token_types=("map",)).inputs) == {
        "dataset",
        "features/one/stride32",
        "features/two/stride32",
    }


def test_the_order_in_which_teachers_and_token_types_are_named_does_not_matter():
    turned = unic_stage(teachers=("two", "one"), token_types=("map", "embedding"))
    assert turned.key == unic_stage().key
    assert unic_stage(token_types=("map",)).key != turned.key


def test_a_student_or_a_teacher_without_a_level_is_refused():
    lacking = "'levit_128s' has no level 'stride8' at 32 px"
    with pytest.raises(ModelChoiceError, match=lacking):
        unic_stage({"arch": "levit_128s"}, rungs=("stride8",))
    made = pipeline(teacher={"arch": "levit_128s"})
    features = {
        ("one", "stride8"): FeaturesStage(made.teacher("one"), made.dataset("one"), "stride8")
    }
    chosen = {"teachers": ("one",), "token_types": ("map",), "map_level": "stride8"}
    spec = UnicStudentSpec(**dict(baseline_stage().spec), unic=UnicSpec(**UNIC | chosen))
    with pytest.raises(ModelChoiceError, match=lacking):
        UnicStage(made.dataset("one"), spec, features)


def test_a_ladder_without_maps_for_teachers_maps_is_refused():
    with pytest.raises(ModelChoiceError, match="cannot predict maps"):
        unic_stage(rungs=("embedding",))


@pytest.mark.parametrize("chosen", [{"teachers": ("one", "three")}, {"teachers": ()}])
def test_teachers_without_features_are_refused(chosen):
    with pytest.raises(ValueError, match=r"UNIC: features of .* missing"):
        unic_stage(**chosen)
