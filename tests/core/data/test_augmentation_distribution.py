"""Batched augmentation against torchvision's transforms of one image: the same distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, ks_2samp
from torchvision.transforms import v2

from mlfd_tune.core.data import AugmentSpec, augment, to_float

N = 1000
SIDE = 32
P = 1e-3


def slopes() -> torch.Tensor:
    """Return an image (3, S, S) uint8 whose first two channels say column and row."""
    steps = torch.arange(SIDE, dtype=torch.uint8) * 7
    columns, rows = steps.expand(SIDE, SIDE), steps[:, None].expand(SIDE, SIDE)
    return torch.stack([columns, rows, columns])


def ours(image: torch.Tensor, **strengths: object) -> np.ndarray:
    images = image.expand(N, -1, -1, -1)
    generator = torch.Generator().manual_seed(3)
    return augment(images, AugmentSpec(**strengths), generator).double().numpy()


def torchvisions(image: torch.Tensor, transform: v2.Transform) -> np.ndarray:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return np.stack([transform(to_float(image)).double().numpy() for _ in range(N)])


def assert_counts_alike(one: np.ndarray, other: np.ndarray) -> None:
    """Compare how often each whole number comes."""
    low, high = min(one.min(), other.min()), max(one.max(), other.max())
    counts = np.array([np.bincount(each - low, minlength=high - low + 1) for each in (one, other)])
    counts = counts[:, counts.sum(axis=0) >= 10]
    assert counts.sum() > 1.95 * N
    assert chi2_contingency(counts).pvalue > P


def centre(images: np.ndarray) -> np.ndarray:
    """Return (N, 2): which column and row of the image is seen at its centre."""
    return np.rint(images[:, :2, SIDE // 2, SIDE // 2] * 255 / 7).astype(int)


def affine_maps(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the linear part (N, 2, 2) and the offset (N, 2) from output to source, in pixels."""
    inner = slice(10, 22)  # far from the edge, which is filled in different ways
    rows, columns = np.mgrid[inner, inner] - (SIDE - 1) / 2
    design = np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)], axis=1)
    seen = images[:, :2, inner, inner].reshape(N, 2, -1) * 255 / 7 - (SIDE - 1) / 2
    found = seen @ np.linalg.pinv(design).T
    return found[..., :2], found[..., 2]


def test_crops_are_those_of_torchvision_with_edge_padding():
    crop = v2.RandomCrop(SIDE, padding=4, padding_mode="edge")
    one = centre(ours(slopes(), crop_padding=4))
    other = centre(torchvisions(slopes(), crop))
    for axis in (0, 1):
        assert_counts_alike(one[:, axis], other[:, axis])
        assert len(np.unique(one[:, axis])) == 9
    assert_counts_alike(one @ [9, 1], other @ [9, 1])  # of all 81 places, the usual ones


def test_flips_come_as_often():
    one = centre(ours(slopes(), flip=True))
    other = centre(torchvisions(slopes(), v2.RandomHorizontalFlip()))
    assert_counts_alike(one[:, 0], other[:, 0])
    assert len(np.unique(one[:, 1])) == 1


def test_rotation_scale_and_shift_are_distributed_as_torchvisions():
    strengths = {"rotate": 10.0, "scale": 0.1, "translate": 0.1}
    transform = v2.RandomAffine(
        10, (0.1, 0.1), (0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR
    )
    linear, shift = affine_maps(ours(slopes(), **strengths))
    theirs, moved = affine_maps(torchvisions(slopes(), transform))
    for read in (
        lambda maps: np.arctan2(maps[:, 1, 0], maps[:, 0, 0]),  # angle
        lambda maps: np.sqrt(np.linalg.det(maps)),  # one over the scale
    ):
        assert ks_2samp(read(linear), read(theirs)).pvalue > P
    # We shift what is seen; torchvision shifts what it has turned, by whole pixels.
    drawn = -np.linalg.solve(theirs, moved[..., None])[..., 0]
    for axis in (0, 1):
        whole = np.rint(drawn[:, axis])
        assert np.abs(drawn[:, axis] - whole).max() < 0.2
        assert_counts_alike(np.rint(shift[:, axis]).astype(int), whole.astype(int))


@pytest.mark.parametrize("strengths", [(0.2, 0.0), (0.0, 0.3), (0.2, 0.3)], ids=str)
def test_brightness_and_contrast_are_distributed_as_torchvisions(strengths):
    brightness, contrast = strengths
    generator = torch.Generator().manual_seed(0)
    grey = torch.randint(90, 150, (1, SIDE, SIDE), generator=generator).to(torch.uint8)
    image = grey.expand(3, -1, -1)  # grey, and far from black and white, where both cut off
    before = to_float(image).double().numpy()
    one = ours(image, brightness=brightness, contrast=contrast)
    other = torchvisions(image, v2.ColorJitter(brightness=brightness, contrast=contrast))
    for strength, read in (
        (brightness, lambda images: images.mean(axis=(1, 2, 3)) / before.mean()),
        (
            contrast,
            lambda images: (
                images.std(axis=(1, 2, 3))
                / images.mean(axis=(1, 2, 3))
                * before.mean()
                / before.std()
            ),
        ),
    ):
        if strength:
            assert ks_2samp(read(one), read(other)).pvalue > P
        else:
            np.testing.assert_allclose(read(one), 1, atol=1e-3)
