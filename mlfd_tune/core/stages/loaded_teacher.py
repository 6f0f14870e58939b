"""Stage `teacher` without training: a network that exists already, taken as it is."""

from __future__ import annotations

import torch

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.stages.dataset import DatasetStage
from mlfd_tune.core.stages.images import evaluate_classifier
from mlfd_tune.core.stages.linear_probe import fit_head
from mlfd_tune.core.stages.model_files import save_model, without_draws
from mlfd_tune.core.stages.normalisation import Normalisation
from mlfd_tune.core.stages.teacher import (
    Teacher,
    TeacherIdentity,
    describe_backbone,
    teacher_images,
)
from mlfd_tune.core.stages.weights import WeightsSource, backbone_from
from mlfd_tune.core.store import StageContext, StageResult

__all__ = ["LoadedTeacherSpec", "LoadedTeacherStage"]


class LoadedTeacherSpec(TeacherIdentity):
    """Identity of a loaded teacher. There is no seed: nothing is drawn.

    Attributes:
        weights: Identity of the weights.
        keep_head: False where these are known to tell apart other classes than the dataset's.
        normalisation: Statistics of its input images; None for the dataset's own.
        threads: Intra-op threads on CPU; sums depend on it.
    """

    weights: str
    keep_head: bool
    normalisation: Normalisation | None
    threads: int


class LoadedTeacherStage(Teacher):
    """Takes a network as it is, and measures it on the validation split.

    Its classifier is the source's where that has the dataset's classes. Else the network is frozen
    and a linear probe is fitted on its embeddings of the clean training images, so that there are
    logits to measure and to distil. ``head`` in the description says which: ``file`` or ``probe``.

    Args:
        data: The packed dataset.
        arch: Name of a timm model.
        source: The weights.
        threads: Intra-op threads on CPU.
        normalisation: Statistics of its input images; None for the dataset's own.
    """

    spec: LoadedTeacherSpec

    def __init__(
        self,
        data: DatasetStage,
        arch: str,
        source: WeightsSource,
        threads: int = 1,
        normalisation: Normalisation | None = None,
    ) -> None:
        self.data = data
        self.source = source
        self.spec = LoadedTeacherSpec(
            dataset=data.dataset,
            arch=arch,
            weights=source.identity,
            keep_head=source.suits(data.listing[1]),
            normalisation=normalisation,
            threads=threads,
        )

    @property
    def origin(self) -> str:  # noqa: D102
        return "loaded"

    @property
    def threads(self) -> int:  # noqa: D102
        return self.spec.threads

    def run(self, context: StageContext) -> StageResult:
        """Load, fit the classifier where need be, measure and keep.

        Returns:
            ``val/acc1`` and ``val/acc5`` in percent, and ``val/loss``.

        Raises:
            UserError: The weights cannot be had or do not fit, or a classifier cannot be fitted.
        """
        device = torch.device(context.device)
        packed = PackedDataset(context.inputs["dataset"].path)
        training, validation = (
            teacher_images(packed, split, device, self.spec.normalisation)
            for split in ("train", "val")
        )
        with fixed_threads(self.spec.threads):
            model, has_head = self._load(packed)
            model = model.to(device).eval()
            if not has_head:
                context.progress(0.1, "fitting a linear probe")
                fit_head(model, training)
            metrics = evaluate_classifier(model, validation, "val")
        about = describe_backbone(self.spec.arch, validation)
        save_model(model, about | {"head": "file" if has_head else "probe"}, context.out)
        context.progress(1.0, f"val/acc1 {metrics['val/acc1']:.1f}")
        return StageResult(metrics)

    def _load(self, packed: PackedDataset) -> tuple[Backbone, bool]:
        with without_draws():
            return backbone_from(
                self.source,
                self.spec.arch,
                packed.num_classes,
                packed.image_size,
                keep_head=self.spec.keep_head,
            )
