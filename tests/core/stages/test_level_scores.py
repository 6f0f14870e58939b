from __future__ import annotations

import json
import shutil
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.layer_choice import level_scores
from mlfd_tune.core.similarity import linear_cka
from mlfd_tune.core.stages.level_scores import LevelScoresStage
from mlfd_tune.core.stages.pooled_features import PooledFeaturesStage, chosen_images
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Artifact, StageContext, walk
from tests.helpers.pipelines import inputs_of, pipeline

CPU = torch.device("cpu")
LINEUP = {"teachers": {"two": {"arch": "test_vit"}}}


def pooled(made, teacher: str, target: str, **limits: int) -> PooledFeaturesStage:
    size = made.settings.teacher_image_size(teacher)
    return PooledFeaturesStage(made.teacher(teacher), made.dataset(target, size), **limits)


def vectors(artifact: Artifact, split: str, level: str) -> np.ndarray:
    return np.load(artifact.path / f"{split}_{level}.npy")


def test_pooled_features_are_the_averages_of_what_the_teacher_sees_in_clean_images(store):
    made = pipeline(**LINEUP)
    stage = pooled(made, "one", "two", max_train=20, max_val=12)
    artifact = store.get_or_compute(stage)
    inputs = inputs_of(stage, store)
    model = load_backbone(inputs["teacher"].path, CPU)
    home = PackedDataset(store.get_or_compute(made.dataset("one")).path)
    away = PackedDataset(inputs["dataset"].path)
    mean, std = np.reshape(home.mean, (1, 3, 1, 1)), np.reshape(home.std, (1, 3, 1, 1))
    for split, count in (("train", 20), ("val", 12)):
        indices = vectors(artifact, split, "indices")
        np.testing.assert_array_equal(indices, chosen_images(away.labels(split), count, split))
        pixels = away.images(split)[indices].astype(np.float64) / 255
        with torch.inference_mode():
            seen = model(torch.from_numpy((pixels - mean) / std).float(), stage.spec.levels)[1]
        assert list(seen) == ["embedding", "stride32", "stride16", "stride8"]
        for level, features in seen.items():
            expected = features.double().flatten(2).mean(2) if features.ndim == 4 else features
            kept = vectors(artifact, split, level)
            assert kept.dtype == np.float32
            np.testing.assert_allclose(kept, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_all_images_are_looked_at_where_there_are_not_too_many(store):
    stage = pooled(pipeline(**LINEUP), "one", "two")
    data = PackedDataset(store.get_or_compute(stage.data).path)
    artifact = store.get_or_compute(stage)
    for split in ("train", "val"):
        expected = np.arange(data.size(split))
        np.testing.assert_array_equal(vectors(artifact, split, "indices"), expected)


def test_a_choice_of_images_has_the_classes_in_proportion():
    labels = np.array([0] * 600 + [1] * 300 + [2] * 99 + [3])
    indices = chosen_images(labels, 100, "train")
    assert (np.diff(indices) > 0).all()
    counts = np.bincount(labels[indices], minlength=4)
    np.testing.assert_allclose(counts, [60, 30, 10, 1], atol=1)
    assert counts[3] == 1
    assert counts.sum() == 100


def test_a_smaller_choice_lies_inside_a_larger_one_and_splits_choose_apart():
    labels = np.random.default_rng(0).integers(0, 7, 400)
    chosen = chosen_images(labels, 120, "train")
    assert set(chosen_images(labels, 40, "train")) < set(chosen)
    assert set(chosen_images(labels, 120, "val")) != set(chosen)


def test_a_choice_of_fewer_images_than_classes_has_as_many_classes_as_images():
    labels = np.repeat(np.arange(50), 4)
    assert len(set(labels[chosen_images(labels, 20, "train")])) == 20


@pytest.mark.parametrize("target", ["one", "two"])
def test_scores_are_what_scikit_learn_and_cka_say_of_the_pooled_features(store, target):
    made = pipeline(**LINEUP)
    stage = level_scores(made, target)
    artifact = store.get_or_compute(stage)
    packed = PackedDataset(store.get_or_compute(made.dataset(target)).path)
    seen = {name: store.get_or_compute(pooled(made, name, target)) for name in ("one", "two")}

    def accuracy(level: str, names: tuple[str, ...]) -> float:
        x, v = (
            np.hstack([vectors(seen[name], split, level) for name in names]).astype(np.float64)
            for split in ("train", "val")
        )
        scaler = StandardScaler().fit(x)  # leaves channels that never change as they are
        reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000)
        reference.fit(scaler.transform(x), packed.labels("train"))
        return 100 * reference.score(scaler.transform(v), packed.labels("val"))

    one_image = 100 / packed.size("val")
    metrics = artifact.manifest.metrics
    assert metrics["images"] == packed.size("val")
    for level in ("embedding", "stride32", "stride16", "stride8"):
        assert metrics[f"probe/{level}"] == pytest.approx(
            accuracy(level, ("one", "two")), abs=one_image
        )
        assert metrics[f"probe_own/{level}"] == pytest.approx(
            accuracy(level, (target,)), abs=one_image
        )
        a, b = (torch.from_numpy(vectors(seen[name], "val", level)) for name in ("one", "two"))
        assert metrics[f"cka/{level}"] == pytest.approx(linear_cka(a, b))


