"""How to train: the settings of the one training loop."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from mlfd_tune.core.data import AugmentSpec
from mlfd_tune.core.spec import Spec

__all__ = ["TrainSpec"]


class TrainSpec(Spec):
    """Settings of one training; part of the hash of every stage that trains."""

    added_later: ClassVar[frozenset[str]] = frozenset({"compile"})

    epochs: int = Field(20, ge=1, description="Passes over the training split.")
    batch_size: int = Field(64, ge=2, description="Images per forward pass.")
    accumulate: int = Field(
        1, ge=1, description="Forward passes whose gradients make one optimizer step."
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="The optimizer.")
    lr: float = Field(1e-3, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(1e-3, ge=0, description="Weight decay.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of `sgd`.")
    schedule: Literal["constant", "cosine", "onecycle"] = Field(
        "onecycle", description="Learning-rate schedule over all steps."
    )
    warmup_epochs: float = Field(
        0.0, ge=0, description="Linear warm-up before `constant` and `cosine`, in epochs."
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing of the hard CE.")
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="Evaluate and keep a moving average of the weights."
    )
    clip_grad: float | None = Field(None, gt=0, description="Clip the gradient's global L2 norm.")
    augment: AugmentSpec = Field(
        AugmentSpec(), description="Augmentation: a preset's name, or its settings."
    )
    drop_rate: float = Field(0.0, ge=0, lt=1, description="Dropout before the classifier.")
    drop_path_rate: float = Field(0.0, ge=0, lt=1, description="Stochastic depth.")
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="Mixed precision; `auto` is fp32 without a GPU."
    )
    threads: int = Field(
        1, ge=1, description="Intra-op threads on CPU. Part of the identity: sums depend on it."
    )
    compile: bool = Field(
        False,
        description="Compile the network with torch.compile. It rounds otherwise, and pays where "
        "an epoch is long beside the minute that compiling takes.",
    )
