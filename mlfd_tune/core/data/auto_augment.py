"""AutoAugment (Cubuk et al., CVPR 2019) of whole batches, each image under decisions of its own.

The policies, the magnitudes and the operations are torchvision's (``transforms.v2.AutoAugment``),
with its defaults: nearest pixel, black outside the picture. Only the drawing and the grouping are
done here: torchvision takes one decision a call, so a batch given to it whole would share it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["Decisions", "PolicyName", "apply_decisions", "auto_augment", "draw_decisions"]

PolicyName = Literal["imagenet", "cifar10", "svhn"]

# Torchvision's own number of magnitudes, which the indices in its policies count in.
_MAGNITUDES = 10
# Each sub-policy is two operations, one after the other.
_STEPS = 2


@dataclass(frozen=True)
class Decisions:
    """What AutoAugment does to each image of a batch.

    Attributes:
        sub_policies: (N,) int64, the index of the image's sub-policy.
        chances: (N, 2) float32 from 0 to 1: an operation is applied if its chance is at most its
            probability.
        negative: (N, 2) bool: a magnitude that has a sign is taken as below zero.
    """

    sub_policies: Tensor
    chances: Tensor
    negative: Tensor


def auto_augment(images: Tensor, policy: PolicyName, generator: torch.Generator) -> Tensor:
    """Apply one random sub-policy to every image.

    The draws come from a stream of their own that follows from the state of `generator`, and leave
    `generator` where it is: the draws of everything else are the same with and without.

    Args:
        images: (N, 3, H, W) uint8, on any device.
        policy: The dataset that the policy was learned on.
        generator: The stream of the batch, on any device.

    Returns:
        (N, 3, H, W) uint8, on the device of `images`.
    """
    return apply_decisions(images, policy, draw_decisions(len(images), policy, _branch(generator)))


def draw_decisions(count: int, policy: PolicyName, generator: torch.Generator) -> Decisions:
    """Draw what happens to `count` images, as torchvision draws it for one.

    Args:
        count: N.
        policy: The dataset that the policy was learned on.
        generator: A CPU generator.
    """
    sub_policies = len(_torchvision(policy)._policies)
    return Decisions(
        torch.randint(sub_policies, (count,), generator=generator),
        torch.rand(count, _STEPS, generator=generator),
        torch.randint(2, (count, _STEPS), generator=generator) == 0,
    )


def apply_decisions(images: Tensor, policy: PolicyName, decisions: Decisions) -> Tensor:
    """Do to every image what was decided for it.

    Images that share an operation and its magnitude go through it together.

    Args:
        images: (N, 3, H, W) uint8, on any device.
        policy: The dataset that the policy was learned on.
        decisions: N of them, on the CPU.

    Returns:
        (N, 3, H, W) uint8, on the device of `images`.
    """
    sub_policies = _operations(policy, *images.shape[-2:])
    # Under autocast rotations and shears would come in half precision and point beside the pixels.
    with torch.autocast(images.device.type, enabled=False):
        for step in range(_STEPS):
            images = _in_groups(images, policy, _groups(step, sub_policies, decisions))
    return images


class _Operation(NamedTuple):
    """One of the two operations of a sub-policy, for one size of image."""

    name: str
    probability: float
    magnitude: float
    signed: bool


# Torchvision's name for the operation that leaves an image alone.
_NOTHING = _Operation("Identity", 1.0, 0.0, False)


def _groups(
    step: int, sub_policies: tuple[tuple[_Operation, ...], ...], decisions: Decisions
) -> dict[tuple[str, float], list[int]]:
    """Return which images undergo which (operation, magnitude) at this step; each undergoes one."""
    # As a tensor, because torchvision compares in float32 too.
    probabilities = torch.tensor([operations[step].probability for operations in sub_policies])
    applied = decisions.chances[:, step] <= probabilities[decisions.sub_policies]
    drawn = (decisions.sub_policies, applied, decisions.negative[:, step])
    groups = defaultdict(list)
    for image, (index, used, negative) in enumerate(
        zip(*(values.tolist() for values in drawn), strict=True)
    ):
        operation = sub_policies[index][step] if used else _NOTHING
        turned = operation.signed and negative
        magnitude = -operation.magnitude if turned else operation.magnitude
        groups[operation.name, magnitude].append(image)
    return groups


def _in_groups(
    images: Tensor, policy: PolicyName, groups: dict[tuple[str, float], list[int]]
) -> Tensor:
    """Return the images after the operations of their groups, in the order they came in."""
    transform = _torchvision(policy)
    order = torch.tensor([image for group in groups.values() for image in group], dtype=torch.long)
    sorted_images = images.index_select(0, order.to(images.device))
    parts = torch.split_with_sizes(sorted_images, [len(group) for group in groups.values()])
    done = [
        transform._apply_image_or_video_transform(
            part, name, magnitude, transform.interpolation, transform._fill
        )
        for (name, magnitude), part in zip(groups, parts, strict=True)
    ]
    # Whole images are copied back by one selection: writing by index took 20 times as long.
    return torch.cat(done).index_select(0, order.argsort().to(images.device))


@cache
def _operations(policy: PolicyName, height: int, width: int) -> tuple[tuple[_Operation, ...], ...]:
    """Return the operations of every sub-policy."""
    transform = _torchvision(policy)

    def operation(name: str, probability: float, index: int | None) -> _Operation:
        magnitudes, signed = transform._AUGMENTATION_SPACE[name]
        values = magnitudes(_MAGNITUDES, height, width)
        return _Operation(
            name, probability, 0.0 if values is None else float(values[index]), signed
        )

    return tuple(tuple(operation(*entry) for entry in entries) for entries in transform._policies)


@cache
def _torchvision(policy: PolicyName) -> Any:
    """Return torchvision's transform, for its tables and its operations."""
    # Here, because it takes a second to load that most uses of the datasets have no need to wait.
    from torchvision.transforms import v2

    return v2.AutoAugment(v2.AutoAugmentPolicy(policy))


def _branch(generator: torch.Generator) -> torch.Generator:
    """Return a CPU generator that follows from the state of `generator`, which stays as it is."""
    # Reading the state does not wait for a device; drawing a seed there would.
    state = generator.get_state().numpy().tobytes()
    digest = hashlib.sha256(b"auto_augment/" + state).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
