"""Backbones: timm models that give logits and the features of any level in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mlfd_tune.core.models.adaptors.alignment import Resize
from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.models.timm_levels import plan_levels
from mlfd_tune.core.models.timm_models import classifiers, create_timm_model

__all__ = ["Backbone", "level_shapes", "require_levels"]


class Backbone(nn.Module):
    """A timm model that also gives the features of its levels.

    The logits are timm's own, to the bit: the same weights, layers and draws. The embedding is the
    vector the last layer takes; where several layers' logits are averaged, as in models with a
    distillation token, all their vectors joined. A map has the side its level says, the image's by
    the stride, rounded up; where the architecture's own has another, it is averaged down or
    interpolated up (`timm_levels` says where levels are taken).

    Args:
        arch: The timm architecture.
        num_classes: The number of logits.
        image_size: The side of the square input images in pixels.
        drop_rate: Dropout on what the last layer takes, where nearly all of timm's families have
            theirs. The embedding is given as it was before, so that a feature loss compares
            features and not dropout's noise.
        drop_path_rate: Stochastic depth, for architectures that have it.
        pretrained: Start from timm's published weights, which are downloaded.

    Attributes:
        model: The timm model.
        level_shapes: The shape of each level for one image: ``(C,)`` or ``(C, H, W)``.
        dropout: The dropout before the classifier.

    Raises:
        ModelChoiceError: When the architecture or one of its settings cannot be.
    """

    def __init__(
        self,
        arch: str,
        num_classes: int,
        image_size: int,
        *,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.arch = arch
        self.image_size = image_size
        self._plan = plan_levels(arch, image_size)
        self.level_shapes = dict(self._plan.shapes)
        self.model = create_timm_model(
            arch, num_classes, image_size, drop_path_rate=drop_path_rate, pretrained=pretrained
        )
        self.dropout = nn.Dropout(drop_rate)
        self._resize = {level: Resize(*size) for level, size in self._plan.resize.items()}
        # What each classifier took, and that after dropout.
        self._taken: list[tuple[Tensor, Tensor]] = []
        for classifier in classifiers(self.model):
            # A bound method, so that a deep copy's hook belongs to the copy.
            classifier.register_forward_pre_hook(self._before_classifier)

    def forward(
        self, images: Tensor, levels: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits and the features of `levels`, from one pass.

        Args:
            images: ``(N, 3, image_size, image_size)``.
            levels: The levels to give, any of `level_shapes`.

        Returns:
            Logits ``(N, num_classes)`` and, for each level asked for, ``(N, C)`` or
            ``(N, C, H, W)``.

        Raises:
            ModelChoiceError: When the architecture does not have one of the levels.
        """
        require_levels(self.arch, self.image_size, levels)
        final, features = self._features(images, levels)
        logits, embedding = self._classify(final)
        if EMBEDDING in levels:
            features[EMBEDDING] = embedding
        return logits, {level: features[level] for level in levels}

    def _features(
        self, images: Tensor, levels: Sequence[str]
    ) -> tuple[Tensor | list[Tensor], dict[str, Tensor]]:
        """Return what `forward_features` ends in, and the maps asked for."""
        plan, model = self._plan, self.model
        inner = {
            level: index
            for level, index in plan.indices.items()
            if level in levels and level != plan.final
        }
        if inner:
            indices = sorted(set(inner.values()))
            final, taken = model.forward_intermediates(
                images, indices=indices, norm=plan.norm, stop_early=False
            )
            maps = dict(zip(indices, taken, strict=True))
            features = {level: maps[index] for level, index in inner.items()}
        else:
            final, features = model.forward_features(images), {}
        if plan.final is not None and plan.final in levels:
            assert isinstance(final, Tensor), "the plan saw a map here"
            last = final.permute(0, 3, 1, 2).contiguous() if plan.channels_last else final
            features[plan.final] = last
        for level in self._resize.keys() & features.keys():
            features[level] = self._resize[level](features[level])
        return final, features

    def _classify(self, final: Tensor | list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits and the embedding ``(N, C)`` the classifiers took."""
        self._taken.clear()  # a pass that failed may have left something
        logits = self.model.forward_head(final)
        vectors = [vector.flatten(1) for vector, _ in self._taken]
        self._taken.clear()
        return logits, vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=1)

    def _before_classifier(self, _classifier: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
        # timm's `forward_head(pre_logits=True)` would give the same vector, but after dropout, and
        # at the price of a second pass through the head, whose norm layers would count it twice.
        for vector, same in self._taken:
            if vector is inputs[0]:  # a second classifier of the same vector: the same dropout
                return same
        dropped: Tensor = self.dropout(inputs[0])
        self._taken.append((inputs[0], dropped))
        return dropped


def level_shapes(arch: str, image_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every level `arch` has: ``(C,)`` or ``(C, H, W)`` for one image.

    No weights are made; the answer is remembered.

    Raises:
        ModelChoiceError: When the architecture is unknown or does not take images of this size.
    """
    return dict(plan_levels(arch, image_size).shapes)


def require_levels(arch: str, image_size: int, levels: Sequence[str]) -> None:
    """Raise unless `arch` has all of `levels` at `image_size` pixels.

    Raises:
        ModelChoiceError: Naming each level it lacks and those it has.
    """
    shapes = plan_levels(arch, image_size).shapes
    lacking = [level for level in levels if level not in shapes]
    if lacking:
        has = ", ".join(shapes)
        raise ModelChoiceError(
            *(
                f"architecture {arch!r} has no level {level!r} at {image_size} px (it has: {has})"
                for level in lacking
            )
        )
