"""Experiments small enough to run for real in a test."""

from __future__ import annotations

from typing import Any

TRAIN = {"epochs": 4, "optimizer": "adamw", "lr": 3.0e-3}


def tiny_pipeline(**changes: Any) -> dict[str, Any]:
    """Return the method's part of an experiment: two small datasets, the smallest models."""
    return {
        "seed": 3,
        "image_size": 32,
        "datasets": {
            "digits": {"source": "digits", "train_size": 120},
            "photos": {"source": "photos", "train_size": 120},
        },
        "teacher": {"arch": "test_vit", "train": TRAIN},
        "teachers": {"photos": {"arch": "test_convnext"}},
        "student": {"train": TRAIN},
        "joint_teacher": {"levels": "L1", "width": 16, "train": {"epochs": 3, "lr": 3.0e-3}},
        **changes,
    }


def tiny_sweep(**changes: Any) -> dict[str, Any]:
    """Return a sweep of six trials per dataset, with early stopping and two seeds to confirm."""
    return {
        "kind": "sweep",
        **tiny_pipeline(),
        "search": {
            "trials": 6,
            "sampler": "random",
            "scheduler": "asha",
            "grace_epochs": 1,
            "reduction_factor": 2,
            "space": {
                "distillation.alpha": {"float": [0.1, 2.0], "log": True},
                "distillation.beta.embedding": {"float": [0.01, 1.0], "log": True},
                "joint_teacher.adaptor": {"choice": ["linear", "pointwise"]},
            },
        },
        "confirm": {"top_k": 1, "seeds": 2},
        **changes,
    }
