"""A trained network with all that lies between a raw picture and its logits, in one module.

What is handed on takes raw images, so that nobody has to know how a dataset was packed and
normalised. The arithmetic is the training's own; only the change of size differs, by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlfd_tune.core.data import normalise
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.stages.model_files import DESCRIPTION, WEIGHTS, load_description
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Artifact, Store

__all__ = ["ImageScorer", "load_scorer"]


class ImageScorer(nn.Module):
    """Scores raw images of any size.

    Images are resized to the network's square as packing does (`core.data.decode`): bilinear,
    antialiased, the aspect ratio not kept, rounded to whole grey levels; then normalised with the
    statistics that the network was trained with. An image that has the size already is taken as it
    is, and its logits are those of the test split. Packing resizes with Pillow, which rounds the
    interpolation's weights and the image between its two passes: single values differ by one grey
    level of 255 from those of here.

    Args:
        backbone: The network; it is set to evaluation mode.
        classes: The names of its classes, in the order of the logits.
        mean: Mean of each channel that images are normalised with, in 0-1 units.
        std: Their standard deviation, likewise.

    Attributes:
        backbone: The network.
        classes: The names of its classes.
        image_size: Side of the square that images are resized to, pixels.
        mean: (3,) float32.
        std: (3,) float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classes = tuple(classes)
        self.image_size = backbone.image_size
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) float32 of images.

        Args:
            images: (N, H, W, 3) RGB, uint8 or float in 0-255, any height and width.
        """
        pixels = images.permute(0, 3, 1, 2).to(torch.float32).contiguous()
        # Without a branch on the size, which an exported program would be bound to: an image of
        # the right size comes out as it went in.
        square = (self.image_size, self.image_size)
        pixels = F.interpolate(pixels, square, mode="bilinear", align_corners=False, antialias=True)
        pixels = pixels.round().clamp(0, 255).div(255)
        logits: Tensor = self.backbone(normalise(pixels, self.mean, self.std))[0]
        return logits.float()


def load_scorer(store: Store, artifact: Artifact) -> ImageScorer:
    """Return what scores raw images with a trained network, on the CPU.

    Class names and normalisation are those that were written beside the weights: the network's
    own, whatever its dataset looks like by now.

    Args:
        store: The store that has it; errors name it.
        artifact: A student's, a baseline's or a teacher's.

    Raises:
        UserError: The artifact is none of a single network, or its files are damaged.
    """
    place = f"{store.root}: {artifact.manifest.label} ({artifact.key[:12]})"
    if not {WEIGHTS, DESCRIPTION} <= artifact.manifest.files.keys():
        raise UserError(
            f"{place} holds no network (allowed: an artifact of the stage student, baseline or "
            f"teacher; this is of the stage {artifact.manifest.stage!r})"
        )
    damage = artifact.damage()
    if damage is not None:
        raise UserError(f"{place} is damaged: {damage}")
    about = load_description(artifact.path)
    if not {"arch", "classes", "mean", "std"} <= about.keys():
        raise UserError(f"{place} is no network that takes images alone")
    backbone = load_backbone(artifact.path, torch.device("cpu"))
    return ImageScorer(backbone, about["classes"], about["mean"], about["std"])
