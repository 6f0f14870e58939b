"""Everything that is asked of a dataset's finished networks: what `mlfd-tune evaluate` measures.

Whatever can be kept is a stage, so that a second evaluation finds it in the store; only the speed
is measured anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mlfd_tune.core.calibration import CalibrationBins, calibration_bins
from mlfd_tune.core.confusion import confusion_matrix
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.methods.joint import Mlfd
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.stages import DatasetStage, EvaluationStage, Reader, teacher_reader
from mlfd_tune.core.stages.representation import RepresentationStage
from mlfd_tune.core.stages.teacher import TeacherSpec
from mlfd_tune.core.stages.throughput import classifier_of, images_per_second
from mlfd_tune.core.store import Artifact, Stage, Store, walk

__all__ = [
    "JOINT_TEACHER",
    "STUDENT",
    "TEACHER",
    "Evaluation",
    "Measured",
    "Network",
    "networks",
    "usual_comparisons",
]

STUDENT = "student"
"""The configuration's own network, whatever method it is of."""
TEACHER = "teacher"
"""The dataset's own teacher, as it is before anything is fused."""
JOINT_TEACHER = "joint_teacher"

_MEASURES = ("knn_acc1", "probe_acc1")


@dataclass(frozen=True)
class Network:
    """A network to evaluate.

    Attributes:
        name: `STUDENT`, `TEACHER` or a method's name.
        stage: What trains it.
        reader: What runs it over images.
        seed: The seed it was trained with; None for weights that were not trained here.
    """

    name: str
    stage: Stage
    reader: Reader
    seed: int | None

    @property
    def label(self) -> str:
        """A few words that tell a person which network this is."""
        return self.reader.label


@dataclass(frozen=True, eq=False)
class Measured:
    """What a network was found to do.

    Attributes:
        network: The network.
        metrics: ``test/acc1``, ``test/acc5``, ``test/ece``, ``test/knn_acc1``, ``test/probe_acc1``
            and ``transfer/<name>/...`` in percent, and the like of ``val``.
        matrix: (K, K) test images ``[true, predicted]``.
        bins: The reliability of its confidence on the test split.
        parameters: What it takes to run it.
        images_per_second: By batch size; empty where nobody knows how to run it alone.
        embeddings: (N, C) float16 of the test images.
        labels: (N,) int64, their classes.
    """

    network: Network
    metrics: Mapping[str, float]
    matrix: NDArray[np.int64]
    bins: CalibrationBins
    parameters: int
    images_per_second: Mapping[int, float]
    embeddings: NDArray[np.float16]
    labels: NDArray[np.int64]


class Evaluation:
    """Networks trained for one dataset, and all that is asked of them.

    Args:
        networks: The networks, by different names.
        data: Their dataset, at any image size.
        transfer: Datasets that none of them has seen, by the names they go by.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        data: DatasetStage,
        transfer: Mapping[str, DatasetStage],
    ) -> None:
        self.networks = tuple(networks)
        self.data = data
        self._tests = {one.name: EvaluationStage(one.reader, data) for one in networks}
        self._own = {one.name: RepresentationStage(one.reader, data) for one in networks}
        self._transfer = {
            one.name: {name: RepresentationStage(one.reader, new) for name, new in transfer.items()}
            for one in networks
        }

    def stages(self) -> list[Stage]:
        """Return every stage that is needed, inputs before what reads them."""
        wanted: list[Stage] = []
        for network in self.networks:
            name = network.name
            wanted += [network.stage, self._tests[name], self._own[name]]
            wanted += self._transfer[name].values()
        return list(walk(wanted))

    def measure(self, store: Store, device: torch.device) -> list[Measured]:
        """Return what is found, in the order of the networks.

        Args:
            store: Has every one of `stages`.
            device: Where the speed is measured; the rest is in the store.

        Raises:
            LookupError: A stage was not computed.
        """
        inputs = {one.name: self._inputs(one, store) for one in self.networks}
        built = {
            one.name: (classify, one.reader.threads)
            for one in self.networks
            if (classify := classifier_of(one.reader, inputs[one.name], device)) is not None
        }
        speeds = images_per_second(built, device)
        return [
            self._measured(one, inputs[one.name], speeds.get(one.name, {}), store)
            for one in self.networks
        ]

    def _measured(
        self,
        network: Network,
        inputs: Mapping[str, Artifact],
        speed: Mapping[int, float],
        store: Store,
    ) -> Measured:
        test, own = _get(store, self._tests[network.name]), _get(store, self._own[network.name])
        metrics = dict(test.manifest.metrics) | dict(own.manifest.metrics)
        for name, stage in self._transfer[network.name].items():
            found = _get(store, stage).manifest.metrics
            metrics |= {f"transfer/{name}/{what}": found[f"test/{what}"] for what in _MEASURES}
        logits, labels = _array(test, "logits"), _array(test, "labels")
        return Measured(
            network=network,
            metrics=metrics,
            matrix=confusion_matrix(logits.argmax(axis=1), labels, self.data.num_classes),
            bins=calibration_bins(logits, labels),
            parameters=network.reader.parameters(inputs),
            images_per_second=speed,
            embeddings=_array(own, "test_embeddings"),
            labels=labels,
        )

    def _inputs(self, network: Network, store: Store) -> dict[str, Artifact]:
        stages = network.reader.inputs(self.data)
        return {name: _get(store, stage) for name, stage in stages.items()}


def networks(pipeline: Pipeline, target: str, names: Sequence[str]) -> list[Network]:
    """Return the configuration's student and what is to stand beside it.

    A joint teacher is the one that the configuration's students learn from; all else has the
    student's seed.

    Args:
        pipeline: The configuration.
        target: The dataset.
        names: `TEACHER` and names of methods. The configuration's own method is the student
            already and is left out, as is what stands twice.
    """
    method = pipeline.settings.method
    found = [_of_method(pipeline, target, method, STUDENT)]
    for name in dict.fromkeys(names):
        if name == TEACHER:
            found.append(_teacher(pipeline, target))
        elif name != method:
            found.append(_of_method(pipeline, target, name, name))
    return found


def usual_comparisons(settings: PipelineSettings) -> tuple[str, ...]:
    """Return what a configuration's student is compared with unless one is told otherwise.

    The baseline, the dataset's own teacher and, where the method fuses teachers, what they became.
    """
    method = METHODS[settings.method]
    fuses = issubclass(method, Mlfd) and method.role == "method"
    found = ("none", TEACHER, JOINT_TEACHER) if fuses else ("none", TEACHER)
    return tuple(name for name in found if name != settings.method)


def _of_method(pipeline: Pipeline, target: str, method: str, name: str) -> Network:
    # The joint teacher's seed is the settings', whatever the seed of the student.
    seed = pipeline.settings.seed if name == JOINT_TEACHER else None
    stage = pipeline.student(target, method, seed)
    return Network(name, stage, stage.reader(), stage.spec.seed)


def _teacher(pipeline: Pipeline, target: str) -> Network:
    stage = pipeline.teacher(target)
    seed = stage.spec.seed if isinstance(stage.spec, TeacherSpec) else None
    return Network(TEACHER, stage, teacher_reader(stage), seed)


def _get(store: Store, stage: Stage) -> Artifact:
    artifact = store.get(stage)
    if artifact is None:
        raise LookupError(f"{stage.label} was not computed")
    return artifact


def _array(artifact: Artifact, name: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(artifact.path / f"{name}.npy")
    return array
