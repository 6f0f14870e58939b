"""Random streams, each its own generator, seeded from (seed, role, dataset, stream name).

Nothing draws from the global random state, so that a change in one dataset or stage moves no
number in another. The settings under comparison never enter a seed, so that arms and trials of one
seed share initialisation, data order and augmentation draws and can be paired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["RandomStreams", "derive_seed"]


def derive_seed(seed: int, role: str, dataset: str, stream: str) -> int:
    """Return a 63-bit seed that depends on all four parts and on nothing else."""
    text = f"{seed}/{role}/{dataset}/{stream}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


class RandomStreams:
    """The named random streams of one role on one dataset.

    Args:
        seed: The user's seed.
        role: What is being trained: ``teacher``, ``joint_teacher`` or ``student``. Every arm of a
            comparison trains under the role ``student``, baselines and controls included.
        dataset: The dataset's name.
    """

    def __init__(self, seed: int, role: str, dataset: str) -> None:
        self.seed = seed
        self.role = role
        self.dataset = dataset

    def seed_of(self, stream: str) -> int:
        """Return the seed of the stream called `stream`."""
        return derive_seed(self.seed, self.role, self.dataset, stream)

    def torch(self, stream: str, device: str | torch.device = "cpu") -> torch.Generator:
        """Return a new torch generator at the start of the stream."""
        return torch.Generator(device=device).manual_seed(self.seed_of(stream))

    def numpy(self, stream: str) -> np.random.Generator:
        """Return a new NumPy generator at the start of the stream."""
        return np.random.default_rng(self.seed_of(stream))

    @contextmanager
    def as_global(self, stream: str) -> Iterator[None]:
        """Make torch's global state follow the stream inside the block, then put it back.

        For code that can only draw from the global state: timm's initialisation, dropout,
        stochastic depth. Covers the CPU and every CUDA device.
        """
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed_of(stream))
            yield
