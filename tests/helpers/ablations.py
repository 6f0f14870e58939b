"""Ablations that are planned and never run: three datasets, timm's smallest models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlfd_tune.ablation import Ablation
from mlfd_tune.config import AblationConfig, load_experiment
from tests.helpers.command import write_yaml

DATASETS = {
    name: {"source": "digits", "train_size": 60, "split_seed": number}
    for number, name in enumerate(("one", "two", "three"))
}
BASE: dict[str, Any] = {
    "kind": "ablation",
    "image_size": 32,
    "datasets": DATASETS,
    "teacher": {"arch": "test_resnet", "train": {"epochs": 1}},
    "student": {"train": {"epochs": 1}},
    "joint_teacher": {"levels": "L2", "width": 16, "train": {"epochs": 1}},
}


def ablation_config(design: dict[str, Any], **changes: Any) -> AblationConfig:
    """Return the configuration of an ablation with this design."""
    return AblationConfig.model_validate({**BASE, "design": design, **changes})


def planned_ablation(folder: Path, design: dict[str, Any], **changes: Any) -> Ablation:
    """Return an ablation with this design that has its store in `folder`."""
    content = {**BASE, "design": design, "store": {"path": str(folder / "store")}, **changes}
    ablation = Ablation.of(load_experiment(write_yaml(folder / "arms.yaml", content)))
    assert isinstance(ablation, Ablation)
    return ablation
