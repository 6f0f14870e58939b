"""Stage `level_scores`: what the teachers' levels promise for one dataset, before any fusion.

A joint teacher takes its input from the finest of its levels only: it makes the coarser maps and
the embedding from that one by its own layers (`mlfd_tune.core.models.joint_teacher`). So what a
candidate set of levels has to start with are the teachers' features at its finest level, and a
score of every single level is a score of every candidate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.metrics import topk_accuracy
from mlfd_tune.core.models import LEVELS
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.similarity import MIN_SAMPLES, linear_cka
from mlfd_tune.core.spec import Spec
from mlfd_tune.core.stages.features import FEATURE_SPLITS
from mlfd_tune.core.stages.linear_probe import fit_linear
from mlfd_tune.core.stages.pooled_features import PooledFeaturesStage
from mlfd_tune.core.store import Artifact, Stage, StageContext, StageResult

__all__ = ["SCORES", "LevelScoresSpec", "LevelScoresStage"]

SCORES = "scores.json"


class LevelScoresSpec(Spec):
    """Identity of level scores, beside the pooled features.

    Attributes:
        dataset: The dataset whose labels are probed for.
        teachers: The datasets whose teachers would be fused, sorted.
        levels: The levels scored: those all teachers have, coarse to fine.
    """

    dataset: str
    teachers: tuple[str, ...]
    levels: tuple[str, ...]


class LevelScoresStage(Stage):
    """Scores every level by what a linear probe reads off it and by how alike the teachers are.

    For each level, from averaged features of clean images:

    * ``probe/<level>``: top-1 validation accuracy in percent of a logistic regression on all
      teachers' vectors, joined, fitted on the training images (`fit_linear`).
    * ``probe_own/<level>``: the same with the dataset's own teacher alone. The difference is what
      the other teachers bring.
    * ``cka/<level>``: the linear CKA of two teachers on the validation images, averaged over all
      pairs of the teachers that would be fused; left out where there is only one. ``scores.json``
      has each pair's.

    ``images`` is how many validation images that is. What averaging over positions loses, the
    joint teacher may still use; so it is a hint, and no bound in either direction.

    Args:
        features: The pooled features of the teachers that would be fused, of one dataset.
        own: Those of the dataset's own teacher, one of them or not.

    Raises:
        UserError: There are too few validation images.
    """

    name = "level_scores"
    spec: LevelScoresSpec

    def __init__(self, features: Sequence[PooledFeaturesStage], own: PooledFeaturesStage) -> None:
        self.features = {stage.teacher.dataset: stage for stage in features}
        self.own = own
        dataset = own.data.dataset
        if own.count("val") < MIN_SAMPLES:
            raise UserError(
                f"datasets.{dataset}: too few validation images to compare teachers on: "
                f"{own.count('val')} (allowed: {MIN_SAMPLES} or more)"
            )
        looked_at = [*self.features.values(), own]
        levels = [
            level for level in LEVELS if all(level in stage.spec.levels for stage in looked_at)
        ]
        self.spec = LevelScoresSpec(
            dataset=dataset, teachers=tuple(sorted(self.features)), levels=tuple(levels)
        )

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        features: dict[str, Stage] = {
            f"features/{name}": self.features[name] for name in self.spec.teachers
        }
        return features | {"own_features": self.own, "dataset": self.own.data}

    @property
    def label(self) -> str:  # noqa: D102
        return f"level scores {self.spec.dataset} ({', '.join(self.spec.teachers)})"

    @property
    def dataset(self) -> str:  # noqa: D102
        return self.spec.dataset

    def estimate_bytes(self) -> int:
        """A few numbers of every level and of every pair of teachers."""
        # Escaped, a character of a name takes at most 6 bytes.
        pairs = sum(128 + 6 * (len(a) + len(b)) for a, b in combinations(self.spec.teachers, 2))
        return 1024 + 6 * len(self.spec.dataset) + len(self.spec.levels) * (256 + pairs)

    def run(self, context: StageContext) -> StageResult:
        """Compare the teachers and fit the probes, level by level."""
        device, dataset = torch.device(context.device), context.inputs["dataset"]
        packed, own = PackedDataset(dataset.path), context.inputs["own_features"]
        fused = {name: context.inputs[f"features/{name}"] for name in self.spec.teachers}
        labels = {
            split: torch.from_numpy(packed.labels(split)[_array(own, split, "indices")]).to(device)
            for split in FEATURE_SPLITS
        }
        levels: dict[str, dict[str, float]] = {}
        pairs: dict[str, list[dict[str, Any]]] = {}
        with fixed_threads(self.own.teacher.threads):
            for number, level in enumerate(self.spec.levels, start=1):
                seen = {name: _vectors(artifact, level, device) for name, artifact in fused.items()}
                alone = _vectors(own, level, device)
                levels[level] = {
                    "probe": _probe(_joined(seen), labels, packed.num_classes),
                    "probe_own": _probe(alone, labels, packed.num_classes),
                }
                pairs[level] = [
                    {"teachers": [a, b], "cka": linear_cka(seen[a]["val"], seen[b]["val"])}
                    for a, b in combinations(seen, 2)
                ]
                if pairs[level]:
                    levels[level]["cka"] = fmean(pair["cka"] for pair in pairs[level])
                text = f"{level}: probe {levels[level]['probe']:.1f}"
                context.progress(number / len(self.spec.levels), text)
        images = len(labels["val"])
        content = {
            "dataset": self.spec.dataset,
            "val_images": images,
            "levels": {level: {**score, "pairs": pairs[level]} for level, score in levels.items()},
        }
        (context.out / SCORES).write_text(json.dumps(content, indent=1))
        metrics = {
            f"{name}/{level}": value
            for level, score in levels.items()
            for name, value in score.items()
        }
        return StageResult({"images": float(images), **metrics})


def _array(artifact: Artifact, split: str, name: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(artifact.path / f"{split}_{name}.npy")
    return array


def _vectors(artifact: Artifact, level: str, device: torch.device) -> dict[str, Tensor]:
    """Return a teacher's vectors (N, C) of each split."""
    return {
        split: torch.from_numpy(_array(artifact, split, level)).to(device)
        for split in FEATURE_SPLITS
    }


def _joined(seen: Mapping[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return all teachers' vectors side by side, in the order given."""
    return {
        split: torch.cat([vectors[split] for vectors in seen.values()], dim=1)
        for split in FEATURE_SPLITS
    }


def _probe(vectors: dict[str, Tensor], labels: dict[str, Tensor], num_classes: int) -> float:
    """Return the validation accuracy in percent of a probe fitted on the training images."""
    weight, bias = fit_linear(vectors["train"], labels["train"], num_classes)
    logits = F.linear(vectors["val"].double(), weight, bias)
    return topk_accuracy(logits, labels["val"], ks=(1,))["acc1"]
