"""Stage `evaluation`: the test split, read once for a trained student."""

from __future__ import annotations

from functools import cached_property

import torch

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.images import ImageBatches, evaluate_classifier
from mlfd_tune.core.stages.student import StudentStage
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["EvaluationStage"]


class EvaluationSpec(Spec):
    """Which split is read."""

    split: str = "test"


class EvaluationStage(Stage):
    """Measures a trained student on the test split.

    Planned only for configurations that are reported, never during search.

    Args:
        student: A student or baseline.
    """

    name = "evaluation"
    spec: EvaluationSpec

    def __init__(self, student: StudentStage) -> None:
        self.student = student
        self.spec = EvaluationSpec()

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"student": self.student, "dataset": self.student.data}

    @property
    def label(self) -> str:  # noqa: D102
        return f"test of {self.student.label}"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.student.dataset

    def run(self, context: StageContext) -> StageResult:
        """Return ``test/acc1`` and ``test/acc5`` in percent, and ``test/loss``."""
        device = torch.device(context.device)
        model = load_backbone(context.inputs["student"].path, device)
        packed = PackedDataset(context.inputs["dataset"].path)
        with fixed_threads(self.student.spec.train.threads):
            batches = ImageBatches(packed, self.spec.split, device)
            return StageResult(evaluate_classifier(model, batches, self.spec.split))
