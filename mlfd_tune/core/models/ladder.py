"""The ladder of projectors of UNIC: a student's levels together predict each teacher's features.

Source: "UNIC: Universal Classification Models via Multi-teacher Distillation" (ECCV 2024,
arXiv 2408.05088), the ladder of expendable projectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn

from mlfd_tune.core.models.adaptors.alignment import Resize
from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.levels import LEVELS, map_levels, parse_levels

__all__ = ["LadderOfProjectors", "TokenType", "check_rungs"]

TokenType = Literal["embedding", "map"]
"""What of a teacher is predicted: its embedding (UNIC's class token) or every position of a map
(UNIC's patch tokens)."""

WEIGHT_STD = 0.02


class LadderOfProjectors(nn.Module):
    """Predicts every teacher's features from the student's levels; trained beside the student.

    For each teacher and token type every level used, a rung, has a projector of its own: Linear,
    GELU, Linear. The prediction is the sum over the rungs, so that a gradient reaches the inner
    levels directly.

    * An embedding is predicted from all rungs, maps averaged over space.
    * A map is predicted from the rungs that are maps, each brought to the teacher's height and
      width first, position by position.

    Nothing depends on the order in which teachers, token types or rungs are named.

    Args:
        student_shapes: The student's shape at each rung, ``(C,)`` or ``(C, H, W)``.
        teacher_shapes: For each teacher, the shape ``(D,)`` of its token type ``embedding``, or
            ``(D, H, W)`` of ``map``, or both.
        rungs: The student's levels to project.
        hidden: Hidden units of a projector.
        last_hidden: Hidden units of the last rung's projector: that of the coarsest level.

    Attributes:
        teachers: The teachers' names, sorted.
        predicts: Every pair of teacher and token type that is predicted.

    Raises:
        ModelChoiceError: As `check_rungs` does.
    """

    def __init__(
        self,
        student_shapes: Mapping[str, Sequence[int]],
        teacher_shapes: Mapping[str, Mapping[TokenType, Sequence[int]]],
        rungs: Sequence[str],
        *,
        hidden: int = 768,
        last_hidden: int = 3072,
    ) -> None:
        super().__init__()
        levels = parse_levels(rungs)
        self.teachers = tuple(sorted(teacher_shapes))
        self.predicts = tuple(
            (teacher, token_type)
            for teacher in self.teachers
            for token_type in sorted(teacher_shapes[teacher])
        )
        check_rungs(levels, [token_type for _, token_type in self.predicts])
        channels = {level: student_shapes[level][0] for level in levels}
        # A list, because a teacher's name may be none that a module can bear.
        self.ladders = nn.ModuleList(
            _ladder(token_type, channels, teacher_shapes[teacher][token_type], hidden, last_hidden)
            for teacher, token_type in self.predicts
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, dict[TokenType, Tensor]]:
        """Return the predictions by teacher and token type.

        Args:
            features: The student's features at each rung, ``(N, C)`` or ``(N, C, H, W)``.

        Returns:
            ``(N, D)`` for an embedding; ``(N, L, D)`` for a map of L positions, row by row.
        """
        predictions: dict[str, dict[TokenType, Tensor]] = {name: {} for name in self.teachers}
        for (teacher, token_type), ladder in zip(self.predicts, self.ladders, strict=True):
            predictions[teacher][token_type] = ladder(features)
        return predictions


def check_rungs(rungs: Sequence[str], token_types: Sequence[TokenType]) -> None:
    """Raise unless a ladder of `rungs` can predict all of `token_types`.

    Raises:
        ModelChoiceError: A rung is no level, there is none, or a map is to be predicted and no
            rung is one.
    """
    levels = parse_levels(rungs)
    if "map" in token_types and not map_levels(levels):
        allowed = ", ".join(map_levels(LEVELS))
        raise ModelChoiceError(
            f"a ladder with the rungs {', '.join(levels)} cannot predict maps: "
            f"it needs a rung that is one (allowed: {allowed})"
        )


class _Ladder(nn.Module):
    """Predicts one teacher's features of one token type by the sum of its projectors.

    Args:
        tokens: Brings features of any level to the form that is projected, ``(N, ..., C)``.
        in_channels: The student's channels at each rung, coarse to fine.
        out_channels: The teacher's channels.
        hidden: Hidden units of a projector.
        last_hidden: Hidden units of the coarsest rung's.
    """

    def __init__(
        self,
        tokens: nn.Module,
        in_channels: Mapping[str, int],
        out_channels: int,
        hidden: int,
        last_hidden: int,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        last = next(iter(in_channels))
        self.projectors = nn.ModuleDict(
            {
                level: _projector(channels, last_hidden if level == last else hidden, out_channels)
                for level, channels in in_channels.items()
            }
        )

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return ``(N, ..., D)``."""
        projected = (
            projector(self.tokens(features[level])) for level, projector in self.projectors.items()
        )
        total: Tensor = reduce(torch.add, projected)
        return total


class _Average(nn.Module):
    """Gives vectors ``(N, C)``: a map's average over space, a vector as it is."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3)) if features.ndim == 4 else features


class _Positions(Resize):
    """Gives the positions ``(N, height * width, C)``, row by row, of maps of any size."""

    def forward(self, maps: Tensor) -> Tensor:
        resized: Tensor = super().forward(maps)
        return resized.flatten(2).transpose(1, 2)


def _ladder(
    token_type: TokenType,
    channels: Mapping[str, int],
    shape: Sequence[int],
    hidden: int,
    last_hidden: int,
) -> _Ladder:
    if token_type == "embedding":
        return _Ladder(_Average(), channels, shape[0], hidden, last_hidden)
    maps = {level: channels[level] for level in map_levels(tuple(channels))}
    return _Ladder(_Positions(shape[1], shape[2]), maps, shape[0], hidden, last_hidden)


def _projector(in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    layers = [nn.Linear(in_channels, hidden), nn.Linear(hidden, out_channels)]
    for layer in layers:
        nn.init.trunc_normal_(layer.weight, std=WEIGHT_STD)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.GELU(), layers[1])
