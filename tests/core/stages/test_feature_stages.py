from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.models import level_shapes
from mlfd_tune.core.stages import FeaturesStage
from mlfd_tune.core.stages.features import HALF_MAX, to_half
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Artifact, StageContext, StageResult
from tests.helpers.pipelines import inputs_of, pipeline

CPU = torch.device("cpu")


def run(stage, inputs, folder) -> StageResult:
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir()
    return stage.run(StageContext(folder / "out", folder / "work", inputs))


def keeping_only(packed: Artifact, splits: tuple[str, ...], folder) -> Artifact:
    """Return a copy of a packed dataset in which the files of all other splits are missing."""
    shutil.copytree(packed.path, folder)
    for split in {"train", "val", "test"} - set(splits):
        for file in folder.glob(f"{split}_*"):
            file.unlink()
    return Artifact(folder, packed.manifest)


@pytest.mark.parametrize("level", ["embedding", "stride32", "stride16", "stride8"])
def test_features_are_what_the_teacher_sees_in_clean_images_normalised_as_it_was_trained(
    store, level
):
    made = pipeline()
    stage = FeaturesStage(made.teacher("one"), made.dataset("two"), level)
    artifact = store.get_or_compute(stage)
    inputs = inputs_of(stage, store)
    model = load_backbone(inputs["teacher"].path, CPU)
    home = PackedDataset(store.get_or_compute(made.dataset("one")).path)
    away = PackedDataset(inputs["dataset"].path)
    assert home.mean != away.mean
    for split in ("train", "val"):
        pixels = away.images(split).astype(np.float64) / 255
        mean, std = np.reshape(home.mean, (1, 3, 1, 1)), np.reshape(home.std, (1, 3, 1, 1))
        images = torch.from_numpy((pixels - mean) / std).float()
        with torch.inference_mode():
            expected = model(images, levels=(level,))[1][level].numpy()
        cached = np.load(artifact.path / f"{split}.npy")
        assert cached.dtype == np.float16
        assert cached.shape == expected.shape == (away.size(split), *stage.shape)
        np.testing.assert_allclose(cached, expected, rtol=2e-3, atol=2e-3)


def test_features_never_read_the_test_split(store, tmp_path):
    made = pipeline()
    stage = FeaturesStage(made.teacher("one"), made.dataset("two"), "stride32")
    inputs = inputs_of(stage, store)
    inputs["dataset"] = keeping_only(inputs["dataset"], ("train", "val"), tmp_path / "data")
    run(stage, inputs, tmp_path)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"train.npy", "val.npy"}


def test_nothing_before_the_evaluation_reads_the_test_split(store, tmp_path):
    made = pipeline()
    for number, stage in enumerate(
        (
            made.teacher("one"),
            made.student("one").targets.joint_teacher,
            made.student("one").targets,
            made.student("one"),
        )
    ):
        inputs = inputs_of(stage, store)
        for name in inputs:
            if name.startswith("dataset"):
                copy = tmp_path / f"{number}-{name.replace('/', '-')}"
                inputs[name] = keeping_only(inputs[name], ("train", "val"), copy)
        run(stage, inputs, tmp_path / str(number))


def test_the_evaluation_reads_the_test_split_alone(store, tmp_path):
    stage = pipeline().evaluation("one")
    inputs = inputs_of(stage, store)
    inputs["images"] = keeping_only(inputs["images"], ("test",), tmp_path / "data")
    result = run(stage, inputs, tmp_path)
    packed = PackedDataset(store.get_or_compute(pipeline().dataset("one")).path)
    pixels = packed.images("test").astype(np.float64) / 255
    mean, std = np.reshape(packed.mean, (1, 3, 1, 1)), np.reshape(packed.std, (1, 3, 1, 1))
    model = load_backbone(inputs["network"].path, CPU)
    with torch.inference_mode():
        logits = model(torch.from_numpy((pixels - mean) / std).float())[0].double().numpy()
    labels = packed.labels("test")
    best = np.argsort(-logits, axis=1)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    bins = np.clip(np.ceil(chances.max(axis=1) * 15).astype(int) - 1, 0, 14)
    gaps = (best[:, 0] == labels) - chances.max(axis=1)
    assert result.metrics == pytest.approx(
        {
            "test/ece": 100 * sum(abs(gaps[bins == b].sum()) for b in range(15)) / len(labels),
            "test/acc1": 100 * np.mean(best[:, 0] == labels),
            "test/acc5": 100 * np.mean((best[:, :5] == labels[:, None]).any(axis=1)),
            "test/loss": np.mean(
                np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
            ),
        },
        rel=1e-4,
    )


def test_a_feature_too_large_for_half_precision_is_held_at_its_maximum():
    half = to_half(torch.tensor([1e9, -1e9, 1.5]))
    assert half.dtype == np.float16
    assert half.tolist() == [HALF_MAX, -HALF_MAX, 1.5]


def test_a_features_shape_is_known_before_it_is_computed():
    made = pipeline(teacher={"arch": "test_convnext"}, image_size=64)
    stage = FeaturesStage(made.teacher("one"), made.dataset("one"), "stride8")
    assert stage.shape == level_shapes("test_convnext", 64)["stride8"] == (32, 8, 8)
