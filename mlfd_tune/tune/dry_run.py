"""What a run would do: the stage tree, what of it exists, and how many trials share what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from mlfd_tune.core.cache_plan import is_kept
from mlfd_tune.core.caching import Caching
from mlfd_tune.core.stages.lessons import follow_caching
from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.tune.caching import planned_caching
from mlfd_tune.tune.progress import duration
from mlfd_tune.tune.session import Experiment

__all__ = ["Plan", "PlannedStage", "describe_plan", "print_plan"]


@dataclass(frozen=True)
class PlannedStage:
    """One shared stage of a plan.

    Attributes:
        stage: The stage.
        exists: Whether its artifact is in the store.
        bytes: Its size where it exists, else the estimate from shapes.
        seconds: What computing it took, where it exists.
        used_by: Labels of the shared stages that read it.
    """

    stage: Stage
    exists: bool
    bytes: int
    seconds: float | None
    used_by: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        name: The experiment.
        stages: Shared stages, inputs first.
        trials: Trials per dataset and phase.
        caching: What of features and targets is stored.
        sharing: Lines on what trials share, beside the stages.
    """

    name: str
    stages: tuple[PlannedStage, ...]
    trials: dict[str, dict[str, int]]
    caching: Caching
    sharing: tuple[str, ...] = ()

    @property
    def bytes_needed(self) -> int:
        """Estimated size of what is not there yet."""
        return sum(planned.bytes for planned in self.stages if not planned.exists)

    @property
    def seconds_saved(self) -> float:
        """What the existing stages took to compute."""
        return sum(planned.seconds or 0.0 for planned in self.stages)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON types."""
        return {
            "experiment": self.name,
            "trials": self.trials,
            "cache": {"plan": self.caching.plan, "reason": self.caching.reason},
            "bytes_needed": self.bytes_needed,
            "seconds_saved": self.seconds_saved,
            "sharing": list(self.sharing),
            "stages": [
                {
                    "key": planned.stage.key,
                    "stage": planned.stage.stage_name,
                    "label": planned.stage.label,
                    "exists": planned.exists,
                    "bytes": planned.bytes,
                    "seconds": planned.seconds,
                    "inputs": [below.key for below in planned.stage.reads.values()],
                }
                for planned in self.stages
            ],
        }


def describe_plan(experiment: Experiment) -> Plan:
    """Work out what a run would do, without doing any of it.

    Raises:
        UserError: What running it would raise before it starts.
    """
    every_stage, store = experiment.plan(), experiment.context.store
    caching = planned_caching(experiment, every_stage)
    stages = [stage for stage in every_stage if is_kept(stage, caching.plan)]
    for stage in stages:
        follow_caching(stage, caching)
    users: dict[str, list[str]] = {}
    for stage in stages:
        for key in {below.key for below in stage.reads.values()}:
            users.setdefault(key, []).append(stage.label)
    planned = []
    for stage in stages:
        there = store.has(stage)
        manifest = Artifact.open(store.artifact_path(stage)).manifest if there else None
        planned.append(
            PlannedStage(
                stage,
                exists=there,
                bytes=manifest.bytes if manifest else stage.estimate_bytes(),
                seconds=manifest.seconds if manifest else None,
                used_by=tuple(users.get(stage.key, ())),
            )
        )
    return Plan(
        experiment.loaded.name,
        tuple(planned),
        experiment.trial_counts(),
        caching,
        tuple(experiment.sharing()),
    )


def print_plan(plan: Plan, console: Console) -> None:
    """Print the plan as a tree: one branch per kind of stage, then the trials that share them."""
    tree = Tree(Text(plan.name, "bold"))
    kinds = Counter(planned.stage.stage_name for planned in plan.stages)
    for kind, count in kinds.items():
        of_kind = [planned for planned in plan.stages if planned.stage.stage_name == kind]
        there = sum(planned.exists for planned in of_kind)
        branch = tree.add(f"{kind}: {there} of {count} there")
        for planned in of_kind:
            branch.add(_line(planned), highlight=False)
    total = sum(sum(phases.values()) for phases in plan.trials.values())
    branch = tree.add(f"trials: {total}, sharing the {len(plan.stages)} stages above")
    for dataset, phases in plan.trials.items():
        shown = ", ".join(f"{count} {phase}" for phase, count in phases.items())
        branch.add(f"{dataset}: {shown}", highlight=False)
    console.print(tree)
    for line in plan.sharing:
        console.print(line, highlight=False)
    console.print(str(plan.caching), highlight=False)
    missing = sum(not planned.exists for planned in plan.stages)
    console.print(
        f"{missing} shared stages to compute, about {plan.bytes_needed / 1e6:.1f} MB of disk; "
        f"{len(plan.stages) - missing} reused, saving {duration(plan.seconds_saved)}",
        highlight=False,
    )


def _line(planned: PlannedStage) -> Text:
    shared = f", read by {len(planned.used_by)}" if len(planned.used_by) > 1 else ""
    size = f"{planned.bytes / 1e6:.1f} MB"
    if planned.exists:
        took = duration(planned.seconds or 0.0)
        mark, told = ("✔", "green"), f"{size}, took {took}{shared}"
    else:
        mark, told = ("○", "yellow"), f"about {size}{shared}"
    return Text.assemble(mark, f" {planned.stage.label}  ", (told, "dim"))
