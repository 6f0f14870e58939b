"""Adaptors against plain NumPy statements of what each kind computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf

from mlfd_tune.core.models import adaptor_kinds, build_adaptor

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Given:
    """An adaptor's weights, and how it is used."""

    weights: dict[str, Array]
    norm: str
    training: bool
    tokens: int
    heads: int

    def normed(self, name: str, x: Array, kind: str | None = None) -> Array:
        kind = kind or self.norm
        channels = (1, x.shape[1], *[1] * (x.ndim - 2))
        if kind == "batch" and self.training:
            axes = (0, *range(2, x.ndim))
            x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
        elif kind == "batch":
            mean, variance = (self.weights[f"{name}.running_{what}"] for what in ("mean", "var"))
            x = (x - mean.reshape(channels)) / np.sqrt(variance.reshape(channels) + 1e-5)
        elif kind == "group":
            groups = x.reshape(len(x), x.shape[1] // 16, -1)  # 16 channels each
            mean, variance = groups.mean(2, keepdims=True), groups.var(2, keepdims=True)
            x = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
        else:
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return x * weight.reshape(channels) + bias.reshape(channels)

    def linear(self, name: str, x: Array) -> Array:
        weight = self.weights[f"{name}.weight"]
        mixed = np.einsum("oi,ni...->no...", weight.reshape(weight.shape[:2]), x)
        bias = self.weights.get(f"{name}.bias")
        return mixed if bias is None else mixed + bias.reshape(1, -1, *[1] * (x.ndim - 2))

    def conv3x3(self, name: str, x: Array, *, depthwise: bool = False) -> Array:
        weight = self.weights[f"{name}.weight"]
        if x.ndim == 2:
            return self.linear(name, x)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        height, width = x.shape[2:]
        equation = "i,nihw->nihw" if depthwise else "oi,nihw->nohw"
        total = 0.0
        for row in range(3):
            for column in range(3):
                at = weight[:, 0, row, column] if depthwise else weight[:, :, row, column]
                shifted = padded[:, :, row : row + height, column : column + width]
                total = total + np.einsum(equation, at, shifted)
        bias = self.weights.get(f"{name}.bias")
        return total if bias is None else total + bias.reshape(1, -1, 1, 1)

    def as_tokens(self, x: Array, mix: Callable[[Array], Array]) -> Array:
        """Apply `mix` to each image's tokens ``(T, C)``: positions, or parts of a vector."""
        if x.ndim == 2:
            return np.stack([mix(image.reshape(self.tokens, -1)).reshape(-1) for image in x])
        mixed = [mix(image.reshape(len(image), -1).T).T.reshape(-1, *x.shape[2:]) for image in x]
        return np.stack(mixed)

    def attention(self, name: str, tokens: Array) -> Array:
        query, key, value = np.split(self.linear(f"{name}.query_key_value", tokens), 3, axis=1)
        size = tokens.shape[1] // self.heads
        looked_up = np.empty_like(value)
        for head in range(self.heads):
            here = slice(head * size, (head + 1) * size)
            for at in range(len(tokens)):
                scores = np.array(
                    [query[at, here] @ other / np.sqrt(size) for other in key[:, here]]
                )
                chances = np.exp(scores) / np.exp(scores).sum()
                looked_up[at, here] = chances @ value[:, here]
        return self.linear(f"{name}.project", looked_up)


def gelu(x: Array) -> Array:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def linear(given: Given, x: Array) -> Array:
    return given.linear("project", x)


def pointwise(given: Given, x: Array) -> Array:
    return given.linear("project", given.normed("norm", x))


def conv3x3(given: Given, x: Array) -> Array:
    return given.conv3x3("conv", given.normed("norm", x))


def depthwise_separable(given: Given, x: Array) -> Array:
    filtered = given.conv3x3("depthwise", x, depthwise=True)
    return given.linear("pointwise", gelu(given.normed("norm", filtered)))


def bottleneck(given: Given, x: Array) -> Array:
    narrow = gelu(given.normed("norm1", given.linear("reduce", x)))
    return given.linear("expand", gelu(given.normed("norm2", given.conv3x3("middle", narrow))))


def attention(given: Given, x: Array) -> Array:
    embedded = given.linear("embed.project", given.normed("embed.norm", x))
    return given.as_tokens(embedded, lambda tokens: given.attention("mix", tokens))


def transformer(given: Given, x: Array) -> Array:
    def block(tokens: Array) -> Array:
        normed = given.normed("mix.norm1", tokens, "layer")
        tokens = tokens + given.attention("mix.attention", normed)
        hidden = gelu(given.linear("mix.mlp.0", given.normed("mix.norm2", tokens, "layer")))
        return tokens + given.linear("mix.mlp.2", hidden)

    embedded = given.linear("embed.project", given.normed("embed.norm", x))
    return given.as_tokens(embedded, block)


EQUATIONS: dict[str, Callable[[Given, Array], Array]] = {
    equation.__name__: equation
    for equation in (
        linear,
        pointwise,
        conv3x3,
        depthwise_separable,
        bottleneck,
        attention,
        transformer,
    )
}
MAPS_ONLY = ("conv3x3", "depthwise_separable")

# 48 channels: 6 heads of 8. A vector of 128: 8 tokens of 16, with 2 heads of 8 each.
MAPS = {"in_shape": (32, 3, 4), "out_shape": (48, 3, 4), "tokens": 12, "heads": 6}
VECTORS = {"in_shape": (32,), "out_shape": (128,), "tokens": 8, "heads": 2}


def randomise(adaptor: torch.nn.Module) -> None:
    """Give every weight and running statistic a value that an error in its place would show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in adaptor.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif value.is_floating_point():
                value.normal_(0, 0.4, generator=generator)


def test_every_kind_but_identity_has_its_equation_here() -> None:
    assert {*EQUATIONS, "identity"} <= set(adaptor_kinds())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        (kind, shapes)
        for kind in EQUATIONS
        for shapes in (MAPS, VECTORS)
        if not (shapes is VECTORS and kind in MAPS_ONLY)
    ],
    ids=lambda value: value if isinstance(value, str) else str(value["in_shape"]),
)
def test_each_kind_computes_its_equation(
    kind: str, shapes: dict[str, Any], norm: str, training: bool
) -> None:
    in_shape, out_shape = shapes["in_shape"], shapes["out_shape"]
    with torch.random.fork_rng(devices=[]):
        adaptor = build_adaptor(kind, in_shape, out_shape, norm=norm).double()  # type: ignore[arg-type]
    randomise(adaptor)
    weights = {name: value.numpy().copy() for name, value in adaptor.state_dict().items()}
    given = Given(weights, norm, training, shapes["tokens"], shapes["heads"])
    x = 2 + 3 * torch.randn(5, *in_shape, generator=torch.Generator().manual_seed(1)).double()
    computed = adaptor.train(training)(x).detach().numpy()
    np.testing.assert_allclose(computed, EQUATIONS[kind](given, x.numpy()), atol=1e-9)
