"""Stage `targets` from one network: its own logits and features, with no fusion in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.models import level_shapes
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.feature_sources import clean_images, without_autocast
from mlfd_tune.core.stages.images import ImageBatches
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.target_files import TargetsWriter, targets_bytes
from mlfd_tune.core.stages.teacher import Teacher, load_backbone
from mlfd_tune.core.stages.view_targets import TeacherView
from mlfd_tune.core.store import Artifact, Stage, StageContext, StageResult

__all__ = ["TeacherTargets", "TeacherTargetsSpec", "TeacherTargetsStage"]


class TeacherTargetsSpec(Spec):
    """Identity of one network's targets, beside the network and its dataset."""

    levels: tuple[str, ...]
    dtype: str = "float16"


class TeacherTargetsStage(Stage):
    """Runs one teacher over the clean training images of its own dataset.

    Writes what the joint teacher's `TargetsStage` writes: ``logits.npy`` (N, K) as float32, and
    ``<level>.npy`` of shape (N, C) or (N, C, H, W) as float16 for every level asked for.

    Args:
        teacher: The network.
        levels: The levels to keep; none for logits alone.
    """

    name = "targets"
    spec: TeacherTargetsSpec

    def __init__(self, teacher: Teacher, levels: tuple[str, ...] = ()) -> None:
        self.teacher = teacher
        self.spec = TeacherTargetsSpec(levels=levels)

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"teacher": self.teacher, "dataset": self.teacher.data}

    @property
    def label(self) -> str:  # noqa: D102
        levels = "+".join(self.spec.levels) or "logits"
        return f"targets {self.dataset} (own teacher {self.teacher.spec.arch}, {levels})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.teacher.dataset

    @cached_property
    def out_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image's target at every level."""
        shapes = level_shapes(self.teacher.spec.arch, self.teacher.data.spec.image_size)
        return {level: shapes[level] for level in self.spec.levels}

    def estimate_bytes(self) -> int:  # noqa: D102
        data = self.teacher.data
        return targets_bytes(self.out_shapes, data.num_classes, data.counts["train"])

    def maker(self, inputs: Mapping[str, Artifact], device: torch.device) -> TeacherTargets:
        """Return what makes the targets, with the artifacts that this stage reads."""
        return TeacherTargets(self.teacher.threads, self.out_shapes, inputs, device)

    def networks(self) -> dict[str, Stage]:
        """Return the stage of the network that says the targets."""
        return {"teacher": self.teacher}

    def view(self, inputs: Mapping[str, Artifact], device: torch.device) -> TeacherView:
        """Return what says the targets of any images, with the artifact of `networks`."""
        return TeacherView(
            inputs["teacher"].path, self.out_shapes, self.teacher.threads, "fp32", device
        )

    def run(self, context: StageContext) -> StageResult:
        """Run the teacher in large batches and keep logits and features."""
        maker = self.maker(context.inputs, torch.device(context.device))
        writer = TargetsWriter(context.out, len(maker), self.out_shapes, self.spec.dtype)
        for logits, features in maker.batches():
            writer.write(logits, features)
            done = writer.written
            context.progress(done / len(maker), f"{done}/{len(maker)} images")
        with fixed_threads(self.teacher.threads):
            metrics = writer.close(maker.labels)
        for name in ("val/acc1", "val/acc5"):
            metrics[name] = context.inputs["teacher"].manifest.metrics[name]
        return StageResult(metrics)


class TeacherTargets:
    """A teacher run over the clean training images of its own dataset.

    Args:
        threads: Intra-op threads on CPU.
        out_shapes: Shape of one image's target at every level.
        inputs: The artifacts that `TeacherTargetsStage` reads.
        device: Where it runs.
    """

    def __init__(
        self,
        threads: int,
        out_shapes: Mapping[str, tuple[int, ...]],
        inputs: Mapping[str, Artifact],
        device: torch.device,
    ) -> None:
        path = inputs["teacher"].path
        about = load_description(path)
        mean, std = tuple(about["mean"]), tuple(about["std"])
        self.out_shapes = out_shapes
        self._model = load_backbone(path, device)
        self._packed = PackedDataset(inputs["dataset"].path)
        self._images = ImageBatches(self._packed, "train", device, mean=mean, std=std)
        self.labels = self._images.labels
        self._device = device
        self._threads = threads

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield logits (N, K) and the features of every level, in order."""
        for images, _ in self._images.clean():
            yield self._said(images)

    def gather(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits (N, K) and the features of every level of the samples `indices`."""
        images = self._images
        return self._said(
            clean_images(self._packed, "train", indices, self._device, images.mean, images.std)
        )

    def _said(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad(), fixed_threads(self._threads), without_autocast(self._device):
            logits, features = self._model(images, levels=tuple(self.out_shapes))
            return logits, features
