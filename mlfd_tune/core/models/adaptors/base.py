"""What an adaptor is, and the registry of their kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

from torch import nn

from mlfd_tune.core.models.norms import NormKind

__all__ = ["ADAPTORS", "Adaptor", "register"]


class Adaptor(nn.Module):
    """A block that brings features of one channel count to another, at the same height and width.

    A kind is a subclass with this constructor, registered by `register`.

    Args:
        in_channels: Channels it takes.
        out_channels: Channels it gives.
        spatial: Whether it is for maps ``(N, C, H, W)`` rather than vectors ``(N, C)``.
        norm: The norm layer of the kinds that have one.
    """

    takes_vectors: ClassVar[bool] = True
    """Whether the kind works on vectors as well as on maps."""

    keeps_channels: ClassVar[bool] = False
    """Whether the kind gives the channels it takes, so that it cannot bridge two counts."""

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__()


ADAPTORS: dict[str, type[Adaptor]] = {}
"""Every kind of adaptor by its name."""

_Kind = TypeVar("_Kind", bound=type[Adaptor])


def register(name: str) -> Callable[[_Kind], _Kind]:
    """Return a class decorator that makes an adaptor known as `name`."""

    def add(kind: _Kind) -> _Kind:
        ADAPTORS[name] = kind
        return kind

    return add
