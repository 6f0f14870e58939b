from __future__ import annotations

import numpy as np
import pytest
import torch

from mlfd_tune.core.stages.joint_teacher import load_joint_teacher
from mlfd_tune.core.stages.target_files import TargetsView
from tests.helpers.pipelines import inputs_of, pipeline, trainer_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("heads", ["shared", "per_dataset"])
def test_a_joint_teacher_learns_the_labels_of_its_datasets(store, heads):
    made = pipeline(joint_teacher={"heads": heads, "train": {"epochs": 8}})
    stage = made.student("one").targets.joint_teacher
    manifest = store.get_or_compute(stage).manifest
    datasets = ("one", "two") if heads == "shared" else ("one",)
    assert stage.spec.datasets == datasets
    assert stage.teachers == ("one", "two")
    for name in datasets:
        assert {f"val/acc1/{name}", f"val/acc5/{name}", f"val/loss/{name}"} <= set(manifest.metrics)
    each = [manifest.metrics[f"val/acc1/{name}"] for name in datasets]
    assert manifest.metrics["val/acc1"] == pytest.approx(np.mean(each))
    assert manifest.history[-1]["train/loss"] < manifest.history[0]["train/loss"]
    assert manifest.dataset == (None if heads == "shared" else "one")


def test_with_shared_heads_all_datasets_have_one_joint_teacher_and_else_each_its_own():
    shared = pipeline(joint_teacher={"heads": "shared"})
    assert (
        shared.student("one").targets.joint_teacher.key
        == shared.student("two").targets.joint_teacher.key
    )
    assert shared.student("one").targets.key != shared.student("two").targets.key
    apart = pipeline(joint_teacher={"heads": "per_dataset"})
    assert (
        apart.student("one").targets.joint_teacher.key
        != apart.student("two").targets.joint_teacher.key
    )


def test_a_batch_mixes_all_datasets_and_each_has_its_own_head(store):
    made = pipeline(joint_teacher={"heads": "shared", "dropout": 0.0})
    task = trainer_of(made.student("one").targets.joint_teacher, store).task
    assert task.size == 96 + 64
    task.model.eval()
    indices = torch.tensor([100, 3, 159, 95, 0, 7])  # of "two": 4, 63
    with torch.no_grad():
        loss = float(task.loss(indices, torch.Generator()).total)
        expected = []
        for name, own in (("one", [3, 95, 0, 7]), ("two", [4, 63])):
            cached = task.training[name]
            fused = task.model(cached.gather(np.array(own), CPU))["embedding"]
            log_p = task.model.logits(fused, name).double().log_softmax(dim=1).numpy()
            expected += list(-log_p[range(len(own)), cached.labels[own].numpy()])
    assert loss == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_batch_without_one_of_the_datasets_trains_the_others(store):
    task = trainer_of(
        pipeline(joint_teacher={"heads": "shared"}).student("one").targets.joint_teacher, store
    ).task
    task.loss(torch.arange(8), torch.Generator()).total.backward()
    gradients = {name: p.grad is not None for name, p in task.model.named_parameters()}
    assert not gradients["heads.of_two.weight"]
    assert gradients["heads.of_one.weight"]


