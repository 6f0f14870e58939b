"""Stage `joint_reading`: how a joint teacher itself does on one dataset, epoch by epoch.

The paper's tables have rows for joint teachers (Tables 2 to 4). A trial of the method
`joint_teacher` is such a row: nothing is trained for it but the joint teacher, which it shares with
every student of the same configuration.
"""

from __future__ import annotations

import json
from functools import cached_property

from mlfd_tune.core.stages.joint_reader import JointReader
from mlfd_tune.core.stages.joint_teacher import JointTeacherStage
from mlfd_tune.core.stages.readers import Reader
from mlfd_tune.core.stages.trial_stage import StudentSpec, TrialStage
from mlfd_tune.core.store import Stage, StageContext, StageResult

__all__ = ["ARCH", "JointReadingStage"]

ARCH = "joint teacher"
"""What stands in place of an architecture's name."""


class JointReadingStage(TrialStage):
    """Tells one dataset's part of a joint teacher's history.

    Args:
        joint_teacher: The joint teacher; its seed is the trial's.
        target: One of the datasets it has a head for.
    """

    name = "joint_reading"

    def __init__(self, joint_teacher: JointTeacherStage, target: str) -> None:
        self.joint_teacher = joint_teacher
        self.data = joint_teacher.data(target)
        self.spec = StudentSpec(
            dataset=target,
            arch=ARCH,
            train=joint_teacher.spec.train,
            seed=joint_teacher.spec.seed,
        )

    @cached_property
    def inputs(self) -> dict[str, Stage]:  # noqa: D102
        return {"joint_teacher": self.joint_teacher}

    def reader(self) -> Reader:  # noqa: D102
        return JointReader(self.joint_teacher, self.dataset)

    def estimate_bytes(self) -> int:
        """A few lines."""
        return 1024

    def run(self, context: StageContext) -> StageResult:
        """Return the joint teacher's metrics on the dataset as ``val/acc1`` and so on."""
        joint = context.inputs["joint_teacher"]
        history = tuple(self._own(metrics) for metrics in joint.manifest.history)
        about = {"joint_teacher": joint.key, "dataset": self.dataset}
        (context.out / "reading.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
        return StageResult(history[-1], history)

    def _own(self, metrics: dict[str, float]) -> dict[str, float]:
        """Keep what concerns the dataset, under the names that students' metrics have."""
        own = {
            f"val/{name}": metrics[f"val/{name}/{self.dataset}"]
            for name in ("acc1", "acc5", "loss")
        }
        return own | {name: value for name, value in metrics.items() if name.startswith("train/")}
