"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

from mlfd_tune.core.training.spec import TrainSpec

__all__ = ["build_optimizer", "build_schedule"]


def build_optimizer(
    parameters: Iterable[torch.nn.Parameter], spec: TrainSpec
) -> torch.optim.Optimizer:
    """Return the optimizer that `spec` names, over `parameters`; fused where all are on a GPU."""
    trainable = list(parameters)
    # On CPU a fused step rounds otherwise, and a step over lists of tensors is slower for networks
    # that outgrow the cache: there it stays torch's plain one.
    fused = True if all(parameter.is_cuda for parameter in trainable) else None
    if spec.optimizer == "sgd":
        return torch.optim.SGD(
            trainable,
            lr=spec.lr,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
            fused=fused,
        )
    kind = torch.optim.Adam if spec.optimizer == "adam" else torch.optim.AdamW
    return kind(trainable, lr=spec.lr, weight_decay=spec.weight_decay, fused=fused)


def build_schedule(
    optimizer: torch.optim.Optimizer, spec: TrainSpec, steps_per_epoch: int
) -> LRScheduler:
    """Return the schedule, stepped once per optimizer step.

    Args:
        optimizer: Whose learning rate is scheduled.
        spec: Names the schedule, its epochs and warm-up.
        steps_per_epoch: Optimizer steps in one epoch.
    """
    total = spec.epochs * steps_per_epoch
    if spec.schedule == "onecycle":
        return OneCycleLR(optimizer, max_lr=spec.lr, total_steps=total, cycle_momentum=False)
    warmup = min(round(spec.warmup_epochs * steps_per_epoch), total - 1)
    main: LRScheduler = (
        CosineAnnealingLR(optimizer, T_max=max(total - warmup, 1))
        if spec.schedule == "cosine"
        else ConstantLR(optimizer, factor=1.0, total_iters=0)
    )
    if warmup == 0:
        return main
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return SequentialLR(optimizer, [rise, main], milestones=[warmup])
