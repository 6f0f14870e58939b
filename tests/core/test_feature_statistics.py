"""Running statistics against a plain NumPy moving average."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from mlfd_tune.core.feature_statistics import FeatureStandardiser, momentum_at

MOMENTA = [1.0, 0.7, 0.25, 0.001]


def batches(*shape: int) -> list[torch.Tensor]:
    """Return batches whose channels differ in mean and spread."""
    generator = torch.Generator().manual_seed(0)
    channels = torch.arange(1.0, shape[-1] + 1)
    return [
        torch.randn(shape, generator=generator) * channels + 3 * channels + step
        for step, _ in enumerate(MOMENTA)
    ]


@pytest.mark.parametrize("shape", [(6, 5), (6, 4, 5)], ids=["vectors", "tokens"])
def test_mean_and_spread_are_moving_averages_of_each_channel(shape):
    standardiser = FeatureStandardiser(5)
    mean, std = np.zeros(5), np.ones(5)
    for batch, momentum in zip(batches(*shape), MOMENTA, strict=True):
        standardiser.update(batch, momentum)
        values = batch.double().numpy().reshape(-1, 5)
        centred = values - values.mean(axis=0)
        mean = (1 - momentum) * mean + momentum * values.mean(axis=0)
        std = (1 - momentum) * std + momentum * np.sqrt((centred**2).mean(axis=0))
        expected = (batch.double().numpy() - mean) / std
        np.testing.assert_allclose(standardiser(batch).numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(standardiser.mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(standardiser.std.numpy(), std, rtol=1e-5)


def test_the_first_batch_of_a_training_sets_the_statistics():
    standardiser = FeatureStandardiser(5)
    batch = batches(50, 4, 5)[2]
    standardiser.update(batch, momentum_at(0.0))
    standardised = standardiser(batch).flatten(0, 1)
    np.testing.assert_allclose(standardised.mean(dim=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(dim=0, correction=0), 1, rtol=1e-5)


def test_standardising_moves_no_statistic():
    standardiser = FeatureStandardiser(5)
    standardiser.update(batches(6, 5)[0], 1.0)
    before = {name: value.clone() for name, value in standardiser.state_dict().items()}
    standardiser(batches(6, 5)[1])
    assert before.keys() == {"mean", "std"}
    assert all(
        torch.equal(value, before[name]) for name, value in standardiser.state_dict().items()
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 4000.0])
def test_a_channel_that_never_changes_becomes_zero(value):
    standardiser = FeatureStandardiser(2)
    batch = torch.stack([torch.full((50,), value), torch.linspace(-1, 1, 50)], dim=1)
    for momentum in MOMENTA:
        standardiser.update(batch, momentum)
    standardised = standardiser(batch)
    np.testing.assert_allclose(standardised[:, 0], 0, atol=1e-2)
    assert standardised[:, 1].std() == pytest.approx(1, rel=0.05)


def test_half_precision_features_are_averaged_in_single_precision():
    standardiser = FeatureStandardiser(1)
    features = torch.full((100_000, 1), 3.0, dtype=torch.float16)
    features[::2] = 5.0
    standardiser.update(features, 1.0)
    assert standardiser.mean.item() == pytest.approx(4.0, rel=1e-5)
    assert standardiser.std.item() == pytest.approx(1.0, rel=1e-5)
    assert standardiser(features).dtype == torch.float32


def test_the_momentum_falls_along_a_cosine_from_one_to_its_end():
    progress = np.linspace(0, 1, 21)
    momenta = [momentum_at(float(share)) for share in progress]
    assert momenta[0] == 1.0
    assert momenta[-1] == pytest.approx(0.001)
    assert momenta[10] == pytest.approx((1 + 0.001) / 2)
    assert all(later < earlier for earlier, later in pairwise(momenta))
    assert momentum_at(1.0, end=0.2) == pytest.approx(0.2)
    expected = 0.001 + 0.999 * np.cos(progress * np.pi / 2) ** 2
    np.testing.assert_allclose(momenta, expected, rtol=1e-9)
