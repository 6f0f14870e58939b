"""What an adaptor is, and the registry of their kinds."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.norms import NormKind
from mlfd_tune.core.registry import Registry

__all__ = ["ADAPTORS", "Adaptor", "register", "require_adaptor"]


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

    takes_residual: ClassVar[bool] = True
    """Whether a skip around the kind makes another function of it."""

    def __init__(
        self, in_channels: int, out_channels: int, *, spatial: bool, norm: NormKind = "batch"
    ) -> None:
        super().__init__()


ADAPTORS: Registry[type[Adaptor]] = Registry(
    "adaptor",
    "mlfd_tune.adaptors",
    lambda kind: isinstance(kind, type) and issubclass(kind, Adaptor),
)
"""Every kind of adaptor by its name."""

register = ADAPTORS.register
"""Return a class decorator that makes an adaptor known by a name."""


def require_adaptor(kind: str) -> type[Adaptor]:
    """Return the adaptor called `kind`.

    Raises:
        ModelChoiceError: There is none, with the kinds there are and the nearest match; or the
            package it comes from does not work.
    """
    try:
        return ADAPTORS.require(kind)
    except UserError as error:
        raise ModelChoiceError(*error.problems) from error
