from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mlfd_tune.core.spec import content_hash
from mlfd_tune.core.stages import FeaturesStage
from mlfd_tune.core.stages.feature_files import CachedFeatures, features_name
from mlfd_tune.core.stages.feature_formats import HALF_MAX, FeatureArray, features_bytes
from mlfd_tune.core.stages.feature_writer import FeatureWriter
from mlfd_tune.core.stages.features import FEATURE_SPLITS, FeaturesSpec
from tests.helpers.pipelines import inputs_of, pipeline, settings

CPU = torch.device("cpu")
DTYPES = ("float16", "bfloat16", "int8")


def features(*shape: int) -> torch.Tensor:
    """Return features whose channels differ in range by orders of magnitude, some of a ReLU."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    values *= torch.logspace(-3, 3, shape[1]).view(-1, *[1] * (len(shape) - 2))
    values[:, ::2] = values[:, ::2].clamp(min=0)
    return values


def kept(values: torch.Tensor, dtype: str, folder) -> FeatureArray:
    """Write values in batches of 7 and open what was written."""
    (folder / "out").mkdir()
    with FeatureWriter(folder / "out", folder, "train", dtype, tuple(values.shape)) as writer:
        for batch in values.split(7):
            writer.write(batch)
    return FeatureArray(folder / "out", "train")


def read(array: FeatureArray) -> np.ndarray:
    return array.between(0, len(array), CPU).numpy()


def axes(values: np.ndarray) -> tuple[int, ...]:
    """Return the axes over which a channel extends."""
    return tuple(axis for axis in range(values.ndim) if axis != 1)


@pytest.mark.parametrize("shape", [(40, 6), (40, 6, 3, 2)], ids=["vectors", "maps"])
def test_float16_and_bfloat16_keep_the_nearest_value(shape, tmp_path):
    values = features(*shape).numpy()
    half = read(kept(torch.from_numpy(values), "float16", tmp_path))
    np.testing.assert_array_equal(half, values.astype(np.float16).astype(np.float32))
    (tmp_path / "b").mkdir()
    brain = read(kept(torch.from_numpy(values), "bfloat16", tmp_path / "b"))
    # The upper half of float32's bits, rounded to even.
    bits = values.view(np.uint32).astype(np.uint64)
    bits = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16
    np.testing.assert_array_equal(brain, bits.astype(np.uint32).view(np.float32))
    np.testing.assert_allclose(brain, values, rtol=2**-8)


@pytest.mark.parametrize("shape", [(40, 6), (40, 6, 3, 2)], ids=["vectors", "maps"])
def test_8_bits_keep_a_value_within_half_a_step_of_its_channels_range(shape, tmp_path):
    values = features(*shape)
    half = values.half().double().numpy()
    low = half.min(axes(half), keepdims=True)
    step = (half.max(axes(half), keepdims=True) - low) / 255
    expected = np.rint((half - low) / step) * step + low
    found = read(kept(values, "int8", tmp_path))
    assert (np.abs(found - half) <= 0.5001 * step).all()
    # A value half way between two codes may go to either.
    surely = np.abs((half - low) / step % 1 - 0.5) > 1e-3
    assert (np.abs(found - expected) <= 1e-6 * 255 * step)[surely].all()


def test_8_bits_leave_zeros_after_a_relu_and_constant_channels_as_they_are(tmp_path):
    values = features(40, 6, 3, 2)
    values[:, 1] = 0.75
    found = read(kept(values, "int8", tmp_path))
    assert (found[:, 1] == 0.75).all()
    assert (found[:, ::2][values.numpy()[:, ::2] == 0] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_feature_that_is_not_a_number_is_read_as_none(dtype, tmp_path):
    values = features(20, 4)
    values[3, 2] = torch.nan
    with np.errstate(invalid="ignore"):
        found = read(kept(values, dtype, tmp_path))
    assert np.isnan(found[3, 2])
    assert np.isfinite(found[:, [0, 1, 3]]).all()


def test_bfloat16_keeps_features_beyond_the_range_of_float16(tmp_path):
    values = torch.tensor([[1e9, -3.0], [2.0, 1.0]])
    assert read(kept(values, "bfloat16", tmp_path))[0, 0] == pytest.approx(1e9, rel=2**-8)
    (tmp_path / "half").mkdir()
    assert read(kept(values, "float16", tmp_path / "half"))[0, 0] == HALF_MAX


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(30, 6), (30, 6, 3, 2)], ids=["vectors", "maps"])
def test_the_size_of_the_files_is_known_beforehand(dtype, shape, tmp_path):
    kept(features(*shape), dtype, tmp_path)
    size = sum(file.stat().st_size for file in (tmp_path / "out").iterdir())
    assert size == features_bytes(dtype, shape[1:], shape[0])
    assert [file.name for file in tmp_path.iterdir()] == ["out"], "something was left behind"


@pytest.mark.parametrize("dtype", DTYPES)
def test_images_are_read_in_any_order(dtype, tmp_path):
    array = kept(features(30, 4, 2, 2), dtype, tmp_path)
    assert (len(array), array.shape) == (30, (4, 2, 2))
    chosen = torch.tensor([29, 0, 5, 5])
    gathered = array.gather(chosen, CPU)
    assert gathered.dtype == torch.float32
    np.testing.assert_array_equal(gathered, read(array)[chosen.numpy()])


def test_features_that_are_not_there_are_missed_by_their_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"val\.npy"):
        FeatureArray(tmp_path, "val")


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("level", ["embedding", "stride16"])
def test_a_stage_keeps_features_in_the_format_it_is_asked_for(store, level, dtype):
    made = pipeline()
    stage = FeaturesStage(made.teacher("one"), made.dataset("two"), level, dtype)
    plain = FeaturesStage(made.teacher("one"), made.dataset("two"), level)
    artifact, reference = store.get_or_compute(stage), store.get_or_compute(plain)
    assert artifact.manifest.bytes == stage.estimate_bytes()
    assert dtype in stage.label
    for split in FEATURE_SPLITS:
        half, found = (read(FeatureArray(made.path, split)) for made in (reference, artifact))
        bound = 2**-8 * np.abs(half)
        if dtype == "int8":
            span = half.max(axes(half), keepdims=True) - half.min(axes(half), keepdims=True)
            bound = 0.5001 * span / 255
        # The stored float16 is off itself, by half of its last digit.
        assert (np.abs(found - half) <= bound + 2**-11 * np.abs(half) + 2**-25).all()


def test_cached_features_are_the_stored_values_in_any_order_and_in_theirs(store):
    made = pipeline()
    stages = {name: made.features(name, "two", "stride32") for name in ("one", "two")}
    inputs = {features_name(name, "two"): store.get_or_compute(s) for name, s in stages.items()}
    inputs["dataset/two"] = store.get_or_compute(made.dataset("two"))
    cached = CachedFeatures(inputs, ("one", "two"), "two", "train")
    chosen = np.random.default_rng(0).permutation(len(cached))[:20]
    gathered = cached.gather(chosen, CPU)
    batches = list(cached.batches(CPU))
    for name in stages:
        values = np.load(inputs[features_name(name, "two")].path / "train.npy")
        np.testing.assert_array_equal(gathered[name], values[chosen].astype(np.float32))
        in_order = torch.cat([features[name] for features, _ in batches])
        np.testing.assert_array_equal(in_order, values.astype(np.float32))
    assert torch.equal(torch.cat([labels for _, labels in batches]), cached.labels)


def test_features_of_full_precision_have_the_identity_they_always_had():
    spec = FeaturesSpec(level="stride32")
    assert content_hash(spec) == content_hash({"level": "stride32", "dtype": "float16"})
    others = [
        FeaturesSpec(level="stride32", precision="bf16"),
        FeaturesSpec(level="stride32", dtype="int8"),
    ]
    assert len({content_hash(each) for each in (spec, *others)}) == 3


def test_a_teacher_looks_at_images_in_the_precision_it_was_trained_in(store):
    assert pipeline().features("one", "two", "stride32").spec.precision == "fp32"
    stage = pipeline(teacher={"train": {"precision": "bf16"}}).features("one", "two", "stride32")
    assert stage.spec.precision == "bf16"
    full = FeaturesStage(stage.teacher, stage.data, "stride32")
    mixed, exact = (
        read(FeatureArray(store.get_or_compute(each).path, "train")) for each in (stage, full)
    )
    assert not np.array_equal(mixed, exact)
    assert np.abs(mixed - exact).max() < 0.05 * np.abs(exact).max()


def test_a_joint_teacher_learns_from_8_bits_and_only_what_learns_from_it_changes(store):
    plain, coded = pipeline(), pipeline(joint_teacher={"features_dtype": "int8"})
    teachers = ("one", "two")
    joint, other = (made.joint_teacher(teachers, ("one",)) for made in (coded, plain))
    assert plain.teacher("one").key == coded.teacher("one").key
    assert joint.key != other.key
    metrics = store.get_or_compute(joint).manifest.metrics
    assert metrics["val/loss"] == pytest.approx(
        store.get_or_compute(other).manifest.metrics["val/loss"], rel=0.05
    )
    assert {below.spec.dtype for name, below in joint.inputs.items() if "features" in name} == {
        "int8"
    }
    assert inputs_of(coded.student("one"), store)


def test_an_unknown_format_is_refused_with_those_there_are():
    with pytest.raises(ValidationError, match=r"'float16', 'bfloat16' or 'int8'"):
        settings(joint_teacher={"features_dtype": "int4"})
