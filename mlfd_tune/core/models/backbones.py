"""Backbones: timm models that give logits and the features of any level in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mlfd_tune.core.models.errors import ModelChoiceError
from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.models.timm_levels import as_map, plan_levels
from mlfd_tune.core.models.timm_models import classifiers, create_timm_model

__all__ = ["Backbone", "level_shapes", "require_levels"]


class Backbone(nn.Module):
    """A timm model that also gives the features of its levels.

    The logits are timm's own, to the bit: the same weights, layers and draws.

    Args:
        arch: The timm architecture.
        num_classes: The number of logits.
        image_size: The side of the square input images in pixels.
        drop_rate: Dropout on what the classifier takes. The embedding is given as it was before,
            so that a feature loss compares features and not dropout's noise.
        drop_path_rate: Stochastic depth, for architectures that have it.
        pretrained: Start from timm's published weights, which are downloaded.

    Attributes:
        model: The timm model.
        level_shapes: The shape of each level for one image: ``(C,)`` or ``(C, H, W)``.

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
        self._embedding: Tensor | None = None
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

    def _features(self, images: Tensor, levels: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what `forward_features` ends in, and the maps asked for."""
        plan, model = self._plan, self.model
        inner = sorted(
            (index, level)
            for level, index in plan.indices.items()
            if level in levels and level != plan.final
        )
        if inner:
            indices = [index for index, _ in inner]
            final, taken = model.forward_intermediates(images, indices=indices, norm=plan.norm)
            features = {level: map_ for (_, level), map_ in zip(inner, taken, strict=True)}
        else:
            final, features = model.forward_features(images), {}
        if plan.final is not None and plan.final in levels:
            final_map = as_map(final, plan.shapes[plan.final][1:])
            assert final_map is not None, "the plan saw a map here"
            features[plan.final] = final_map
        return final, features

    def _classify(self, final: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the embedding ``(N, C)`` the classifier took."""
        logits = self.model.forward_head(final)
        embedding, self._embedding = self._embedding, None
        assert embedding is not None, "the classifier's hook has seen its input"
        return logits, embedding.flatten(1)

    def _before_classifier(self, _classifier: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
        # timm's `forward_head(pre_logits=True)` would give the same vector, but after dropout, and
        # at the price of a second pass through the head, whose norm layers would count it twice.
        if self._embedding is None:
            self._embedding = inputs[0]
        dropped: Tensor = self.dropout(inputs[0])
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
