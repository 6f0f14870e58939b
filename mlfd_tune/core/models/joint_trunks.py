"""The trunks of a joint teacher: the trainable blocks after the teachers' features are joined."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mlfd_tune.core.models.levels import EMBEDDING, halvings
from mlfd_tune.core.models.norms import NormKind, make_norm

__all__ = ["MapTrunk", "VectorTrunk"]


class VectorTrunk(nn.Module):
    """L1: the joined embeddings are the embedding; only the linear heads follow.

    The paper found this, a depth of 1, the best of what it tried (section 4.5). Each further step
    of depth is a feed-forward block of the same width before it.

    Args:
        channels: The width of the joined embeddings.
        norm: The norm layers.
        depth: The trainable layers, the heads being one of them.
    """

    def __init__(self, channels: int, norm: NormKind, depth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_feed_forward(channels, norm) for _ in range(depth - 1)))

    def forward(self, fused: Tensor) -> dict[str, Tensor]:
        """Return the embedding ``(N, C)``, from joined embeddings of the same shape."""
        return {EMBEDDING: self.blocks(fused)}


class MapTrunk(nn.Module):
    """L2 and deeper: one block per level, fine to coarse, then the average over space.

    Args:
        in_channels: Channels of the joined maps.
        out_channels: Channels of each map level, coarse to fine.
        norm: The norm layers.
        depth: The 1x1 convolutions that each block ends in.
    """

    def __init__(
        self, in_channels: int, out_channels: Mapping[str, int], norm: NormKind, depth: int
    ) -> None:
        super().__init__()
        self.fuse = nn.Sequential(make_norm(norm, in_channels, spatial=True), nn.GELU())
        self.blocks = nn.ModuleDict()
        before, finer = in_channels, None
        for level, channels in reversed(list(out_channels.items())):
            steps = halvings(finer, level) if finer else 0
            self.blocks[level] = _block(before, channels, norm, halvings=steps, depth=depth)
            before, finer = channels, level

    def forward(self, fused: Tensor) -> dict[str, Tensor]:
        """Return the map of every level and the embedding, from joined maps ``(N, C, H, W)``."""
        x = self.fuse(fused)
        levels: dict[str, Tensor] = {}
        for level, block in self.blocks.items():
            x = block(x)
            levels[level] = x
        return {EMBEDDING: x.mean(dim=(2, 3)), **levels}


def _feed_forward(channels: int, norm: NormKind) -> nn.Sequential:
    linear = nn.Linear(channels, channels, bias=False)  # the norm that follows has its own
    return nn.Sequential(linear, make_norm(norm, channels, spatial=False), nn.GELU())


def _block(
    in_channels: int, out_channels: int, norm: NormKind, *, halvings: int, depth: int
) -> nn.Sequential:
    """Bring maps down by 3x3 convolutions of stride 2, then mix channels by 1x1 convolutions."""
    layers: list[nn.Module] = []
    for kernel_size, stride in [(3, 2)] * halvings + [(1, 1)] * depth:
        layers += _conv(in_channels, out_channels, norm, kernel_size=kernel_size, stride=stride)
        in_channels = out_channels
    return nn.Sequential(*layers)


def _conv(
    in_channels: int, out_channels: int, norm: NormKind, *, kernel_size: int, stride: int
) -> list[nn.Module]:
    # Padding keeps the size up to the stride, rounding up, so that a 1x1 map stays one. No bias:
    # the norm that follows has its own.
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
    )
    return [conv, make_norm(norm, out_channels, spatial=True), nn.GELU()]
