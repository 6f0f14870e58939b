from __future__ import annotations

import numpy as np
import pytest
import torch

from mlfd_tune.core.channel_moments import ChannelMoments


@pytest.mark.parametrize("shape", [(37, 5), (37, 5, 2, 3)])
def test_moments_of_batches_are_those_of_the_whole(shape):
    values = np.random.default_rng(0).normal(1000, 0.1, shape)
    moments = ChannelMoments()
    for first in range(0, 37, 10):
        moments.update(torch.from_numpy(values[first : first + 10]))
    axes = (0, *range(2, values.ndim))
    np.testing.assert_allclose(moments.mean.numpy(), values.mean(axis=axes), rtol=1e-12)
    np.testing.assert_allclose(moments.variance.numpy(), values.var(axis=axes), rtol=1e-9)


def test_moments_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="no values"):
        _ = ChannelMoments().variance
