"""Running an ablation: every arm on every target and seed, no early stopping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlfd_tune.ablation.designs import Arm, arms_of
from mlfd_tune.config import AblationConfig, settings_for
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.store import Stage, walk
from mlfd_tune.tune import Engine, Experiment, PlannedTrial, TrialRequestConfig
from mlfd_tune.tune.confirm import CONTROLS
from mlfd_tune.tune.run_log import config_id
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

    def trials(self) -> list[PlannedTrial]:
        """Return every training of the design."""
        config = self.config
        trials = []
        arms = arms_of(config.design)
        for target in config.target_names:
            first = config.student_seed(target)
            for number, arm in enumerate(arms):
                served = self._served_by(arm, arms, target)
                for seed in range(first, first + config.seeds):
                    request = TrialRequestConfig(
                        id=f"arm/{target}/{number}/{seed}",
                        dataset=target,
                        params=dict(arm.params),
                        seed=seed,
                        test=config.metric == "test/acc1",
                    )
                    trials.append(PlannedTrial(request, arm=arm.name, baseline_of=served))
        return trials

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
        """Return arms times seeds of every target."""
        arms = len(arms_of(self.config.design))
        return {
            target: {f"runs ({arms} arms, {self.config.seeds} seeds)": arms * self.config.seeds}
            for target in self.config.target_names
        }

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
        """Run every arm."""
        trials = self.trials()
        engine.run(engine.planned("ablation", trials, "arm"), len(trials))


def _concerning(arm: Arm, method: str) -> Mapping[str, Any]:
    """Return what an arm sets that a method goes by, but for the method itself."""
    sections = {*_OF_EVERY_STUDENT, *METHODS[method].sections}
    if "teachers" in sections:
        sections.add("teacher")
    return {key: value for key, value in arm.params.items() if key.partition(".")[0] in sections}
