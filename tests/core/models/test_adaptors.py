"""Adaptors: every kind, between every pair of shapes it can bridge."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import (
    ADAPTORS,
    ALIGNMENTS,
    Adaptor,
    ModelChoiceError,
    adaptor_kinds,
    build_adaptor,
    check_adaptor,
)
from mlfd_tune.core.models.norms import make_norm

MAPS_ONLY = ("conv3x3", "depthwise_separable")
ANYWHERE = ("linear", "pointwise", "bottleneck", "attention", "transformer")
TRAINED = (*ANYWHERE, *MAPS_ONLY)
NORMS = ("batch", "group", "layer")
SIZES = ((1, 1), (2, 2), (4, 4), (5, 2), (3, 4), (1, 7))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(*args: Any, **settings: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_adaptor(*args, **settings)


def test_the_registry_holds_every_kind() -> None:
    built_in = {name for name in adaptor_kinds() if ADAPTORS.origin(name) is None}
    assert built_in == {"identity", *TRAINED}
    assert ADAPTORS.group == "mlfd_tune.adaptors"
    for kind in built_in:
        assert ADAPTORS[kind].takes_vectors == (kind not in MAPS_ONLY)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("kind", TRAINED)
def test_maps_come_out_in_the_shape_asked_for(kind: str, alignment: str) -> None:
    for before, after in product(SIZES, SIZES):
        adaptor = build(kind, (20, *before), (17, *after), alignment=alignment)
        assert tuple(adaptor(draw(2, 20, *before)).shape) == (2, 17, *after), (before, after)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_maps_that_keep_their_channels_come_out_in_the_size_asked_for(alignment: str) -> None:
    for before, after in product(SIZES, SIZES):
        adaptor = build("identity", (5, *before), (5, *after), alignment=alignment)
        assert tuple(adaptor(draw(2, 5, *before)).shape) == (2, 5, *after), (before, after)


@pytest.mark.parametrize("kind", ANYWHERE)
def test_vectors_come_out_in_the_shape_asked_for(kind: str) -> None:
    for before, after in product((1, 8, 48, 101), repeat=2):
        assert tuple(build(kind, (before,), (after,))(draw(3, before)).shape) == (3, after)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", TRAINED)
def test_gradients_reach_every_parameter(kind: str, norm: str, residual: bool) -> None:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((24, 4, 4), (32, 4, 4)),
        ((24, 5, 6), (32, 2, 2)),
        ((24, 2, 2), (32, 3, 3)),
    ]
    if kind in ANYWHERE:
        shapes.append(((24,), (32,)))
    for before, after in shapes:
        adaptor = build(
            kind, before, after, norm=norm, residual=residual, alignment="strided_conv"
        ).train()
        (adaptor(draw(3, *before)) * draw(3, *after, seed=1)).sum().backward()
        for name, parameter in adaptor.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", TRAINED)
def test_one_image_with_1x1_maps_can_be_trained_on_without_batch_norm(kind: str, norm: str) -> None:
    adaptor = build(kind, (24, 1, 1), (32, 1, 1), norm=norm).train()
    one, other = (adaptor(draw(1, 24, 1, 1, seed=seed)) for seed in (1, 2))
    assert (one - other).abs().max() > 1e-3  # the norm has not silenced them


@pytest.mark.parametrize("kind", TRAINED)
def test_one_image_with_larger_maps_can_be_trained_on_with_batch_norm(kind: str) -> None:
    assert torch.isfinite(build(kind, (24, 2, 2), (32, 2, 2)).train()(draw(1, 24, 2, 2))).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", TRAINED)
def test_in_evaluation_images_do_not_see_each_other(kind: str, norm: str) -> None:
    adaptor = build(kind, (24, 3, 2), (32, 3, 2), norm=norm).eval()
    features = draw(4, 24, 3, 2)
    torch.testing.assert_close(adaptor(features)[:1], adaptor(features[:1]), atol=1e-5, rtol=1e-5)


def test_pointwise_standardises_each_channel_before_it_mixes_them() -> None:
    adaptor = build("pointwise", (8, 3, 3), (5, 3, 3)).train()
    x = draw(4, 8, 3, 3)
    scales = torch.logspace(-2, 2, 8).view(1, 8, 1, 1)
    # The small channels feel the norm's epsilon of 1e-5 a little.
    torch.testing.assert_close(adaptor(x * scales + 3), adaptor(x), atol=0.1, rtol=0)


def test_identity_changes_nothing_but_the_size_of_maps() -> None:
    x = draw(2, 8, 4, 4)
    assert torch.equal(build("identity", (8, 4, 4), (8, 4, 4))(x), x)
    halved = build("identity", (8, 4, 4), (8, 2, 2))(x)
    np.testing.assert_allclose(halved, x.reshape(2, 8, 2, 2, 2, 2).mean(dim=(3, 5)), atol=1e-6)


@pytest.mark.parametrize("kind", ["attention", "transformer"])
def test_attention_spreads_a_change_at_one_position_to_all_and_knows_no_order(kind: str) -> None:
    adaptor = build(kind, (24, 2, 3), (32, 2, 3)).eval()
    features = draw(1, 24, 2, 3)
    changed = features.clone()
    changed[..., 0, 0] += 1
    moved = (adaptor(changed) - adaptor(features)).abs().amax(dim=1)
    assert (moved > 1e-6).all()
    turned = adaptor(features.flip(2, 3)).flip(2, 3)
    torch.testing.assert_close(turned, adaptor(features), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("kind", ["identity", "conv3x3"])
def test_the_adaptor_is_given_the_smaller_map(kind: str, alignment: str) -> None:
    for before, after in product(SIZES, SIZES):
        module = build(kind, (5, *before), (5, *after), alignment=alignment)
        seen: list[tuple[int, ...]] = []
        for part in module.modules():
            if isinstance(part, Adaptor):
                part.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0].shape[2:]))
        module(draw(2, 5, *before))
        assert [height * width for height, width in seen] == [
            min(before[0] * before[1], after[0] * after[1])
        ]


@pytest.mark.parametrize("kind", TRAINED)
def test_a_residual_adds_what_goes_in_where_the_channels_agree(kind: str) -> None:
    shape = (24, 3, 2)
    plain, residual = build(kind, shape, shape), build(kind, shape, shape, residual=True)
    parts = dict(residual.named_parameters())
    assert len(parts) == len(list(plain.parameters()))
    x = draw(4, *shape)
    torch.testing.assert_close(residual(x), plain(x) + x)


@pytest.mark.parametrize("kind", TRAINED)
def test_a_residual_adds_a_linear_map_of_what_goes_in_where_the_channels_differ(kind: str) -> None:
    plain = build(kind, (24, 4, 2), (32, 2, 1))
    residual = build(kind, (24, 4, 2), (32, 2, 1), residual=True)
    (name,) = {name for name, _ in residual.named_parameters() if ".skip." in name}
    skip = dict(residual.named_parameters())[name].detach().numpy()[:, :, 0, 0]
    x = draw(4, 24, 4, 2)
    pooled = x.numpy().reshape(4, 24, 2, 2, 1, 2).mean(axis=(3, 5))
    expected = plain(x).detach().numpy() + np.einsum("oi,nihw->nohw", skip, pooled)
    np.testing.assert_allclose(residual(x).detach().numpy(), expected, atol=1e-5)


def test_vectors_have_residuals_too() -> None:
    residual = build("linear", (8,), (5,), residual=True)
    x = draw(3, 8)
    weights = {name: parameter.detach() for name, parameter in residual.named_parameters()}
    both = weights["block.project.weight"] + weights["skip.weight"]
    torch.testing.assert_close(residual(x), x @ both.T + weights["block.project.bias"])


@pytest.mark.parametrize(
    ("args", "settings", "expected"),
    [
        (
            ("conv3x3", (8,), (5,)),
            {},
            "maps only.*allowed there: attention, bottleneck, identity, linear, pointwise, trans",
        ),
        (("depthwise_separable", (8,), (5,)), {}, "maps only"),
        (("linear", (8,), (5, 2, 2)), {}, r"cannot turn a vector \(8,\) into a map \(5, 2, 2\)"),
        (("linear", (8, 2, 2), (5,)), {}, "cannot turn a map"),
        (("identity", (8,), (5,)), {}, "'identity' keeps the channels"),
        (
            ("identity", (8,), (8,)),
            {"residual": True},
            "residual around it would only scale them.*allowed with one: attention, bottleneck",
        ),
        (("linaer", (8,), (5,)), {}, "unknown adaptor 'linaer'.*did you mean 'linear'"),
        (
            ("linear", (8,), (5,)),
            {"alignment": "strided"},
            r"unknown alignment 'strided' \(allowed: interpolate, pool, strided_conv; did you mean",
        ),
        (
            ("pointwise", (8,), (5,)),
            {"norm": "bach"},
            r"unknown norm 'bach' \(allowed: batch, group, layer; did you mean 'batch'",
        ),
    ],
)
def test_what_an_adaptor_cannot_do_is_an_error(
    args: Any, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ModelChoiceError, match=expected):
        build_adaptor(*args, **settings)


def test_an_adaptor_is_checked_against_the_level_it_fuses() -> None:
    check_adaptor("conv3x3", ("embedding", "stride32"), residual=True)
    check_adaptor("linear", ("embedding",))
    with pytest.raises(UserError, match="maps only"):
        check_adaptor("conv3x3", ("embedding",))
    with pytest.raises(ValueError, match="did you mean 'pointwise'"):
        check_adaptor("pointwse", ("embedding", "stride32"))
    with pytest.raises(UserError, match="only scale them"):
        check_adaptor("identity", ("embedding",), residual=True)


@pytest.mark.parametrize("channels", [1, 7, 16, 17, 96, 100, 509, 3840])
def test_group_norm_fits_any_width_and_never_silences_a_1x1_map(channels: int) -> None:
    norm = make_norm("group", channels, spatial=True)
    assert isinstance(norm, nn.GroupNorm)
    assert channels // norm.num_groups >= min(channels, 16)
    if channels > 1:
        assert norm(draw(2, channels, 1, 1)).abs().max() > 0.1
