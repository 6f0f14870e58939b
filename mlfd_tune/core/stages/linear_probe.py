"""The linear probe: a classifier fitted on a frozen network's embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.models.timm_models import classifiers
from mlfd_tune.core.stages.images import ImageBatches

__all__ = ["L2", "fit_head", "fit_linear", "linear_head"]

L2 = 1.0
"""Strength of the penalty: the objective is the sum of the CE over all images plus L2/2 times the
squared norm of the weights on standardised features (scikit-learn's ``C`` is 1/L2)."""

_ITERATIONS = 500
_GRADIENT = 1e-6  # of the mean CE; the largest component left when the fit ends


def fit_head(model: Backbone, batches: ImageBatches) -> None:
    """Fit the network's classifier on its embeddings of clean images, and leave all else as it is.

    Args:
        model: A network in evaluation mode, whose classifier has an output for every class.
        batches: The images and labels to fit on.

    Raises:
        UserError: The classifier is not one linear layer on the embedding.
    """
    head = linear_head(model)
    embeddings, labels = _embeddings(model, batches, head)
    weight, bias = fit_linear(embeddings, labels, head.out_features)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def linear_head(model: Backbone) -> nn.Linear:
    """Return the classifier.

    Raises:
        UserError: It is not one linear layer with a bias.
    """
    layers = classifiers(model.model)
    if len(layers) == 1 and isinstance(layers[0], nn.Linear) and layers[0].bias is not None:
        return layers[0]
    what = f"{len(layers)} layers" if len(layers) > 1 else f"a {type(layers[0]).__name__}"
    raise _no_probe(model.arch, f"is {what}")


def fit_linear(
    features: Tensor, labels: Tensor, num_classes: int, penalty: float = L2
) -> tuple[Tensor, Tensor]:
    """Fit a multinomial logistic regression with an L2 penalty on standardised features.

    By L-BFGS over all samples from weights of zero, so nothing is drawn. Standardising makes the
    penalty mean the same for every network and is folded into what is returned.

    Args:
        features: (N, C).
        labels: (N,) int64.
        num_classes: K.
        penalty: Strength of the L2 penalty, in place of `L2`.

    Returns:
        Weight (K, C) and bias (K,), float64, for features as they were given.
    """
    values = features.double()
    mean, spread = values.mean(dim=0), values.std(dim=0, correction=0)
    scale = torch.where(spread > 1e-6 * mean.abs().clamp(min=1.0), spread, torch.ones_like(spread))
    values = (values - mean) / scale
    weight = torch.zeros(
        num_classes, values.shape[1], dtype=values.dtype, device=values.device, requires_grad=True
    )
    bias = torch.zeros(num_classes, dtype=values.dtype, device=values.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_ITERATIONS,
        tolerance_grad=_GRADIENT,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(values, weight, bias), labels)
        loss = loss + penalty / (2 * len(values)) * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        unscaled = weight / scale
        return unscaled, bias - unscaled @ mean


@torch.no_grad()  # not in inference mode: its tensors cannot be fitted on
def _embeddings(model: Backbone, batches: ImageBatches, head: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return the embeddings (N, C) and labels (N,) of all images."""
    embeddings: list[Tensor] = []
    labels: list[Tensor] = []
    for images, of_images in batches.clean():
        logits, features = model(images, levels=(EMBEDDING,))
        embedding = features[EMBEDDING]
        if not embeddings and not _is_head_of(head, embedding, logits):
            raise _no_probe(model.arch, "is not all that stands between embedding and logits")
        embeddings.append(embedding)
        labels.append(of_images)
    return torch.cat(embeddings), torch.cat(labels)


def _is_head_of(head: nn.Linear, embedding: Tensor, logits: Tensor) -> bool:
    """Tell whether the layer alone turns the embedding (N, C) into the logits (N, K)."""
    if embedding.shape[1:] != (head.in_features,):
        return False
    return torch.allclose(head(embedding), logits, rtol=1e-3, atol=1e-4)


def _no_probe(arch: str, reason: str) -> UserError:
    return UserError(
        f"architecture {arch!r}: a linear probe needs one linear classifier, and its classifier "
        f"{reason}; give weights whose classifier has the dataset's classes, or set fine_tune: true"
    )
