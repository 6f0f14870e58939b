"""Target norms against NumPy statements of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.losses import TargetNorm, target_norm_kinds

SHAPES = [(37, 5), (37, 5, 2, 3)]


def draw(shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng(0)
    scales = 10.0 ** np.arange(-2, 3).reshape(1, 5, *(1,) * (len(shape) - 2))
    return random.normal(3, 1, shape) * scales


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch_size", [1, 10, 1000])
def test_standardise_is_per_channel_over_images_and_space(
    shape: tuple[int, ...], batch_size: int
) -> None:
    x = draw(shape)
    norm = TargetNorm.fit("standardise", torch.from_numpy(x), batch_size)
    others = tuple(axis for axis in range(len(shape)) if axis != 1)
    expected = (x - x.mean(others, keepdims=True)) / x.std(others, keepdims=True)
    np.testing.assert_allclose(norm(torch.from_numpy(x)), expected, atol=1e-4)


def test_standardise_reads_half_precision_memory_maps_in_batches(tmp_path: Path) -> None:
    x = draw((37, 5, 2, 3)).astype(np.float16)
    np.save(tmp_path / "targets.npy", x)
    norm = TargetNorm.fit("standardise", np.load(tmp_path / "targets.npy", mmap_mode="r"), 8)
    out = norm(torch.from_numpy(x))
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out.mean(dim=(0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(dim=(0, 2, 3), correction=0), 1, atol=1e-4)


def test_statistics_keep_their_digits_where_the_mean_is_large() -> None:
    x = 1e6 + np.random.default_rng(0).normal(0, 1, (1000, 1))
    norm = TargetNorm.fit("standardise", x, 7)
    assert norm.std is not None
    assert float(norm.std) == pytest.approx(x.std(), rel=1e-6)


def test_a_channel_that_never_changes_becomes_zero() -> None:
    x = torch.full((8, 2), 0.1)
    x[:, 1] = torch.arange(8)
    out = TargetNorm.fit("standardise", x)(x)
    np.testing.assert_allclose(out[:, 0], 0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_layernorm_is_per_sample_over_all_its_elements(shape: tuple[int, ...]) -> None:
    x = draw(shape)
    axes = tuple(range(1, len(shape)))
    expected = (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)
    np.testing.assert_allclose(
        TargetNorm.fit("layernorm", x)(torch.from_numpy(x)), expected, atol=1e-6
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_l2_gives_each_sample_its_direction_and_a_mean_square_of_one(
    shape: tuple[int, ...],
) -> None:
    x = draw(shape)
    flat = x.reshape(len(x), -1)
    expected = flat / np.linalg.norm(flat, axis=1, keepdims=True) * np.sqrt(flat.shape[1])
    out = TargetNorm.fit("l2", x)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(out.reshape(len(x), -1), expected, atol=1e-6)
    np.testing.assert_allclose((out.reshape(len(x), -1) ** 2).mean(axis=1), 1, atol=1e-6)


def test_none_changes_nothing_but_the_precision() -> None:
    x = torch.from_numpy(draw((37, 5))).half()
    out = TargetNorm.fit("none", x)(x)
    assert out.dtype == torch.float32
    assert torch.equal(out, x.float())


@pytest.mark.parametrize("kind", target_norm_kinds())
def test_zeros_stay_finite(kind: str) -> None:
    x = torch.zeros(4, 5, 2, 2)
    assert torch.equal(TargetNorm.fit(kind, x)(x), x)


def test_a_norm_can_be_made_again_from_its_tensors() -> None:
    x = torch.from_numpy(draw((37, 5))).float()
    norm = TargetNorm.fit("standardise", x)
    again = TargetNorm("standardise", **norm.state_dict())
    assert torch.equal(again(x), norm(x))


def test_what_is_no_norm_is_an_error() -> None:
    assert target_norm_kinds() == ("none", "standardise", "layernorm", "l2")
    with pytest.raises(UserError, match=r"unknown target_norm 'layer_norm'.*'layernorm'"):
        TargetNorm("layer_norm")
    with pytest.raises(ValueError, match="needs mean and std"):
        TargetNorm("standardise")
    with pytest.raises(ValueError, match="no targets"):
        TargetNorm.fit("standardise", np.empty((0, 5)))