@pytest.mark.parametrize("levels", ["L1", "L2", "L3", "L4", ["stride16"], ["embedding", "stride8"]])
def test_a_joint_teacher_read_from_its_files_gives_the_same_outputs(store, tmp_path, levels):
    stage = pipeline(joint_teacher={"levels": levels}).student("one").targets.joint_teacher
    trainer = trainer_of(stage, store)
    trainer.train_epoch()
    stage.finish(trainer, tmp_path)
    before = torch.get_rng_state()
    loaded = load_joint_teacher(tmp_path, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    features = trainer.task.validation["one"].gather(np.arange(20), CPU)
    trainer.task.model.eval()
    with torch.inference_mode():
        expected, fused = trainer.task.model(features), loaded(features)
        assert fused.keys() == expected.keys() == stage.out_shapes.keys()
        for level, value in fused.items():
            assert torch.equal(value, expected[level])
            assert tuple(value.shape[1:]) == stage.out_shapes[level]
        logits = trainer.task.model.logits(expected["embedding"], "one")
        assert torch.equal(loaded.logits(fused["embedding"], "one"), logits)


@pytest.mark.parametrize("levels", ["L1", "L2", "L3", "L4", ["stride16"], ["embedding", "stride8"]])
def test_targets_are_the_joint_teachers_outputs_on_the_training_images_in_order(store, levels):
    made = pipeline(joint_teacher={"levels": levels})
    stage = made.student("one").targets
    artifact = store.get_or_compute(stage)
    joint = load_joint_teacher(inputs_of(stage, store)["joint_teacher"].path, CPU)
    cached = trainer_of(made.student("one").targets.joint_teacher, store).task.training["one"]
    with torch.inference_mode():
        fused = joint(cached.gather(np.arange(96), CPU))
        logits = joint.logits(fused["embedding"], "one").numpy()
    np.testing.assert_allclose(np.load(artifact.path / "logits.npy"), logits, rtol=1e-5, atol=1e-6)
    for level in stage.joint_teacher.out_shapes:
        target = np.load(artifact.path / f"{level}.npy")
        assert target.dtype == np.float16
        np.testing.assert_allclose(target, fused[level].numpy(), rtol=2e-3, atol=2e-3)
    accuracy = 100 * np.mean(logits.argmax(axis=1) == cached.labels.numpy())
    assert artifact.manifest.metrics["train/acc1"] == pytest.approx(accuracy)
    joint_metrics = store.get_or_compute(stage.joint_teacher).manifest.metrics
    assert artifact.manifest.metrics["val/acc1"] == joint_metrics["val/acc1/one"]


def test_targets_are_normalised_as_asked_when_they_are_read(store):
    path = store.get_or_compute(pipeline().student("one").targets).path
    levels, everything = ("embedding", "stride32"), torch.arange(96)

    def read(norm: str) -> dict[str, torch.Tensor]:
        return TargetsView(path, norm, levels, CPU).gather(everything)[1]

    plain, standard = read("none"), read("standardise")
    for level in levels:
        stored = np.load(path / f"{level}.npy").astype(np.float64)
        np.testing.assert_array_equal(plain[level].numpy(), stored.astype(np.float32))
        axes = (0, *range(2, stored.ndim))
        spread = stored.std(axis=axes, keepdims=True)
        wanted = (stored - stored.mean(axis=axes, keepdims=True)) / np.where(
            spread > 1e-6, spread, 1
        )
        np.testing.assert_allclose(standard[level].numpy(), wanted, rtol=1e-4, atol=1e-4)
        squares = read("l2")[level].flatten(1).square().mean(dim=1)
        np.testing.assert_allclose(squares[squares > 0.5], 1.0, rtol=1e-4)
        rows = read("layernorm")[level].flatten(1)
        np.testing.assert_allclose(rows.mean(dim=1), 0.0, atol=1e-5)


def test_targets_are_gathered_by_sample(store):
    view = TargetsView(
        store.get_or_compute(pipeline().student("one").targets).path, "none", ("stride32",), CPU
    )
    logits, features = view.gather(torch.tensor([5, 0, 5]))
    every_logit, every_feature = view.gather(torch.arange(96))
    assert torch.equal(logits, every_logit[[5, 0, 5]])
    assert torch.equal(features["stride32"], every_feature["stride32"][[5, 0, 5]])
    assert view.shapes() == {"stride32": tuple(features["stride32"].shape[1:])}


def test_at_l1_the_students_architecture_leaves_the_joint_teacher_as_it_is():
    one = pipeline(joint_teacher={"levels": "L1"})
    other = pipeline(joint_teacher={"levels": "L1"}, student={"arch": "test_vit"})
    assert (
        one.student("one").targets.joint_teacher.key
        == other.student("one").targets.joint_teacher.key
    )
    deeper = [
        pipeline(joint_teacher={"levels": "L2"}, student={"arch": arch})
        .student("one")
        .targets.joint_teacher.key
        for arch in ("test_resnet", "test_convnext")
    ]
    assert deeper[0] != deeper[1]
