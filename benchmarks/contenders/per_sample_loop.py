"""Distillation the usual way: a plain PyTorch loop over images and features in files of their own.

As the official code of the paper does, every sample is decoded, transformed and normalised by
itself, its features under every teacher are read from one ``.npy`` file each, and the joint teacher
runs in the loop to give the targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.models import Backbone, JointTeacher, StudentAdaptors

__all__ = ["Equation3", "Loop", "SampleFiles", "loader", "transform_like", "write_samples"]

Batch = tuple[Tensor, Tensor, dict[str, Tensor]]


class SampleFiles(Dataset[Batch]):
    """Images and features of one split, a file each.

    Args:
        folder: What `write_samples` wrote.
        labels: (N,) int64.
        teachers: Whose features are read; none for validation.
        transform: From a PIL image to a normalised tensor.
    """

    def __init__(
        self,
        folder: Path,
        labels: Sequence[int],
        teachers: Sequence[str],
        transform: Callable[[Image.Image], Tensor],
    ) -> None:
        self.folder = folder
        self.labels = labels
        self.teachers = teachers
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        """Return an image (3, H, W), its label, and each teacher's features."""
        with Image.open(self.folder / "images" / f"{index}.png") as file:
            image = self.transform(file.convert("RGB"))
        features = {
            teacher: torch.from_numpy(np.load(self.folder / teacher / f"{index}.npy"))
            for teacher in self.teachers
        }
        return image, self.labels[index], features


def write_samples(
    packed: PackedDataset, split: str, features: Mapping[str, np.ndarray[Any, Any]], folder: Path
) -> None:
    """Write every image of a split as PNG, and its features under every teacher as ``.npy``."""
    (folder / "images").mkdir(parents=True)
    for index, image in enumerate(packed.images(split)):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / "images" / f"{index}.png")
    for teacher, rows in features.items():
        (folder / teacher).mkdir()
        for index, row in enumerate(rows):
            np.save(folder / teacher / f"{index}.npy", np.asarray(row))


def transform_like(preset: str, packed: PackedDataset) -> Callable[[Image.Image], Tensor]:
    """Return torchvision's transform of a PIL image that varies as our preset does."""
    bilinear = transforms.InterpolationMode.BILINEAR
    varied: dict[str, list[Any]] = {
        "none": [],
        "light": [
            transforms.RandomAffine(8, (0.08, 0.08), (0.9, 1.1), interpolation=bilinear),
            transforms.ColorJitter(brightness=0.2, contrast=0.2),
        ],
        "autoaugment": [transforms.AutoAugment(transforms.AutoAugmentPolicy.IMAGENET)],
    }
    chain: Callable[[Image.Image], Tensor] = transforms.Compose(
        [*varied[preset], transforms.ToTensor(), transforms.Normalize(packed.mean, packed.std)]
    )
    return chain


def loader(
    samples: SampleFiles, batch_size: int, workers: int, *, training: bool, pin: bool
) -> DataLoader[Batch]:
    """Return torch's loader; its workers stay alive from epoch to epoch."""
    return DataLoader(
        samples,
        batch_size=batch_size,
        shuffle=training,
        drop_last=training,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
    )


@dataclass(frozen=True)
class Equation3:
    """The coefficients of the paper's Eq. 3."""

    alpha: float
    beta: Mapping[str, float]
    temperature: float
    ce_weight: float

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        target_logits: Tensor,
        features: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
    ) -> Tensor:
        """Return the loss of a batch."""
        t = self.temperature
        soft = F.softmax(target_logits.float() / t, dim=1)
        loss = self.ce_weight * F.cross_entropy(logits.float(), labels)
        loss = loss + self.alpha * t**2 * F.cross_entropy(logits.float() / t, soft)
        for level, weight in self.beta.items():
            loss = loss + weight * F.mse_loss(features[level].float(), targets[level].float())
        return loss


class Loop:
    """Trains a student and evaluates it, epoch by epoch.

    Args:
        student: The student.
        adaptors: Bring its features to the joint teacher's shapes.
        joint: The frozen joint teacher.
        dataset: Which of its heads.
        criterion: The loss.
        optimizer: Over student and adaptors.
        autocast: Makes the context of the precision.
        device: Where all of that is.
    """

    def __init__(
        self,
        student: Backbone,
        adaptors: StudentAdaptors,
        joint: JointTeacher,
        dataset: str,
        criterion: Equation3,
        optimizer: torch.optim.Optimizer,
        autocast: Callable[[], AbstractContextManager[Any]],
        device: torch.device,
    ) -> None:
        self.student, self.adaptors, self.joint = student, adaptors, joint
        self.networks = nn.ModuleList([student, adaptors])
        self.dataset = dataset
        self.criterion = criterion
        self.optimizer = optimizer
        self.autocast = autocast
        self.device = device

    def loss(self, images: Tensor, labels: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch on the device, the joint teacher run for its targets."""
        with torch.no_grad():
            fused = self.joint({teacher: each.float() for teacher, each in features.items()})
            target_logits = self.joint.logits(fused["embedding"], self.dataset)
        with self.autocast():
            logits, own = self.student(images, levels=tuple(self.criterion.beta))
            adapted = self.adaptors(own)
        return self.criterion(logits, labels, target_logits, adapted, fused)

    def epoch(self, training: DataLoader[Batch], validation: DataLoader[Batch]) -> float:
        """Train one epoch and return the accuracy on the validation images, from 0 to 1."""
        self.networks.train()
        for images, labels, features in map(self._moved, training):
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(images, labels, features).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.networks.eval()
        right = torch.zeros((), dtype=torch.long, device=self.device)
        with torch.inference_mode():
            for images, labels, _ in map(self._moved, validation):
                right += (self.student(images)[0].argmax(dim=1) == labels).sum()
        return int(right) / len(validation.dataset)  # type: ignore[arg-type]

    def _moved(self, batch: Batch) -> Batch:
        images, labels, features = batch
        there = {name: each.to(self.device, non_blocking=True) for name, each in features.items()}
        return (
            images.to(self.device, non_blocking=True),
            labels.to(self.device, non_blocking=True),
            there,
        )