def test_the_file_has_the_cka_of_every_pair_of_teachers(store):
    three = {"source": "digits", "train_size": 64, "split_seed": 2}
    made = pipeline(datasets={"three": three}, **LINEUP)
    artifact = store.get_or_compute(level_scores(made, "one"))
    content = json.loads((artifact.path / "scores.json").read_text())
    metrics = artifact.manifest.metrics
    assert content["dataset"] == "one"
    for level, score in content["levels"].items():
        pairs = [tuple(pair["teachers"]) for pair in score["pairs"]]
        assert pairs == list(combinations(sorted(["one", "two", "three"]), 2))
        mean = np.mean([pair["cka"] for pair in score["pairs"]])
        assert score["cka"] == metrics[f"cka/{level}"] == pytest.approx(mean)
        assert score["probe"] == metrics[f"probe/{level}"]


def test_with_one_teacher_there_is_no_cka_and_the_probe_is_its_own(store):
    made = pipeline(joint_teacher={"teachers": ["one"]}, **LINEUP)
    metrics = store.get_or_compute(level_scores(made, "one")).manifest.metrics
    assert not [name for name in metrics if name.startswith("cka")]
    assert metrics["probe/stride16"] == metrics["probe_own/stride16"]


def test_the_own_teacher_is_probed_where_it_is_not_fused(store):
    made = pipeline(joint_teacher={"teachers": ["two"]}, **LINEUP)
    both = pipeline(**LINEUP)
    metrics, expected = (
        store.get_or_compute(level_scores(each, "one")).manifest.metrics for each in (made, both)
    )
    assert metrics["probe_own/embedding"] == expected["probe_own/embedding"]
    assert metrics["probe/embedding"] != expected["probe/embedding"]


def test_the_order_of_teachers_is_no_part_of_the_scores_identity():
    made = pipeline(joint_teacher={"teachers": ["two", "one"]}, **LINEUP)
    assert level_scores(made, "one").key == level_scores(pipeline(**LINEUP), "one").key


def test_the_fused_levels_are_no_part_of_the_scores_identity():
    made = pipeline(joint_teacher={"levels": "L1", "width": 8}, **LINEUP)
    assert level_scores(made, "one").key == level_scores(pipeline(**LINEUP), "one").key


def test_teachers_with_images_of_another_size_see_the_same_images(store):
    made = pipeline(teachers={"two": {"arch": "test_vit", "image_size": 48}})
    features = [pooled(made, name, "one", max_train=30, max_val=10) for name in ("one", "two")]
    assert [stage.data.spec.image_size for stage in features] == [32, 48]
    for split in ("train", "val"):
        one, two = (vectors(store.get_or_compute(stage), split, "indices") for stage in features)
        np.testing.assert_array_equal(one, two)
    scores = LevelScoresStage(features, features[0])
    assert store.get_or_compute(scores).manifest.metrics["images"] == 10


def test_neither_stage_reads_the_test_split(store, tmp_path):
    made = pipeline(**LINEUP)
    for number, stage in enumerate((pooled(made, "two", "one"), level_scores(made, "one"))):
        inputs = inputs_of(stage, store)
        copy = tmp_path / f"data{number}"
        shutil.copytree(inputs["dataset"].path, copy)
        for file in copy.glob("test_*"):
            file.unlink()
        inputs["dataset"] = Artifact(copy, inputs["dataset"].manifest)
        out = tmp_path / f"out{number}"
        out.mkdir()
        result = stage.run(StageContext(out, tmp_path, inputs))
        assert result.metrics == store.get_or_compute(stage).manifest.metrics
        assert not list(out.glob("test*"))


def test_no_artifact_is_larger_than_estimated(store):
    for stage in walk([level_scores(pipeline(**LINEUP), "one")]):
        size = store.get_or_compute(stage).manifest.bytes
        assert 0.8 * stage.estimate_bytes() - 8192 <= size <= stage.estimate_bytes(), stage.label


def test_too_few_validation_images_are_told_before_anything_is_computed():
    made = pipeline(**LINEUP)
    features = [pooled(made, name, "one", max_val=3) for name in ("one", "two")]
    with pytest.raises(UserError, match=r"datasets\.one: too few validation images .* 3 \(allowed"):
        LevelScoresStage(features, features[0])
