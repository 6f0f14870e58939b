"""Adaptors: every kind, between every pair of shapes it can bridge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import ADAPTORS, adaptor_kinds, build_adaptor, check_adaptor
from mlfd_tune.core.models.norms import make_norm


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_registry_holds_every_kind() -> None:
    assert set(adaptor_kinds()) == {"linear", "pointwise", "conv3x3", "none"} == set(ADAPTORS)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("kind", ["linear", "pointwise", "conv3x3"])
@pytest.mark.parametrize(
    ("in_shape", "out_shape"),
    [
        ((8, 4, 4), (5, 4, 4)),
        ((8, 4, 4), (5, 2, 2)),
        ((8, 1, 1), (5, 3, 3)),
        ((8, 5, 2), (5, 3, 4)),
    ],
)
def test_maps_come_out_in_the_shape_asked_for(
    kind: str, norm: str, in_shape: tuple[int, ...], out_shape: tuple[int, ...]
) -> None:
    adaptor = build_adaptor(kind, in_shape, out_shape, norm=norm)  # type: ignore[arg-type]
    assert tuple(adaptor(draw(3, *in_shape)).shape) == (3, *out_shape)


@pytest.mark.parametrize("kind", ["linear", "pointwise"])
def test_vectors_come_out_in_the_shape_asked_for(kind: str) -> None:
    assert tuple(build_adaptor(kind, (8,), (5,))(draw(3, 8)).shape) == (3, 5)


def test_linear_is_one_matrix_with_bias_at_every_position() -> None:
    adaptor = build_adaptor("linear", (8, 3, 3), (5, 3, 3))
    weight, bias = (parameter.detach().numpy() for parameter in adaptor.parameters())
    x = draw(2, 8, 3, 3)
    expected = np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x.numpy()) + bias[:, None, None]
    np.testing.assert_allclose(adaptor(x).detach().numpy(), expected, atol=1e-6)


def test_pointwise_standardises_each_channel_before_it_mixes_them() -> None:
    adaptor = build_adaptor("pointwise", (8, 3, 3), (5, 3, 3)).train()
    x = draw(4, 8, 3, 3)
    scales = torch.logspace(-2, 2, 8).view(1, 8, 1, 1)
    # The small channels feel the norm's epsilon of 1e-5 a little.
    torch.testing.assert_close(adaptor(x * scales + 3), adaptor(x), atol=0.1, rtol=0)


def test_none_changes_nothing_but_the_size_of_maps() -> None:
    x = draw(2, 8, 4, 4)
    assert torch.equal(build_adaptor("none", (8, 4, 4), (8, 4, 4))(x), x)
    halved = build_adaptor("none", (8, 4, 4), (8, 2, 2))(x)
    np.testing.assert_allclose(halved, x.reshape(2, 8, 2, 2, 2, 2).mean(dim=(3, 5)), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "in_shape", "out_shape", "expected"),
    [
        ("conv3x3", (8,), (5,), r"maps only.*allowed there: linear, none, pointwise"),
        ("linear", (8,), (5, 2, 2), r"cannot turn a vector \(8,\) into a map \(5, 2, 2\)"),
        ("linear", (8, 2, 2), (5,), "cannot turn a map"),
        ("none", (8,), (5,), "'none' keeps the channels"),
        ("linaer", (8,), (5,), "unknown adaptor 'linaer'.*did you mean 'linear'"),
    ],
)
def test_what_an_adaptor_cannot_do_is_an_error(
    kind: str, in_shape: tuple[int, ...], out_shape: tuple[int, ...], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        build_adaptor(kind, in_shape, out_shape)


def test_an_adaptor_is_checked_against_the_level_it_fuses() -> None:
    check_adaptor("conv3x3", ("embedding", "stride32"))
    check_adaptor("linear", ("embedding",))
    with pytest.raises(UserError, match="maps only"):
        check_adaptor("conv3x3", ("embedding",))
    with pytest.raises(ValueError, match="did you mean 'pointwise'"):
        check_adaptor("pointwse", ("embedding", "stride32"))


@pytest.mark.parametrize("channels", [1, 7, 16, 17, 96, 100, 509, 3840])
def test_group_norm_fits_any_width_and_never_silences_a_1x1_map(channels: int) -> None:
    norm = make_norm("group", channels, spatial=True)
    assert isinstance(norm, nn.GroupNorm)
    assert channels // norm.num_groups >= min(channels, 16)
    if channels > 1:
        assert norm(draw(2, channels, 1, 1)).abs().max() > 0.1
