"""Choosing an adaptor by its name and fitting it between two shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from torch import nn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models.adaptors.alignment import Alignment, make_alignment, require_alignment
from mlfd_tune.core.models.adaptors.base import ADAPTORS, Adaptor, require_adaptor
from mlfd_tune.core.models.adaptors.residual import Residual
from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.levels import EMBEDDING, finest
from mlfd_tune.core.models.norms import NormKind

__all__ = ["adaptor_kinds", "build_adaptor", "check_adaptor"]


def adaptor_kinds() -> tuple[str, ...]:
    """Return the name of every kind of adaptor."""
    return tuple(ADAPTORS)


def check_adaptor(kind: str, levels: Sequence[str], *, residual: bool = False) -> None:
    """Raise unless `kind` is an adaptor that can fuse teachers at the finest of `levels`.

    Raises:
        ModelChoiceError: With the kinds there are and the nearest match.
    """
    _require(kind, spatial=finest(levels) != EMBEDDING, residual=residual)


def build_adaptor(
    kind: str,
    in_shape: Sequence[int],
    out_shape: Sequence[int],
    *,
    norm: NormKind = "batch",
    residual: bool = False,
    alignment: Alignment = "pool",
) -> nn.Module:
    """Return a module that brings features of `in_shape` to `out_shape`.

    Maps that differ in height or width are aligned before the adaptor or after it, whichever leaves
    it the smaller map.

    Args:
        kind: One of `adaptor_kinds`.
        in_shape: ``(C,)`` or ``(C, H, W)`` of one image.
        out_shape: The same, after the adaptor.
        norm: The norm layer of the kinds that have one.
        residual: Whether there is a skip around the adaptor.
        alignment: How maps are brought to another height and width.

    Raises:
        ModelChoiceError: When the kind is unknown or cannot go from one shape to the other.
    """
    spatial = len(in_shape) == 3
    adaptor_kind = _require(kind, spatial=spatial, residual=residual)
    require_alignment(alignment)
    if len(in_shape) != len(out_shape):
        raise ModelChoiceError(
            f"adaptor {kind!r}: cannot turn {_named(in_shape)} into {_named(out_shape)}"
        )
    channels, wanted = in_shape[0], out_shape[0]
    if adaptor_kind.keeps_channels and channels != wanted:
        raise ModelChoiceError(
            f"adaptor {kind!r} keeps the channels: "
            f"cannot turn {_named(in_shape)} into {_named(out_shape)}"
        )
    adaptor: nn.Module = adaptor_kind(channels, wanted, spatial=spatial, norm=norm)
    if residual:
        adaptor = Residual(adaptor, channels, wanted, spatial=spatial)
    if tuple(in_shape[1:]) == tuple(out_shape[1:]):
        return adaptor
    in_size, out_size = (in_shape[1], in_shape[2]), (out_shape[1], out_shape[2])
    if out_size[0] * out_size[1] < in_size[0] * in_size[1]:
        return nn.Sequential(make_alignment(alignment, channels, in_size, out_size), adaptor)
    return nn.Sequential(adaptor, make_alignment(alignment, wanted, in_size, out_size))


def _require(kind: str, *, spatial: bool, residual: bool) -> type[Adaptor]:
    """Return the adaptor called `kind`, if it can be used so."""
    adaptor = require_adaptor(kind)
    if not spatial and not adaptor.takes_vectors:
        raise ModelChoiceError(
            f"adaptor {kind!r} works on maps only, not on an embedding vector "
            f"(allowed there: {_kinds(lambda other: other.takes_vectors)})"
        )
    if residual and not adaptor.takes_residual:
        raise ModelChoiceError(
            f"adaptor {kind!r} leaves the features as they are, so that a residual around it would "
            f"only scale them (allowed with one: {_kinds(lambda other: other.takes_residual)})"
        )
    return adaptor


def _kinds(allowed: Callable[[type[Adaptor]], bool]) -> str:
    found = []
    for name in sorted(ADAPTORS):
        with suppress(UserError):  # of a package that does not work
            if allowed(ADAPTORS[name]):
                found.append(name)
    return ", ".join(found)


def _named(shape: Sequence[int]) -> str:
    return f"a {'map' if len(shape) == 3 else 'vector'} {tuple(shape)}"
