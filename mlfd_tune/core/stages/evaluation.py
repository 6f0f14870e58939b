"""Stage `evaluation`: the test split, read once for a finished network."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from mlfd_tune.core.calibration import calibration_bins, expected_calibration_error
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.metrics import AccuracyMeter
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.model_files import NPY_HEADER
from mlfd_tune.core.stages.readers import Reader
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["EvaluationStage"]


class EvaluationSpec(Spec):
    """Which split is read."""

    split: str = "test"


class EvaluationStage(Stage):
    """Measures a network on the test split, and keeps what it said of every image.

    Planned only for configurations that are reported, never during search. Writes ``logits.npy``
    (N, K) float32 and ``labels.npy`` (N,) int64, so that whatever else is asked of the test split
    later, such as a confusion matrix, is made from the one reading.

    Args:
        reader: The network.
        data: Its dataset.
    """

    name = "evaluation"
    version = 2  # keeps logits
    spec: EvaluationSpec

    def __init__(self, reader: Reader, data: DatasetStage) -> None:
        self.reader = reader
        self.data = data
        self.spec = EvaluationSpec()

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return self.reader.inputs(self.data)

    @property
    def label(self) -> str:  # noqa: D102
        return f"test of {self.reader.label}"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.data.dataset

    def estimate_bytes(self) -> int:
        """A logit for every class and a label for every image."""
        images = self.data.counts[self.spec.split]
        return images * (4 * self.data.num_classes + 8) + 2 * NPY_HEADER

    def run(self, context: StageContext) -> StageResult:
        """Return ``test/acc1``, ``test/acc5`` and ``test/ece`` in percent, and ``test/loss``.

        Raises:
            UserError: The network tells apart other classes than the dataset's.
        """
        device, split = torch.device(context.device), self.spec.split
        meter = AccuracyMeter()
        loss = torch.zeros((), device=device)
        logits, labels = [], []
        with fixed_threads(self.reader.threads):
            for reading in self.reader.read(context.inputs, split, device):
                if reading.logits is None:
                    raise UserError(
                        f"{self.reader.label}: its classes are not those of {self.dataset}"
                    )
                meter.update(reading.logits, reading.labels)
                loss += F.cross_entropy(reading.logits, reading.labels, reduction="sum")
                logits.append(reading.logits.cpu().numpy())
                labels.append(reading.labels.cpu().numpy())
        answers, truth = np.concatenate(logits), np.concatenate(labels)
        np.save(context.out / "logits.npy", answers)
        np.save(context.out / "labels.npy", truth)
        metrics = {f"{split}/{name}": value for name, value in meter.compute().items()}
        metrics[f"{split}/loss"] = float(loss) / len(truth)
        metrics[f"{split}/ece"] = expected_calibration_error(calibration_bins(answers, truth))
        return StageResult(metrics)
