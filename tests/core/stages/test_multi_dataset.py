from __future__ import annotations

import copy
from collections import Counter
from itertools import count

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from mlfd_tune.core.data import DatasetSpec, PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.stages import BaselineStage, DatasetStage, EvaluationStage, StudentSpec
from mlfd_tune.core.stages.images import ImageBatches
from mlfd_tune.core.stages.multi_dataset import MultiDatasetSpec, MultiDatasetStage
from mlfd_tune.core.store import Store, walk
from mlfd_tune.core.training import TrainSpec
from tests.helpers.digit_tasks import CPU, assert_identical, train_to_the_end, weights
from tests.helpers.pipelines import tensors, trainer_of

# The target, "one", stands between the others by name; one of them is short, one long.
DATASETS = {
    "letters": DatasetSpec(source="letters", train_size=52),
    "one": DatasetSpec(source="digits", train_size=96),
    "two": DatasetSpec(source="digits", train_size=200, split_seed=1),
}
CLASSES = {"letters": 26, "one": 10, "two": 10}
SIZES = {"letters": 52, "one": 96, "two": 200}
KINDS = ("multi_head", "joint_head")
LINEUPS = [("letters",), ("two",), ("letters", "two")]


def data(name: str, image_size: int = 32) -> DatasetStage:
    return DatasetStage(name, DATASETS[name], image_size)


def train_spec(**train: object) -> TrainSpec:
    return TrainSpec(**{"epochs": 2, "batch_size": 32, "lr": 3e-3, "augment": "light", **train})


def stage_of(
    kind: str,
    others: tuple[str, ...] = ("letters", "two"),
    *,
    target: str = "one",
    arch: str = "test_resnet",
    seed: int = 0,
    sampling: str = "proportional",
    temperature: float | None = None,
    **train: object,
) -> MultiDatasetStage:
    spec = MultiDatasetSpec(
        dataset=target,
        arch=arch,
        train=train_spec(**train),
        seed=seed,
        others=others,
        kind=kind,
        sampling=sampling if kind == "joint_head" else None,
        sampling_temperature=temperature,
    )
    return MultiDatasetStage(data(target), spec, {name: data(name) for name in others})


def baseline_of(arch: str = "test_resnet", seed: int = 0, **train: object) -> BaselineStage:
    spec = StudentSpec(dataset="one", arch=arch, train=train_spec(**train), seed=seed)
    return BaselineStage(data("one"), spec)


def packed(store: Store, name: str) -> PackedDataset:
    return PackedDataset(store.get_or_compute(data(name)).path)


