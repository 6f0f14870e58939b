"""Pipelines small enough to run for real: two halves of the digits, timm's smallest models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from mlfd_tune.core.pipeline import Catalogue, Pipeline
from mlfd_tune.core.settings import PipelineSettings, deep_merge
from mlfd_tune.core.stages import TrainingStage
from mlfd_tune.core.store import Artifact, Stage, Store
from mlfd_tune.core.training import Trainer

TRAIN = {"epochs": 1, "batch_size": 32, "lr": 3e-3}
BASE: dict[str, Any] = {
    "image_size": 32,
    "datasets": {
        "one": {"source": "digits", "train_size": 96},
        "two": {"source": "digits", "train_size": 64, "split_seed": 1},
    },
    "teacher": {"arch": "test_resnet", "train": TRAIN},
    "student": {"train": TRAIN},
    "joint_teacher": {"levels": "L2", "width": 16, "train": {**TRAIN, "epochs": 2}},
}
CATALOGUE = Catalogue()


def settings(**changes: Any) -> PipelineSettings:
    """Return the settings, with `changes` merged in mapping by mapping."""
    return PipelineSettings(**deep_merge(BASE, changes))


def pipeline(**changes: Any) -> Pipeline:
    return Pipeline(settings(**changes), CATALOGUE)


def inputs_of(stage: Stage, store: Store) -> dict[str, Artifact]:
    """Return the stage's inputs, computed where they are missing."""
    return {name: store.get_or_compute(below) for name, below in stage.inputs.items()}


def trainer_of(stage: TrainingStage, store: Store) -> Trainer:
    """Return a trainer at epoch 0."""
    return stage.trainer(inputs_of(stage, store), torch.device("cpu"))


def tensors(artifact: Artifact | Path) -> dict[str, torch.Tensor]:
    """Return the weights in a trained model's artifact."""
    path = artifact if isinstance(artifact, Path) else artifact.path
    return load_file(path / "model.safetensors")


def files(artifact: Artifact) -> Mapping[str, str]:
    """Return every file's checksum."""
    return {name: entry.sha256 for name, entry in artifact.manifest.files.items()}


def draws_of_an_epoch(trainer, monkeypatch) -> list[tuple[list[int], list[int]]]:
    """Train an epoch and return each batch's samples and where its augmentation stream stood."""
    seen = []
    learn = trainer.task.loss

    def watched(indices, augment):
        seen.append((indices.tolist(), augment.get_state().tolist()))
        return learn(indices, augment)

    monkeypatch.setattr(trainer.task, "loss", watched)
    trainer.train_epoch()
    return seen
