from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mlfd_tune.core.data import DatasetSpec, PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.stages import DatasetStage
from mlfd_tune.core.stages.images import ImageBatches
from mlfd_tune.core.stages.linear_probe import L2, fit_head, fit_linear, linear_head

CPU = torch.device("cpu")


def blobs(count: int = 90, dims: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return overlapping classes whose features have very different scales."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    values = rng.normal(size=(count, dims)) + 1.5 * rng.normal(size=(classes, dims))[labels]
    values = values * np.logspace(-2, 2, dims) + 3
    return torch.from_numpy(values), torch.from_numpy(labels)


@pytest.fixture(scope="module")
def digits(store) -> PackedDataset:
    stage = DatasetStage("one", DatasetSpec(source="digits", train_size=96), 32)
    return PackedDataset(store.get_or_compute(stage).path)


def test_the_fit_is_that_of_scikit_learn_on_standardised_features():
    features, labels = blobs()
    weight, bias = fit_linear(features, labels, 3)
    values = features.numpy()
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    reference = LogisticRegression(C=1 / L2, tol=1e-10, max_iter=10_000)
    reference.fit(standard, labels.numpy())
    logits = values @ weight.numpy().T + bias.numpy()
    expected = reference.decision_function(standard)
    # The bias is not penalised, so logits are known up to a constant for each image.
    np.testing.assert_allclose(
        logits - logits.mean(axis=1, keepdims=True),
        expected - expected.mean(axis=1, keepdims=True),
        atol=1e-4,
    )


def test_at_the_fit_the_gradient_of_the_penalised_loss_is_zero():
    features, labels = blobs()
    weight, bias = fit_linear(features, labels, 3)
    values, spread = features.numpy(), features.numpy().std(axis=0)
    standard = (values - values.mean(axis=0)) / spread
    logits = values @ weight.numpy().T + bias.numpy()
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    error = p - np.eye(3)[labels.numpy()]
    gradient = error.T @ standard + L2 * weight.numpy() * spread
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    np.testing.assert_allclose(error.sum(axis=0), 0, atol=1e-4)


def test_a_feature_that_never_changes_is_left_out():
    features, labels = blobs()
    constant = torch.full((len(features), 1), 0.7, dtype=torch.float64)
    weight, bias = fit_linear(torch.cat([features, constant], dim=1), labels, 3)
    without, _ = fit_linear(features, labels, 3)
    assert torch.isfinite(bias).all()
    assert torch.equal(weight[:, -1], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(weight[:, :-1], without)


def test_a_fitted_head_leaves_the_network_below_it_as_it_is_and_draws_nothing(digits):
    model = Backbone("test_resnet", 10, 32).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    fit_head(model, ImageBatches(digits, "train", CPU))
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"model.fc.weight", "model.fc.bias"}


@pytest.mark.parametrize("arch", ["test_vit", "test_convnext", "test_efficientnet", "test_nfnet"])
def test_architectures_whose_classifier_is_one_linear_layer_learn_the_images(digits, arch):
    torch.manual_seed(0)
    model = Backbone(arch, 10, 32).eval()
    batches = ImageBatches(digits, "train", CPU)
    fit_head(model, batches)
    with torch.inference_mode():
        (images, labels), *_ = batches.clean()
        accuracy = (model(images)[0].argmax(dim=1) == labels).float().mean()
    assert accuracy > 0.5


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        ("deit_tiny_distilled_patch16_224", "is 2 layers"),
        ("levit_conv_128s", "is 2 layers"),
        ("dla34", "is a Conv2d"),
    ],
)
def test_other_classifiers_are_refused_in_one_line(arch, reason):
    with torch.device("meta"):
        model = Backbone(arch, 10, 32 if arch == "dla34" else 224)
    with pytest.raises(UserError, match=f"'{arch}': a linear probe .* its classifier {reason}"):
        linear_head(model)


def test_a_linear_layer_that_alone_does_not_make_the_logits_is_refused(digits):
    """VOLO adds to its logits what a second classifier says of the patches."""
    with torch.device("meta"):  # timm's initialisation of 26 million weights takes seconds
        model = Backbone("volo_d1_224", 10, 32).eval()
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.rand(value.shape) / 10)
    batches = ImageBatches(digits, "train", CPU)
    batches.labels = batches.labels[:4]
    with pytest.raises(UserError, match="is not all that stands between embedding and logits"):
        fit_head(model, batches)
