"""How many images a second finished networks classify, on this machine and right now.

No stage: it depends on the machine and on what else it does, so it is measured anew and not kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial, singledispatch
from statistics import median

import torch
from torch import Tensor

from mlfd_tune.core.models import finest
from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.stages.joint_reader import JointReader
from mlfd_tune.core.stages.joint_teacher import load_joint_teacher
from mlfd_tune.core.stages.readers import BackboneReader, Reader
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Artifact

__all__ = [
    "BATCH_SIZES",
    "REPEATS",
    "SECONDS",
    "Classifier",
    "classifier_of",
    "images_per_second",
]

BATCH_SIZES = (1, 64)
REPEATS = 5
SECONDS = 1.0
_WARM_UP = 2

Classifier = Callable[[int], Tensor]
"""Returns the logits (N, K) of N blank images that are on the device already."""


@singledispatch
def classifier_of(
    reader: Reader, inputs: Mapping[str, Artifact], device: torch.device
) -> Classifier | None:
    """Return a reader's network without the reading of images; None for unknown kinds of reader.

    Args:
        reader: The network.
        inputs: The artifacts of its `inputs`.
        device: Where it runs.
    """
    return None


@classifier_of.register
def _(
    reader: BackboneReader, inputs: Mapping[str, Artifact], device: torch.device
) -> Classifier | None:
    model = load_backbone(inputs["network"].path, device)

    def classify(count: int) -> Tensor:
        logits: Tensor = model(_blank(count, model.image_size, device))[0]
        return logits

    return classify


@classifier_of.register
def _(
    reader: JointReader, inputs: Mapping[str, Artifact], device: torch.device
) -> Classifier | None:
    joint = load_joint_teacher(inputs["network"].path, device)
    level = finest(reader.joint_teacher.spec.fusion.levels)
    models = {
        name: load_backbone(inputs[f"teacher/{name}"].path, device) for name in reader.teachers
    }

    def classify(count: int) -> Tensor:
        features = {
            name: model(_blank(count, model.image_size, device), levels=(level,))[1][level]
            for name, model in models.items()
        }
        return joint.logits(joint(features)[EMBEDDING], reader.target)

    return classify


def images_per_second(
    classifiers: Mapping[str, tuple[Classifier, int]],
    device: torch.device,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    repeats: int = REPEATS,
    seconds: float = SECONDS,
) -> dict[str, dict[int, float]]:
    """Return images per second by network and batch size, the median of several passes.

    The networks take turns: when the machine slows down, it does so for all of them, and their
    numbers can be compared with each other.

    Args:
        classifiers: By name, a network and the intra-op threads on CPU it runs with.
        device: Where they are.
        batch_sizes: Images at a time.
        repeats: The fewest passes of each network at each size, after a few that do not count.
        seconds: The least time that all passes at a size take; small batches need many passes.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in classifiers}
    for size in batch_sizes:
        taken: dict[str, list[float]] = {name: [] for name in classifiers}
        rounds, end = 0, time.perf_counter() + seconds
        while rounds < _WARM_UP + repeats or time.perf_counter() < end:
            for name, (classify, threads) in classifiers.items():
                with fixed_threads(threads), torch.inference_mode():
                    taken[name].append(_seconds(partial(classify, size), device))
            rounds += 1
        for name, passes in taken.items():
            found[name][size] = size / median(passes[_WARM_UP:])
    return found


def _blank(count: int, image_size: int, device: torch.device) -> Tensor:
    return torch.zeros(count, 3, image_size, image_size, device=device)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    _wait_for(device)
    begin = time.perf_counter()
    run()
    _wait_for(device)
    return time.perf_counter() - begin


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
