"""The joint teacher: frozen teachers' features fused into one network (MLFD, Eq. 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mlfd_tune.core.models.adaptors import Alignment, build_adaptor, check_adaptor
from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.joint_shapes import (
    FusionSize,
    Shape,
    adapted_channels,
    joint_out_shapes,
)
from mlfd_tune.core.models.joint_trunks import MapTrunk, VectorTrunk
from mlfd_tune.core.models.levels import EMBEDDING, finest, map_levels, parse_levels
from mlfd_tune.core.models.norms import NormKind

__all__ = ["JointTeacher"]


class JointTeacher(nn.Module):
    """Fuses the teachers' features at the finest level and classifies every dataset's images.

    At L1 each teacher's embedding goes through its adaptor; their concatenation is the embedding,
    after the feed-forward blocks of a depth above 1.
    From L2 on, the adapted maps are concatenated and become the map of the finest level, which
    3x3 convolutions of stride 2 bring to each coarser one; the embedding is the average of the
    coarsest map. Every map and the embedding are what students are taught. Each dataset has its
    own linear head behind dropout (section 4.5).

    Teachers and datasets are taken in the order of their names: the network is the same whatever
    the order of the mappings, which a trip through a file may change.

    Args:
        levels: The levels fused.
        in_shapes: Each teacher's shape at the finest of `levels`.
        out_shapes: The shape given at each level, as `joint_out_shapes` computes it.
        num_classes: The number of classes of each dataset.
        adaptor: The kind of adaptor between teacher and trunk.
        width: The channels each adaptor gives (unused by the adaptor `identity`).
        dropout: Dropout before the heads; the paper's L1 uses 0.8 to 0.9.
        norm: The norm layers of adaptors and trunk.
        residual: Whether there is a skip around each adaptor.
        alignment: How maps are brought to the size they are fused at. All alignments bring maps
            up alike; they differ where maps are brought down.
        fuse_at: Whether that is the size of the largest teacher map or of the smallest.
        depth: Trainable layers per level. At a map level, the 1x1 convolutions its block ends in;
            at L1, the linear layers after the concatenation, the head being the last.

    Raises:
        ModelChoiceError: When the adaptor does not fit the levels or shapes, or the depth is 0.
        ValueError: When `out_shapes` is not what this network gives.
    """

    def __init__(
        self,
        *,
        levels: Sequence[str],
        in_shapes: Mapping[str, Shape],
        out_shapes: Mapping[str, Shape],
        num_classes: Mapping[str, int],
        adaptor: str = "pointwise",
        width: int,
        dropout: float = 0.5,
        norm: NormKind = "batch",
        residual: bool = False,
        alignment: Alignment = "pool",
        fuse_at: FusionSize = "largest",
        depth: int = 1,
    ) -> None:
        super().__init__()
        self.levels = parse_levels(levels)
        check_adaptor(adaptor, self.levels, residual=residual)
        if depth < 1:
            raise ModelChoiceError(f"depth is {depth} (allowed: 1 or more)")
        channels = {level: shape[0] for level, shape in out_shapes.items()}
        self.out_shapes = joint_out_shapes(
            self.levels, channels, in_shapes, width, adaptor, fuse_at
        )
        _require_same(out_shapes, self.out_shapes)
        self.teachers = tuple(sorted(in_shapes))
        self.num_classes = {dataset: num_classes[dataset] for dataset in sorted(num_classes)}

        adapted = adapted_channels(in_shapes, width, adaptor)
        size = self.out_shapes[finest(self.levels)][1:]
        self.adaptors = nn.ModuleDict(
            {
                _key(name): build_adaptor(
                    adaptor,
                    in_shapes[name],
                    (adapted[name], *size),
                    norm=norm,
                    residual=residual,
                    alignment=alignment,
                )
                for name in self.teachers
            }
        )
        maps = {level: self.out_shapes[level][0] for level in map_levels(self.levels)}
        joined = sum(adapted.values())
        self.trunk = (
            MapTrunk(joined, maps, norm, depth) if maps else VectorTrunk(joined, norm, depth)
        )
        self.dropout = nn.Dropout(dropout)
        # The heads come last, so that a dataset's class count moves no draw of the trunk.
        width_of_embedding = self.out_shapes[EMBEDDING][0]
        self.heads = nn.ModuleDict(
            {
                _key(dataset): nn.Linear(width_of_embedding, classes)
                for dataset, classes in self.num_classes.items()
            }
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fuse the teachers' features.

        Args:
            features: Each teacher's features at the finest level, ``(N, C)`` or ``(N, C, H, W)``,
                of any floating-point precision: caches hold half of it.

        Returns:
            The features of every level in `out_shapes`, the embedding always among them.
        """
        dtype = next(self.heads.parameters()).dtype
        adapted = [
            self.adaptors[_key(name)](features[name].to(dtype=dtype)) for name in self.teachers
        ]
        fused: dict[str, Tensor] = self.trunk(torch.cat(adapted, dim=1))
        return fused

    def logits(self, embedding: Tensor, dataset: str) -> Tensor:
        """Return the logits ``(N, K)`` of `dataset`'s head for embeddings ``(N, C)``."""
        classified: Tensor = self.heads[_key(dataset)](self.dropout(embedding))
        return classified


def _require_same(given: Mapping[str, Shape], computed: Mapping[str, Shape]) -> None:
    shapes = {level: tuple(shape) for level, shape in given.items()}
    if shapes != dict(computed):
        raise ValueError(f"out_shapes is {shapes}, but this joint teacher gives {dict(computed)}")


def _key(name: str) -> str:
    # A module's name has no dot and is no attribute of Module, as "train" and "type" are.
    return "of_" + name.replace("%", "%25").replace(".", "%2E")
