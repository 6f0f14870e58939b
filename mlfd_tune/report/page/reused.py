"""What a run was spared because stages are computed once and kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from mlfd_tune.report.page.material import Material
from mlfd_tune.report.reuse_figure import Reuse
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tune.run_log import SECONDS_TRAINED

__all__ = ["RunReuse", "reuse_of"]

_STUDENTS = "students"


@dataclass(frozen=True)
class RunReuse:
    """Seconds of computing, done and saved.

    Attributes:
        kinds: By stage name, in the order they depend on each other, and students at the end.
        users: How many trainings of the run read a stage, by the stage run's id.
        here: Ids of the stage runs that this run computed; it found the others.
    """

    kinds: tuple[Reuse, ...]
    users: Mapping[str, int]
    here: frozenset[str]

    @property
    def computed(self) -> float:
        """Seconds that were computed."""
        return sum(kind.computed for kind in self.kinds)

    @property
    def saved(self) -> float:
        """Seconds that were not."""
        return sum(kind.saved for kind in self.kinds)


def reuse_of(material: Material) -> RunReuse:
    """Work out what every training would have had to compute, had it been alone.

    A stage read by n trainings was computed at most once: n - 1 times its seconds were saved, or n
    times where it was there before the run began. A student that was found whole in the store
    saved its training.
    """
    users = Counter(
        run_id for one in material.trainings for run_id in one.stages if run_id in material.stages
    )
    here = frozenset(
        run_id for run_id in users if material.stages[run_id].ended >= material.parent.started
    )
    computed: defaultdict[str, float] = defaultdict(float)
    saved: defaultdict[str, float] = defaultdict(float)
    # Stages that read few others come first: the order in which work flows.
    order = sorted(users, key=lambda run_id: len(material.stages[run_id].reads))
    for run_id in order:
        stage, count = material.stages[run_id], users[run_id]
        computed[stage.stage] += stage.seconds if run_id in here else 0.0
        saved[stage.stage] += stage.seconds * (count - 1 if run_id in here else count)
    for one in material.trainings:
        trained = float(one.tags.get(SECONDS_TRAINED, 0))
        computed[_STUDENTS] += trained
        if SECONDS_TRAINED in one.tags and trained == 0:
            below = sum(
                material.stages[run_id].seconds
                for run_id in one.stages
                if run_id in material.stages
            )
            reused = float(one.tags.get(vocabulary.SECONDS_REUSED, 0))
            saved[_STUDENTS] += max(reused - below, 0.0)
    kinds = tuple(Reuse(name.replace("_", " "), computed[name], saved[name]) for name in computed)
    return RunReuse(kinds, users, here)
