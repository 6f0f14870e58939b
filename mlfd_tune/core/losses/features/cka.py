"""`cka`: how alike the similarities between the batch's samples are."""

from __future__ import annotations

from torch import Tensor

from mlfd_tune.core.losses.directions import cosine_similarity
from mlfd_tune.core.losses.features.base import FEATURE_LOSSES, FeatureLoss
from mlfd_tune.core.losses.features.samples import centred_samples

__all__ = ["CKA"]


@FEATURE_LOSSES.register("cka")
class CKA(FeatureLoss):
    """One less the linear centred kernel alignment of the batch.

    Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, section
    3: the cosine between the two matrices of inner products of the centred samples. Samples are
    flattened, so a map may be compared with a vector. Orthogonal maps and a common scale of the
    features leave it as it is.

    It is an estimate from the batch, and small batches of many features look more alike than they
    are. Where one side has no variance, as in a batch of 1, the loss is 1 without gradient.
    """

    compares = "samples"

    def compute(self, student: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``(N, ...)`` against a target ``(N, ...)``."""
        return 1 - cosine_similarity(_similarities(student), _similarities(target), dim=0)


def _similarities(features: Tensor) -> Tensor:
    """Return the inner products of all pairs of samples, ``(N * N,)``."""
    samples = centred_samples(features)
    return (samples @ samples.T).flatten()
