"""What stages that train have in common: epochs, checkpoints, resuming."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

import torch

from mlfd_tune.core.store import Artifact, Stage, StageContext, StageResult
from mlfd_tune.core.training import Trainer

__all__ = ["TrainingStage"]


class TrainingStage(Stage):
    """A stage that trains a model with the one training loop and can be interrupted."""

    @property
    @abstractmethod
    def epochs(self) -> int:
        """Epochs of the whole training."""

    @abstractmethod
    def trainer(self, inputs: Mapping[str, Artifact], device: torch.device) -> Trainer:
        """Return a trainer at epoch 0."""

    @abstractmethod
    def save(self, trainer: Trainer, out: Path) -> None:
        """Write the trained model's files."""

    def open(self, context: StageContext) -> Trainer:
        """Return a trainer at the last checkpoint in `context.work`, or at epoch 0."""
        trainer = self.trainer(context.inputs, torch.device(context.device))
        trainer.resume(context.work)
        return trainer

    def finish(self, trainer: Trainer, out: Path) -> StageResult:
        """Write the artifact's files and return its result: the last epoch's metrics."""
        with trainer.final_weights():
            self.save(trainer, out)
        return StageResult(trainer.history[-1], tuple(trainer.history))

    def run(self, context: StageContext) -> StageResult:
        """Train to the end, checkpointing in `context.work`."""
        trainer = self.open(context)
        while not trainer.done:
            metrics = trainer.train_epoch()
            trainer.save_now_and_then(context.work)
            try:
                context.progress(trainer.epoch / self.epochs, f"val/acc1 {metrics['val/acc1']:.1f}")
            except BaseException:  # who is told of the progress may end the training here
                trainer.save(context.work)
                raise
        return self.finish(trainer, context.out)
