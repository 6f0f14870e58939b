"""A real but very small thing to train: handwritten digits by a perceptron, in milliseconds."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from mlfd_tune.core.losses import LossTerms, cross_entropy_terms
from mlfd_tune.core.seeding import RandomStreams
from mlfd_tune.core.training import Task, Trainer, TrainSpec

CPU = torch.device("cpu")


class DigitsTask(Task):
    """Classifies 8x8 digits, with noise as augmentation.

    Attributes:
        seen: The indices of every batch, in order.
        threads: The intra-op threads of every batch and evaluation.
    """

    def __init__(self, model: nn.Module, size: int = 96, noise: float = 0.1) -> None:
        digits = load_digits()
        self.model = model
        self.size = size
        self.noise = noise
        dtype = next(model.parameters()).dtype
        self.pixels = torch.from_numpy(digits.data / 16.0).to(dtype)
        self.labels = torch.from_numpy(digits.target).long()
        self.seen: list[list[int]] = []
        self.threads: list[int] = []

    def loss(self, indices: Tensor, augment: torch.Generator) -> LossTerms:
        self.seen.append(indices.tolist())
        self.threads.append(torch.get_num_threads())
        pixels = self.pixels[indices]
        noise = torch.randn(pixels.shape, generator=augment, dtype=pixels.dtype)
        return cross_entropy_terms(self.model(pixels + self.noise * noise), self.labels[indices])

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        self.threads.append(torch.get_num_threads())
        validation = slice(1000, 1200)
        logits, labels = self.model(self.pixels[validation]), self.labels[validation]
        accuracy = (logits.argmax(dim=1) == labels).double().mean() * 100
        return {"val/acc1": float(accuracy), "val/loss": float(F.cross_entropy(logits, labels))}


def perceptron(streams: RandomStreams, *, plain: bool = False) -> nn.Module:
    """Return a new network; with batch norm and dropout unless it is to be plain."""
    with streams.as_global("init"):
        extras = [] if plain else [nn.BatchNorm1d(16), nn.Dropout(0.3)]
        return nn.Sequential(nn.Linear(64, 16), *extras, nn.ReLU(), nn.Linear(16, 10))


def digits_trainer(
    seed: int = 0,
    dataset: str = "digits",
    role: str = "student",
    *,
    size: int = 96,
    plain: bool = False,
    double: bool = False,
    noise: float = 0.1,
    **train: object,
) -> Trainer:
    """Return a trainer at epoch 0; `train` is over 3 epochs of batches of 32."""
    streams = RandomStreams(seed, role, dataset)
    model = perceptron(streams, plain=plain)
    task = DigitsTask(model.double() if double else model, size, noise)
    spec = TrainSpec(**{"epochs": 3, "batch_size": 32, "lr": 0.01, **train})
    return Trainer(task, spec, streams, CPU)


def train_to_the_end(trainer: Trainer) -> Trainer:
    while not trainer.done:
        trainer.train_epoch()
    return trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    """Return a copy of the model's weights and buffers."""
    return {name: value.clone() for name, value in trainer.task.model.state_dict().items()}


def assert_identical(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Compare bit by bit."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
