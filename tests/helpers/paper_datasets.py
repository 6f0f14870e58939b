"""Small copies of all published datasets in one folder, where the experiments look for them."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.layouts_cifar import write_cifar10, write_cifar100_binary
from tests.helpers.layouts_fine_grained import (
    write_caltech101,
    write_cub200,
    write_flowers102,
    write_pets,
)
from tests.helpers.layouts_imagenet import write_imagenet_sketch, write_tinyimagenet

PAPER_DATASETS = (
    "cifar10", "cifar100", "tinyimagenet", "imagenet_sketch",
    "caltech101", "flowers102", "cub200", "pets",
)  # fmt: skip


def write_paper_datasets(data: Path) -> Path:
    """Write ``data/<name>`` for every name in `PAPER_DATASETS`, some 600 pictures in all.

    CIFAR-10 and CIFAR-100 have their ten and hundred classes, the others three. Both ways of
    unpacking an archive are there: with the folder that it holds, as
    ``data/cub200/CUB_200_2011/images``, and for Flowers-102 and Pets without one, as
    ``data/pets/images``. CIFAR-10 is the form for Python, CIFAR-100 the binary one.

    Args:
        data: The folder that holds all of them; made if missing.

    Returns:
        `data`.
    """
    write_cifar10(data / "cifar10", per_class=5, test_per_class=1)
    write_cifar100_binary(data / "cifar100")
    write_tinyimagenet(data / "tinyimagenet")
    write_imagenet_sketch(data / "imagenet_sketch")
    write_caltech101(data / "caltech101" / "caltech-101")
    write_flowers102(data / "flowers102")
    write_cub200(data / "cub200" / "CUB_200_2011")
    write_pets(data / "pets")
    return data
