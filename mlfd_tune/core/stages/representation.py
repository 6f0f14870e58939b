"""Stage `representation`: how good a frozen network's embeddings are for a dataset, its own or new.

UNIC's protocol: k nearest neighbours with k = 20, and a logistic regression whose C is chosen on
the validation split.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, singledispatch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mlfd_tune.core.models import level_shapes
from mlfd_tune.core.models.levels import EMBEDDING
from mlfd_tune.core.neighbours import NEIGHBOURS, TEMPERATURE, knn_predict
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.features import to_half
from mlfd_tune.core.stages.joint_reader import JointReader
from mlfd_tune.core.stages.linear_probe import fit_linear
from mlfd_tune.core.stages.model_files import NPY_HEADER
from mlfd_tune.core.stages.readers import BackboneReader, Reader
from mlfd_tune.core.stages.teacher import TeacherIdentity
from mlfd_tune.core.stages.trial_stage import StudentSpec
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["PROBE_C", "SPLITS", "RepresentationSpec", "RepresentationStage"]

SPLITS = ("train", "val", "test")

PROBE_C = tuple(10.0**power for power in range(-4, 3))
"""The values of C tried: on standardised features, from hardly any weight to hardly any penalty."""

_WIDEST = 8192  # channels of an embedding, for readers whose networks nobody here knows


class RepresentationSpec(Spec):
    """Identity of a measurement, beside the network and the dataset.

    Attributes:
        neighbours: k of the k-NN.
        temperature: Of its vote.
        probe_c: Values of C the linear probe is tried with.
        dtype: Of the embeddings, both as they are kept and as they are measured.
    """

    neighbours: int = NEIGHBOURS
    temperature: float = TEMPERATURE
    probe_c: tuple[float, ...] = PROBE_C
    dtype: str = "float16"


class RepresentationStage(Stage):
    """Classifies a dataset by a frozen network's embeddings, whatever the network has learned.

    Writes ``{split}_embeddings.npy`` (N, C) float16 and ``{split}_labels.npy`` (N,) int64 of the
    clean images of ``train``, ``val`` and ``test``. Both classifiers learn from the training split
    alone: with the validation split added, the test accuracy would be that of another fit than the
    validation accuracy, and of more images than the network's own classifier has learned from.

    Planned only for networks that are reported, never during search: the test split is read.

    Args:
        reader: The network.
        data: The dataset, the network's own or one that it has never seen.
    """

    name = "representation"
    spec: RepresentationSpec

    def __init__(self, reader: Reader, data: DatasetStage) -> None:
        self.reader = reader
        self.data = data
        self.spec = RepresentationSpec()

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return self.reader.inputs(self.data)

    @property
    def label(self) -> str:  # noqa: D102
        return f"embeddings of {self.data.dataset} by {self.reader.label}"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.data.dataset

    def estimate_bytes(self) -> int:
        """Two bytes a channel and eight a label for every image."""
        images = sum(self.data.counts[split] for split in SPLITS)
        return images * (2 * _width(self.reader) + 8) + 2 * len(SPLITS) * NPY_HEADER

    def run(self, context: StageContext) -> StageResult:
        """Return top-1 accuracies in percent, and the C chosen.

        They are ``knn_acc1`` and ``probe_acc1`` of ``val`` and ``test``, and ``probe_c``.
        """
        device = torch.device(context.device)
        features: dict[str, Tensor] = {}
        labels: dict[str, Tensor] = {}
        with fixed_threads(self.reader.threads):
            for number, split in enumerate(SPLITS, start=1):
                features[split], labels[split] = self._read(context, split, device)
                context.progress(0.5 * number / len(SPLITS), f"{split} read")
            metrics = self._knn(features, labels) | self._probe(features, labels, context)
        return StageResult(metrics)

    def _read(
        self, context: StageContext, split: str, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Write a split's embeddings and labels, and return them as they were written."""
        parts, classes = [], []
        for reading in self.reader.read(context.inputs, split, device):
            parts.append(to_half(reading.embedding))
            classes.append(reading.labels.cpu().numpy())
        embeddings, labels = np.concatenate(parts), np.concatenate(classes)
        np.save(context.out / f"{split}_embeddings.npy", embeddings)
        np.save(context.out / f"{split}_labels.npy", labels)
        return torch.from_numpy(embeddings).float().to(device), torch.from_numpy(labels).to(device)

    def _knn(
        self, features: Mapping[str, Tensor], labels: Mapping[str, Tensor]
    ) -> dict[str, float]:
        found = {}
        for split in ("val", "test"):
            predicted = knn_predict(
                features["train"],
                labels["train"],
                features[split],
                self.data.num_classes,
                self.spec.neighbours,
                self.spec.temperature,
            )
            found[f"{split}/knn_acc1"] = _share(predicted == labels[split].cpu())
        return found

    def _probe(
        self, features: Mapping[str, Tensor], labels: Mapping[str, Tensor], context: StageContext
    ) -> dict[str, float]:
        """Fit with every C and look at the test split with the best alone.

        Of equally good ones that is the smallest: the simplest classifier.
        """
        fits: dict[float, tuple[Tensor, Tensor]] = {}
        accuracy: dict[float, float] = {}
        for number, c in enumerate(self.spec.probe_c, start=1):
            fits[c] = fit_linear(
                features["train"], labels["train"], self.data.num_classes, penalty=1 / c
            )
            accuracy[c] = _linear_accuracy(fits[c], features["val"], labels["val"])
            done = 0.5 + 0.5 * number / len(self.spec.probe_c)
            context.progress(done, f"probe with C {c:g}: val {accuracy[c]:.1f}")
        best = min(accuracy, key=lambda c: (-accuracy[c], c))
        return {
            "val/probe_acc1": accuracy[best],
            "test/probe_acc1": _linear_accuracy(fits[best], features["test"], labels["test"]),
            "probe_c": best,
        }


def _linear_accuracy(fit: tuple[Tensor, Tensor], features: Tensor, labels: Tensor) -> float:
    weight, bias = fit
    return _share(F.linear(features.double(), weight, bias).argmax(dim=1) == labels)


def _share(hits: Tensor) -> float:
    """Return how many of the hits (N,) bool are there, in percent."""
    return 100.0 * int(hits.sum()) / len(hits)


@singledispatch
def _width(reader: Reader) -> int:
    """Return the channels of a network's embedding, or a bound on them."""
    return _WIDEST


@_width.register
def _(reader: BackboneReader) -> int:
    spec = reader.stage.spec
    if not isinstance(spec, TeacherIdentity | StudentSpec):
        return _WIDEST
    return level_shapes(spec.arch, reader.image_size)[EMBEDDING][0]


@_width.register
def _(reader: JointReader) -> int:
    return reader.joint_teacher.out_shapes[EMBEDDING][0]
