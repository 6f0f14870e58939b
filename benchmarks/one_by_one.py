"""The usual way to keep features: one image at a time, one `.npy` file per image and level.

It is what the official code of MLFD does, with what costs nothing to do right: `inference_mode`,
networks loaded once, as many threads as the platform's stages use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import transforms

from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.teacher import load_backbone

__all__ = ["extract_one_by_one", "load_values", "read_one_by_one"]


def extract_one_by_one(
    images: Sequence[Path],
    teachers: Mapping[str, Path],
    levels: Sequence[str],
    out: Path,
    device: torch.device,
) -> None:
    """Decode, transform and look at every image by itself; write every level by itself.

    Args:
        images: Their files.
        teachers: The folder of each trained teacher.
        levels: The levels to keep.
        out: Where to write ``<teacher>/<level>/<number>.npy``, float32.
        device: Where the teachers run.
    """
    models = {name: load_backbone(path, device) for name, path in teachers.items()}
    transform = {name: _transform(path, models[name].image_size) for name, path in teachers.items()}
    for teacher in teachers:
        for level in levels:
            (out / teacher / level).mkdir(parents=True)
    with torch.inference_mode(), fixed_threads(1):
        for number, file in enumerate(images):
            for teacher, model in models.items():
                with Image.open(file) as image:
                    batch = transform[teacher](image.convert("RGB"))[None].to(device)
                _, features = model(batch, levels=levels)
                for level, values in features.items():
                    np.save(_file(out, teacher, level, number), values[0].cpu().numpy())


def read_one_by_one(
    out: Path, teachers: Sequence[str], level: str, batch: NDArray[np.int64], device: torch.device
) -> dict[str, Tensor]:
    """Return every teacher's features (N, C[, H, W]) of the images of one batch."""
    return {
        teacher: torch.from_numpy(load_values(out, teacher, level, batch)).to(device)
        for teacher in teachers
    }


def load_values(
    out: Path, teacher: str, level: str, images: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return one teacher's features (N, C[, H, W]) of the images of these numbers."""
    return np.stack([np.load(_file(out, teacher, level, int(number))) for number in images])


def _transform(teacher: Path, size: int) -> transforms.Compose:
    about = load_description(teacher)
    return transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.ToTensor(),
            transforms.Normalize(about["mean"], about["std"]),
        ]
    )


def _file(out: Path, teacher: str, level: str, number: int) -> Path:
    return out / teacher / level / f"{number}.npy"
