"""Running an ablation: every arm on every target and seed, no early stopping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlfd_tune.ablation.designs import Arm, arms_of
from mlfd_tune.ablation.until_resolved import (
    Look,
    Width,
    looks_of,
    schedule,
    told,
    value_of,
    widths_at,
)
from mlfd_tune.config import AblationConfig, settings_for
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.store import Stage, walk
from mlfd_tune.tune import Engine, Experiment, PlannedTrial, TrialRequestConfig
from mlfd_tune.tune.confirm import CONTROLS
from mlfd_tune.tune.run_log import config_id
from mlfd_tune.tune.searcher import Phase
from mlfd_tune.tune.trial import student_of

__all__ = ["Ablation"]

_OF_EVERY_STUDENT = ("seed", "image_size", "datasets", "student", "students")


@dataclass(frozen=True)
class Ablation(Experiment):
    """A designed comparison. All arms of a seed share initialisation, data order and stages."""

    kind = "ablation"

    @property
    def config(self) -> AblationConfig:
        """The ablation's configuration."""
        assert isinstance(self.loaded.config, AblationConfig)
        return self.loaded.config

    def trials(self, seeds: range | None = None) -> list[PlannedTrial]:
        """Return trainings of the design, one per target, arm and seed.

        Args:
            seeds: Which seeds, counted from 0; by default the `seeds` of the configuration.
        """
        config = self.config
        counted = range(config.seeds) if seeds is None else seeds
        trials = []
        for target in config.target_names:
            first = config.student_seed(target)
            for number, (arm, served) in enumerate(self._arms[target]):
                for seed in (first + count for count in counted):
                    request = TrialRequestConfig(
                        id=f"arm/{target}/{number}/{seed}",
                        dataset=target,
                        params=dict(arm.params),
                        seed=seed,
                        test=config.metric == "test/acc1",
                    )
                    trials.append(PlannedTrial(request, arm=arm.name, baseline_of=served))
        return trials

    @cached_property
    def _arms(self) -> dict[str, list[tuple[Arm, str | None]]]:
        """Every target's arms, each with the configurations it serves as baseline or control."""
        found = {}
        for target in self.config.target_names:
            arms = arms_of(self.config, target)
            found[target] = [(arm, self._served_by(arm, arms, target)) for arm in arms]
        return found

    def _served_by(self, arm: Arm, arms: Sequence[Arm], target: str) -> str | None:
        """Return the configurations that an arm is baseline or control of, as a confirmation's is.

        They are those of the arms that differ from it in nothing but the method and what has no
        part in the control: a fusion depth is nothing to labels alone.
        """
        method = self._method(arm)
        if method not in CONTROLS:
            return None
        own = _concerning(arm, method)
        others = [
            other
            for other in arms
            if self._is_student(other) and self._method(other) != method
            if _concerning(other, method) == own
        ]
        ids = []
        for other in others:
            settings = settings_for(self.loaded.raw, target, other.params)
            ids.append(config_id(settings, target, settings.method))
        return ",".join(ids) or None

    def _method(self, arm: Arm) -> str:
        return str(arm.params.get("method", self.config.method))

    def _is_student(self, arm: Arm) -> bool:
        """Tell whether an arm trains a student, whose gain can be spoken of."""
        return METHODS.require(self._method(arm)).role != "reference"

    def trial_counts(self) -> dict[str, dict[str, int]]:
        """Return arms times seeds of every target; where seeds are added, as many as there may be.

        Raises:
            UserError: The design has no arms for this configuration.
        """
        resolve = self.config.resolve
        seeds = self.config.seeds if resolve is None else resolve.max_seeds
        upto = "" if resolve is None else "up to "
        return {
            target: {f"runs ({len(arms)} arms, {upto}{seeds} seeds)": len(arms) * seeds}
            for target, arms in self._arms.items()
        }

    def sharing(self) -> list[str]:
        """Return how many students the arms are, and how many stages they share."""
        trials = self.trials()
        students: set[str] = set()
        arms: dict[str, set[str | None]] = {}  # that read a stage
        alone = 0
        for trial in trials:
            student = student_of(self.context, trial.request)
            students.add(student.key)
            for stage in walk(student.inputs.values()):
                arms.setdefault(stage.key, set()).add(trial.arm)
                alone += 1
        several = sum(len(of_stage) > 1 for of_stage in arms.values())
        lines = [
            f"{len(arms)} stages serve {len(trials)} runs, which would compute {alone} if none "
            f"were shared; {several} of them serve more than one arm"
        ]
        twins = len(trials) - len(students)
        if twins:
            lines.append(f"{twins} of {len(trials)} runs train a student that another one trains")
        if self.config.resolve is not None:
            lines.append(schedule(self.config))
        return lines

    def plan(self) -> list[Stage]:
        """Return the shared stages of all arms.

        Raises:
            UserError: An arm's settings are not valid; all such arms at once.
        """
        problems: list[str] = []
        stages: list[Stage] = []
        for trial in self.trials():
            try:
                stages += student_of(self.context, trial.request).inputs.values()
            except UserError as error:
                problems += [f"design, arm {trial.arm}: {line}" for line in error.problems]
        if problems:
            raise UserError(*dict.fromkeys(problems))
        return list(walk(stages))

    def execute(self, engine: Engine, stages: list[Stage], resumed: bool) -> None:
        """Run every arm, and more seeds of all of them where that is asked for."""
        if self.config.resolve is None:
            trials = self.trials()
            engine.run(engine.planned("ablation", trials, "arm"), len(trials))
        else:
            begin = len(self.trials())
            engine.run(self._until_resolved(engine, self.config.resolve.width), begin)

    def _until_resolved(self, engine: Engine, width: float) -> Iterator[Phase]:
        """Yield a phase per batch of seeds, until every difference is known closely enough.

        A resumed run looks again where it looked before, at the same values: it takes them from
        the store, and runs no trial that is over.
        """
        engine.progress.say(schedule(self.config))
        looks, before = looks_of(self.config), 0
        for look in looks:
            batch = self.trials(range(before, look.seeds))
            yield from engine.planned(f"ablation, {look.seeds} seeds", batch, "arm")
            before = look.seeds
            widths = self._widths(look)
            for line in told(look, widths, width, is_last=look is looks[-1]):
                engine.progress.say(line)
            if all(one.within(width) for one in widths):
                return

    def _widths(self, look: Look) -> list[Width]:
        values: dict[str, dict[str, dict[int, float]]] = {
            target: {arm.name: {} for arm, _ in arms} for target, arms in self._arms.items()
        }
        for trial in self.trials(range(look.seeds)):
            value = value_of(self.context, trial)
            seed = trial.request.seed
            if value is not None and seed is not None:
                values[trial.request.dataset][trial.arm or ""][seed] = value
        widths = []
        for target, arms in self._arms.items():
            reference = next(arm.name for arm, _ in arms if arm.is_reference)
            widths += widths_at(look, target, values[target], reference)
        return widths


def _concerning(arm: Arm, method: str) -> Mapping[str, Any]:
    """Return what an arm sets that a method goes by, but for the method itself."""
    sections = {*_OF_EVERY_STUDENT, *METHODS[method].sections}
    if "teachers" in sections:
        sections.add("teacher")
    return {key: value for key, value in arm.params.items() if key.partition(".")[0] in sections}
