"""Adaptors: blocks that bring one model's features to a common shape.

One file per kind, named as the kind is. A new kind is a subclass of `Adaptor` in a new file, made
known by `@register("its name")` and imported here.
"""

from __future__ import annotations

from mlfd_tune.core.models.adaptors.base import ADAPTORS, Adaptor, register
from mlfd_tune.core.models.adaptors.build import (
    Resize,
    adaptor_kinds,
    build_adaptor,
    check_adaptor,
)
from mlfd_tune.core.models.adaptors.conv3x3 import Conv3x3Adaptor
from mlfd_tune.core.models.adaptors.linear import LinearAdaptor
from mlfd_tune.core.models.adaptors.none import NoAdaptor
from mlfd_tune.core.models.adaptors.pointwise import PointwiseAdaptor

__all__ = [
    "ADAPTORS",
    "Adaptor",
    "Conv3x3Adaptor",
    "LinearAdaptor",
    "NoAdaptor",
    "PointwiseAdaptor",
    "Resize",
    "adaptor_kinds",
    "build_adaptor",
    "check_adaptor",
    "register",
]
