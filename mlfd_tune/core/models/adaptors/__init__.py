"""Adaptors: blocks that bring one model's features to a common shape.

One file per kind, named as the kind is. A new kind is a subclass of `Adaptor`: here, in a new file
that `@register("its name")` makes known and that is imported below; in another package, by an entry
point of the group ``mlfd_tune.adaptors``. `alignment` holds what brings maps to one height and
width, `residual` the skip around an adaptor, and `build` puts them together between two shapes.
"""

from __future__ import annotations

from mlfd_tune.core.models.adaptors.alignment import ALIGNMENTS, Alignment, make_alignment
from mlfd_tune.core.models.adaptors.attention import AttentionAdaptor
from mlfd_tune.core.models.adaptors.base import ADAPTORS, Adaptor, register, require_adaptor
from mlfd_tune.core.models.adaptors.bottleneck import BottleneckAdaptor
from mlfd_tune.core.models.adaptors.build import adaptor_kinds, build_adaptor, check_adaptor
from mlfd_tune.core.models.adaptors.conv3x3 import Conv3x3Adaptor
from mlfd_tune.core.models.adaptors.depthwise_separable import DepthwiseSeparableAdaptor
from mlfd_tune.core.models.adaptors.identity import IdentityAdaptor
from mlfd_tune.core.models.adaptors.linear import LinearAdaptor
from mlfd_tune.core.models.adaptors.pointwise import PointwiseAdaptor
from mlfd_tune.core.models.adaptors.transformer import TransformerAdaptor

__all__ = [
    "ADAPTORS",
    "ALIGNMENTS",
    "Adaptor",
    "Alignment",
    "AttentionAdaptor",
    "BottleneckAdaptor",
    "Conv3x3Adaptor",
    "DepthwiseSeparableAdaptor",
    "IdentityAdaptor",
    "LinearAdaptor",
    "PointwiseAdaptor",
    "TransformerAdaptor",
    "adaptor_kinds",
    "build_adaptor",
    "check_adaptor",
    "make_alignment",
    "register",
    "require_adaptor",
]
