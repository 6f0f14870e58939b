"""Running a sweep: shared stages, search, confirmation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlfd_tune.config import Loaded, SweepConfig
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Stage, walk
from mlfd_tune.tune.confirm import confirmation_methods, confirmation_trials
from mlfd_tune.tune.engine import Engine
from mlfd_tune.tune.level_ranking import rank_levels_of_targets, ranking_stages
from mlfd_tune.tune.planning import searched_stages
from mlfd_tune.tune.plans import StudyPlan
from mlfd_tune.tune.run_log import RUN_STATUS
from mlfd_tune.tune.scheduler import StudyScheduler
from mlfd_tune.tune.searcher import Phase
from mlfd_tune.tune.session import Experiment
from mlfd_tune.tune.sources import PlannedSource, StudySource
from mlfd_tune.tune.spent_checkpoints import discard_checkpoint
from mlfd_tune.tune.studies import Studies
from mlfd_tune.tune.trial import TrialRequestConfig, trial_id

__all__ = ["Sweep"]


@dataclass(frozen=True)
class Sweep(Experiment):
    """One Optuna study per target dataset, all in one Tuner, then confirmation of the best."""

    kind = "sweep"

    def plan(self) -> list[Stage]:
        """Return the shared stages, having checked every combination that needs one."""
        shared = searched_stages(self.loaded, self.context)
        return list(walk([*shared, *ranking_stages(self.loaded, self.context)]))

    def trial_counts(self) -> dict[str, dict[str, int]]:
        """Return the trials of each target: search, and confirmation with its controls."""
        config = _config(self.loaded)
        arms = len(confirmation_methods(config, config.method))
        confirmations = config.confirm.top_k * config.confirm.seeds * arms
        return {
            plan.dataset: {"search": plan.planned, "confirmation": confirmations}
            for plan in self.study_plans()
        }

    def study_plans(self, ranked: Mapping[str, Sequence[str]] | None = None) -> list[StudyPlan]:
        """Return what each target dataset's study is asked to do.

        Args:
            ranked: By target dataset, values of `joint_teacher.levels` to try early, best first.
        """
        config = _config(self.loaded)
        return [
            StudyPlan(
                target,
                config.search.study_of(target),
                config.students[target].train.epochs,
                config.joint_teacher.levels,
                config.seed,
                tuple((ranked or {}).get(target, ())),
            )
            for target in config.target_names
        ]

    def execute(self, engine: Engine, stages: list[Stage], resumed: bool) -> None:
        """Compute the shared stages, search, and confirm."""
        counts = (sum(phases.values()) for phases in self.trial_counts().values())
        engine.run(self._phases(engine, stages, resumed), sum(counts))

    def _phases(self, engine: Engine, stages: list[Stage], resumed: bool) -> Iterator[Phase]:
        ranking = ranking_stages(self.loaded, self.context)
        if ranking:
            engine.queue.announce(ranking)
            yield Phase(PlannedSource([]), stages=tuple(walk(ranking)))
        ranked = rank_levels_of_targets(self.loaded, self.context)
        for target, levels in ranked.items():
            shown = ", ".join(levels)
            engine.progress.say(f"{target}: levels by the teachers' features, best first: {shown}")
        studies = Studies(engine.folder.studies, self.study_plans(ranked))
        if resumed:
            self._take_over(engine, studies)
        engine.queue.announce(stages)
        yield from self._search(engine, studies, stages)
        trials = confirmation_trials(self.loaded, studies)
        if trials:
            yield from engine.planned("confirmation", trials, "confirm")

    def _take_over(self, engine: Engine, studies: Studies) -> None:
        """Settle what a dead driver left, in the studies and in MLflow."""
        left = studies.reconcile()
        ended = engine.folder.ended_trials
        for trial in studies.ended():
            request = TrialRequestConfig(
                trial_id(trial.dataset, trial.number), trial.dataset, trial.params
            )
            if request.id not in ended:
                if trial.outcome != "complete":
                    discard_checkpoint(self.context, request, {})
                engine.log.start_trial(request, "trial", engine.folder.id)
                engine.log.end_trial(request, RUN_STATUS[trial.outcome], {}, trial.reason)
                engine.folder.trial_ended(request.id)
        engine.log.take_over(trial_id(dataset, number) for dataset, number in left.begun)
        if left.begun:
            engine.progress.say(f"resuming {len(left.begun)} trials that were running")

    def _search(self, engine: Engine, studies: Studies, stages: list[Stage]) -> Iterator[Phase]:
        summary = studies.summary()
        left = {
            name: study.planned - study.complete - study.pruned - study.failed
            for name, study in summary.items()
        }
        if not any(left.values()):
            return
        engine.progress.phase("search", left)

        def start(request: TrialRequestConfig) -> None:
            engine.log.start_trial(request, "trial", engine.folder.id)

        source = StudySource(studies, engine.capacity.slots)
        yield Phase(source, start, StudyScheduler(studies), ahead=tuple(stages))
        engine.progress.finish_phase()
        failed = [name for name, study in studies.summary().items() if not study.complete]
        if len(failed) == len(summary):
            raise UserError(
                f"search: no trial of {', '.join(failed)} ran to the end; "
                "the reasons stand above and in the failed runs"
            )
        for name in failed:
            engine.progress.say(f"  {name}: no trial ran to the end; there is none to confirm")


def _config(loaded: Loaded) -> SweepConfig:
    assert isinstance(loaded.config, SweepConfig)
    return loaded.config