def expected_batch(
    store: Store, name: str, *, epoch: int, step: int, per_epoch: int, size: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what comes of dataset `name` beside "one": its passes written out one by one."""
    streams = RandomStreams(seed, "student", "one")
    images = ImageBatches(packed(store, name), "train", CPU)
    everything: list[int] = []
    position = (epoch - 1) * per_epoch * size
    for number in count(1):
        order = torch.randperm(len(images), generator=streams.torch(f"order/{name}/{number}"))
        everything += order.tolist()
        if len(everything) >= position + (step + 1) * size:
            break
    augment = streams.torch(f"augment/{name}/{epoch}")
    for batch in range(step + 1):
        first = position + batch * size
        indices = torch.tensor(everything[first : first + size])
        taken = images.augmented(indices, train_spec().augment, augment)
    return taken


def in_double(task) -> None:
    """Let a task learn in double precision, from the same images."""
    task.model.double()
    task.student.register_forward_pre_hook(lambda _, args: (args[0].double(), *args[1:]))


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in module.named_parameters()
    }


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-7, atol=1e-10, msg=name)


def target_batch(store: Store) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return 32 samples of the target, and their images and labels as the task is to see them."""
    indices = torch.arange(40, 72)
    images = ImageBatches(packed(store, "one"), "train", CPU)
    generator = torch.Generator().manual_seed(7)
    return indices, *images.augmented(indices, train_spec().augment, generator)


# What is learned


@pytest.mark.parametrize("others", LINEUPS, ids="+".join)
@pytest.mark.parametrize("arch", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_a_multi_head_step_adds_up_every_datasets_gradients_with_equal_weights(store, arch, others):
    task = trainer_of(stage_of("multi_head", others, arch=arch, label_smoothing=0.1), store).task
    in_double(task)
    net, heads = copy.deepcopy(task.student), copy.deepcopy(task.heads)
    indices, own_images, own_labels = target_batch(store)
    task.model.train()
    task.begin_epoch(2, 2)
    task.loss(indices, torch.Generator())
    terms = task.loss(indices, torch.Generator().manual_seed(7))
    terms.total.backward()

    losses = {}
    for name in (*others, "one"):
        net.train()
        if name == "one":
            logits, labels = net(own_images)[0], own_labels
        else:
            images, labels = expected_batch(store, name, epoch=2, step=1, per_epoch=3, size=32)
            embedding = net(images, levels=("embedding",))[1]["embedding"]
            logits = F.linear(embedding, heads[name].weight, heads[name].bias)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        (loss / (1 + len(others))).backward()
        losses[f"loss_dataset/{name}"] = float(loss.detach())

    assert_close(gradients(task.student), gradients(net))
    for name in others:
        assert_close(gradients(task.heads[name]), gradients(heads[name]))
    mean = sum(losses.values()) / len(losses)
    own = losses["loss_dataset/one"]
    parts = {name: float(value) for name, value in terms.parts.items()}
    assert parts == pytest.approx({"loss": mean, "loss_ce": own, **losses}, rel=1e-6)


def union_classifier(task, names: list[str]) -> Backbone:
    """Return the student with one linear layer over all classes in the place of its own."""
    net = copy.deepcopy(task.student)
    layer = net.model.get_classifier()
    every = {"one": layer, **task.heads}
    layer.weight, layer.bias = (
        nn.Parameter(torch.cat([getattr(every[name], part).detach() for name in names]))
        for part in ("weight", "bias")
    )
    return net


@pytest.mark.parametrize("others", LINEUPS, ids="+".join)
@pytest.mark.parametrize("arch", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit"])
def test_a_joint_head_step_is_that_of_one_classifier_on_a_mixed_batch(store, arch, others):
    changes = {"arch": arch, "label_smoothing": 0.1, "drop_rate": 0.3}
    task = trainer_of(stage_of("joint_head", others, **changes), store).task
    in_double(task)
    names = sorted((*others, "one"))
    net = union_classifier(task, names)
    indices, own_images, own_labels = target_batch(store)
    task.model.train()
    task.begin_epoch(2, 2)
    task.loss(indices, torch.Generator())
    torch.manual_seed(11)
    terms = task.loss(indices, torch.Generator().manual_seed(7))
    terms.total.backward()

    batches, first_class = {}, {}
    for name in names:
        first_class[name] = sum(CLASSES[before] for before in names if before < name)
        if name != "one":
            size = round(32 * SIZES[name] / 96)
            batches[name] = expected_batch(store, name, epoch=2, step=1, per_epoch=3, size=size)
    batches["one"] = own_images, own_labels
    labels = torch.cat([own + first_class[name] for name, (_, own) in batches.items()])
    torch.manual_seed(11)
    net.train()
    logits, _ = net(torch.cat([images for images, _ in batches.values()]))
    assert logits.shape == (len(labels), sum(CLASSES[name] for name in names))
    loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()

    expected = gradients(net)
    (weight, bias) = (
        name for name in expected if expected[name].shape[0] == sum(CLASSES[n] for n in names)
    )
    for name in names:
        rows = slice(first_class[name], first_class[name] + CLASSES[name])
        head = task.student.model.get_classifier() if name == "one" else task.heads[name]
        assert_close(
            gradients(head), {"weight": expected[weight][rows], "bias": expected[bias][rows]}
        )
    body = {name: value for name, value in expected.items() if name not in (weight, bias)}
    assert_close({name: gradients(task.student)[name] for name in body}, body)
    assert float(terms.parts["loss"]) == pytest.approx(float(loss.detach()), rel=1e-6)
    rows = dict(
        zip(batches, logits.detach().split([len(y) for _, y in batches.values()]), strict=True)
    )
    for name, (_, own) in batches.items():
        ce = F.cross_entropy(rows[name], own + first_class[name], label_smoothing=0.1)
        assert float(terms.parts[f"loss_dataset/{name}"]) == pytest.approx(float(ce), rel=1e-6)
    among_own = rows["one"][:, first_class["one"] : first_class["one"] + 10]
    ce = F.cross_entropy(among_own, own_labels, label_smoothing=0.1)
    assert float(terms.parts["loss_ce"]) == pytest.approx(float(ce), rel=1e-6)


@pytest.mark.parametrize(
    ("sampling", "temperature", "letters", "two"),
    [
        ("proportional", None, 32 * 52 / 96, 32 * 200 / 96),
        ("uniform", None, 32, 32),
        ("temperature", 2.0, 32 * (52 / 96) ** 0.5, 32 * (200 / 96) ** 0.5),
        ("temperature", 1.0, 32 * 52 / 96, 32 * 200 / 96),
    ],
)
def test_a_mixed_batch_has_the_shares_of_the_sampling_policy_around_the_targets_batch(
    store, sampling, temperature, letters, two
):
    stage = stage_of("joint_head", sampling=sampling, temperature=temperature)
    task = trainer_of(stage, store).task
    seen = forwarded(task)
    task.model.train()
    task.loss(torch.arange(32), torch.Generator())
    assert seen == [32 + round(letters) + round(two)]
    assert task.count("letters", 32) == round(letters)
    assert task.count("two", 32) == round(two)
    assert task.count("letters", 1) >= 1


def forwarded(task) -> list[int]:
    """Return a list that gets the size of every batch that goes through the student."""
    seen: list[int] = []
    task.student.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    return seen


def test_multi_head_forwards_a_batch_of_every_dataset_one_after_the_other(store):
    trainer = trainer_of(stage_of("multi_head", batch_size=40), store)
    seen = forwarded(trainer.task)
    trainer.task.model.train()
    trainer.task.loss(torch.arange(40), torch.Generator())
    assert seen == [40, 40, 40]


def test_each_dataset_is_normalised_with_its_own_statistics(store):
    task = trainer_of(stage_of("multi_head", augment="none"), store).task
    taken = task.batches(torch.arange(32), torch.Generator())
    assert list(taken)[-1] == "one"
    for name, (images, _) in taken.items():
        raw, about = packed(store, name).images("train"), packed(store, name)
        mean, std = np.reshape(about.mean, (3, 1, 1)), np.reshape(about.std, (3, 1, 1))
        pixels = np.rint((images.double().numpy() * std + mean) * 255).astype(np.uint8)
        everything = {image.tobytes() for image in np.asarray(raw)}
        assert all(image.tobytes() in everything for image in pixels), name


@pytest.mark.parametrize("arch", ["deit_tiny_distilled_patch16_224", "test_byobnet", "test_maxvit"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_heads_suit_other_families_and_classifiers_that_are_not_one_layer(store, kind, arch):
    task = trainer_of(stage_of(kind, arch=arch, batch_size=8, drop_rate=0.1), store).task
    task.model.train()
    task.loss(torch.arange(8), torch.Generator()).total.backward()
    for name, head in task.heads.items():
        assert head.weight.grad.abs().sum() > 0, name
    task.model.eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        logits = task.logits(images)
        own, levels = task.student(images, levels=("embedding",))
        assert torch.equal(logits["one"], own)
        for name, head in task.heads.items():
            assert torch.equal(logits[name], head(levels["embedding"]))


# Which images are seen


def watched(task, monkeypatch) -> dict[str, list[list[int]]]:
    """Return by dataset the samples of every batch, once they are taken."""
    seen: dict[str, list[list[int]]] = {}
    every = {"one": task.training} | {name: other.images for name, other in task.others.items()}
    for name, images in every.items():
        seen[name] = []

        def noting(indices, spec, generator, *, images=images, into=seen[name]):
            into.append(indices.tolist())
            return ImageBatches.augmented(images, indices, spec, generator)

        monkeypatch.setattr(images, "augmented", noting)
    return seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("train", [{}, {"batch_size": 20, "accumulate": 3}, {"batch_size": 128}])
def test_other_datasets_go_on_over_the_epochs_and_each_image_comes_equally_often(
    store, monkeypatch, kind, train
):
    trainer = trainer_of(stage_of(kind, epochs=4, arch="test_vit", **train), store)
    seen = watched(trainer.task, monkeypatch)
    train_to_the_end(trainer)
    steps = 4 * trainer.steps_per_epoch * trainer.accumulate
    for name, size in SIZES.items():
        assert len(seen[name]) == steps
        assert len({len(batch) for batch in seen[name]}) == 1, name
        if name == "one":
            continue
        flat = [index for batch in seen[name] for index in batch]
        times = Counter(flat)
        counts = [times[index] for index in range(size)]
        assert max(counts) - min(counts) <= 1, name
        passes = [flat[first : first + size] for first in range(0, len(flat), size)]
        assert all(len(set(one_pass)) == len(one_pass) for one_pass in passes)
        if len(passes) > 2:
            assert passes[0] != passes[1]
    assert len(seen["letters"]) * len(seen["letters"][0]) > 52, "a short dataset cycles"
    assert trainer.task.others["two"].position == len(seen["two"]) * len(seen["two"][0])


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_brings_other_datasets_in_another_order(store, monkeypatch, kind):
    orders = []
    for seed in (0, 1, 0):
        trainer = trainer_of(stage_of(kind, seed=seed), store)
        seen = watched(trainer.task, monkeypatch)
        trainer.train_epoch()
        orders.append(seen)
    for name in SIZES:
        assert orders[0][name] == orders[2][name] != orders[1][name]


def draws_of_an_epoch(trainer, monkeypatch) -> list[tuple[list[int], list[int]]]:
    """Train an epoch; return the target's samples and where their augmentation stream stood."""
    seen, images = [], trainer.task.training

    def noting(indices, spec, generator):
        seen.append((indices.tolist(), generator.get_state().tolist()))
        return ImageBatches.augmented(images, indices, spec, generator)

    monkeypatch.setattr(images, "augmented", noting)
    trainer.train_epoch()
    return seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("others", [("two",), ("letters", "two")], ids="+".join)
def test_it_starts_as_the_targets_baseline_and_sees_the_target_as_the_baseline_does(
    store, monkeypatch, kind, others
):
    baseline = trainer_of(baseline_of(drop_rate=0.2), store)
    trainer = trainer_of(stage_of(kind, others, drop_rate=0.2), store)
    assert_identical(trainer.task.student.state_dict(), baseline.task.student.state_dict())
    assert trainer.steps_per_epoch == baseline.steps_per_epoch == 3
    for _ in range(2):
        expected = draws_of_an_epoch(baseline, monkeypatch)
        assert draws_of_an_epoch(trainer, monkeypatch) == expected
        assert len(expected) == 3


def test_heads_are_drawn_from_a_stream_of_their_own_in_order_of_name(store):
    before = torch.get_rng_state()
    task = trainer_of(stage_of("multi_head"), store).task
    assert torch.equal(torch.get_rng_state(), before)
    (width,) = task.student.level_shapes["embedding"]
    with RandomStreams(0, "student", "one").as_global("init/heads"):
        expected = [nn.Linear(width, 26), nn.Linear(width, 10)]
    for head, drawn in zip(task.heads.values(), expected, strict=True):
        assert_identical(dict(head.named_parameters()), dict(drawn.named_parameters()))


# What is kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("train", [{}, {"ema_decay": 0.5}], ids=["plain", "moving average"])
def test_what_is_kept_is_a_plain_student_and_is_evaluated_as_one(store, kind, train):
    stage = stage_of(kind, **train)
    artifact = store.get_or_compute(stage)
    assert stage.stage_name == "baseline"
    assert artifact.manifest.dataset == "one"
    assert tensors(artifact).keys() == Backbone("test_resnet", 10, 32).state_dict().keys()
    assert artifact.manifest.bytes <= stage.estimate_bytes()
    plain = store.get_or_compute(baseline_of(**train))
    assert artifact.manifest.files.keys() == plain.manifest.files.keys()

    kept = Backbone("test_resnet", 10, 32).eval()
    kept.load_state_dict(tensors(artifact))
    images, labels = next(ImageBatches(packed(store, "one"), "val", CPU).clean(10_000))
    with torch.inference_mode():
        right = kept(images)[0].argmax(dim=1) == labels
    accuracy = 100 * float(right.double().mean())
    assert artifact.manifest.metrics["val/acc1"] == pytest.approx(accuracy, abs=0.4)
    test = store.get_or_compute(EvaluationStage(stage.reader(), stage.data)).manifest.metrics
    assert set(test) == {"test/acc1", "test/acc5", "test/loss", "test/ece"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_term_is_logged_apart(store, kind):
    manifest = store.get_or_compute(stage_of(kind)).manifest
    terms = {name for name in manifest.metrics if name.startswith("train/loss")}
    datasets = {f"train/loss_dataset/{name}" for name in DATASETS}
    assert terms == {"train/loss", "train/loss_ce"} | datasets
    judged = {name for name in manifest.metrics if name.startswith("val/")}
    union = {"val/acc1_union"} if kind == "joint_head" else set()
    assert judged == {"val/acc1", "val/acc5", "val/loss"} | union
    assert manifest.history[-1]["train/loss"] < manifest.history[0]["train/loss"]


def test_among_all_datasets_classes_a_prediction_is_the_best_of_the_union(store):
    trainer = trainer_of(stage_of("joint_head", epochs=3), store)
    train_to_the_end(trainer)
    task, metrics = trainer.task, trainer.history[-1]
    net = union_classifier(task, ["letters", "one", "two"]).eval()
    images, labels = next(ImageBatches(packed(store, "one"), "val", CPU).clean(10_000))
    with torch.inference_mode():
        logits = net(images)[0].double().numpy()
    right = logits.argmax(axis=1) == labels.numpy() + 26
    among_own = logits[:, 26:36].argmax(axis=1) == labels.numpy()
    assert metrics["val/acc1_union"] == pytest.approx(100 * right.mean(), abs=0.4)
    assert metrics["val/acc1"] == pytest.approx(100 * among_own.mean(), abs=0.4)
    assert 0 < metrics["val/acc1_union"] < metrics["val/acc1"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_was_killed_goes_on_to_the_same_weights_bit_by_bit(store, kind):
    stage = stage_of(kind, epochs=3, drop_rate=0.2, batch_size=20)
    whole = train_to_the_end(trainer_of(stage, store))
    with store.claim(stage) as claim:
        context = claim.context("cpu")
        first = stage.open(context)
        first.train_epoch()
        first.save(claim.work)
        second = stage.open(context)
        assert second.epoch == 1
        train_to_the_end(second)
        assert_identical(weights(second), weights(whole))  # heads included
    kept = store.get_or_compute(stage)
    assert kept.manifest.history == whole.history
    assert_identical(tensors(kept), dict(whole.task.student.state_dict()))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_all_datasets(store, kind):
    stage = stage_of(kind, ("two",), epochs=16, augment="none")
    trainer = train_to_the_end(trainer_of(stage, store))
    assert trainer.history[-1]["val/acc1"] > 60
    for name in ("one", "two"):
        term = f"train/loss_dataset/{name}"
        assert trainer.history[-1][term] < trainer.history[0][term] - 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_in_bf16_too(store, kind):
    one, other = (
        trainer_of(stage_of(kind, ("letters",), precision=precision), store).train_epoch()
        for precision in ("bf16", "fp32")
    )
    assert one["train/loss"] == pytest.approx(other["train/loss"], rel=0.05)
    assert one["train/loss"] != other["train/loss"]


# What a stage is


def test_the_stage_reads_every_dataset_and_says_what_it_is():
    stage = stage_of("joint_head")
    assert set(stage.inputs) == {"dataset", "dataset/letters", "dataset/two"}
    assert stage.label == "baseline one (test_resnet, seed 0)"
    assert {below.stage_name for below in walk([stage])} == {"dataset", "baseline"}


def test_everything_that_changes_the_training_changes_the_key():
    stages = [
        baseline_of(),
        stage_of("multi_head"),
        stage_of("multi_head", ("two",)),
        stage_of("multi_head", seed=1),
        stage_of("multi_head", ("letters", "one"), target="two"),
        stage_of("joint_head"),
        stage_of("joint_head", sampling="uniform"),
        stage_of("joint_head", sampling="temperature", temperature=2.0),
        stage_of("joint_head", sampling="temperature", temperature=3.0),
        stage_of("joint_head", epochs=9),
    ]
    assert len({stage.key for stage in stages}) == len(stages)
    assert stage_of("joint_head").key == stage_of("joint_head").key


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"others": ()}, "at least 1 item"),
        ({"others": ("two", "letters")}, "others are not each once, by name, and without 'one'"),
        ({"others": ("two", "two")}, "others are not each once"),
        ({"others": ("one", "two")}, "without 'one'"),
        ({"sampling": None}, "sampling is None, but the kind is joint_head"),
        ({"kind": "multi_head"}, "sampling is 'uniform', but the kind is multi_head"),
        ({"sampling_temperature": 2.0}, "sampling_temperature is 2.0, but sampling is 'uniform'"),
        ({"sampling": "temperature"}, "sampling_temperature is None, but sampling is 'temperature"),
        ({"sampling": "temperature", "sampling_temperature": 0.5}, "greater than or equal to 1"),
    ],
)
def test_a_spec_holds_what_has_a_part_in_the_training_and_nothing_else(changes, problem):
    good = {
        "dataset": "one",
        "arch": "test_resnet",
        "train": train_spec(),
        "seed": 0,
        "others": ("letters", "two"),
        "kind": "joint_head",
        "sampling": "uniform",
    }
    MultiDatasetSpec(**good)
    with pytest.raises(ValidationError, match=problem):
        MultiDatasetSpec(**{**good, **changes})


def test_datasets_of_another_image_size_are_refused():
    spec = stage_of("multi_head").spec
    others = {"letters": data("letters"), "two": data("two", 64)}
    with pytest.raises(UserError, match=r"dataset two is packed at 64 px \(allowed: 32, as one"):
        MultiDatasetStage(data("one"), spec, others)


def test_other_datasets_than_the_specs_are_refused():
    with pytest.raises(ValueError, match="the spec is for"):
        MultiDatasetStage(data("one"), stage_of("multi_head").spec, {"two": data("two")})
