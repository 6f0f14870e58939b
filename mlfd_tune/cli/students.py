"""What `train` and `reproduce` share: the students of one configuration, through a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console

from mlfd_tune.cli.checks import check_inputs
from mlfd_tune.cli.computing import compute
from mlfd_tune.config import TrainConfig, pipeline_settings
from mlfd_tune.core.cache_plan import plan_cache
from mlfd_tune.core.pipeline import Catalogue, Pipeline, check_settings
from mlfd_tune.core.stages import EvaluationStage, TrialStage
from mlfd_tune.core.store import Artifact, Stage, Store, walk
from mlfd_tune.tracking.weights import mlflow_fetcher

__all__ = ["StudentWork", "plan_students"]


@dataclass(frozen=True)
class StudentWork:
    """Students to get, with all that they stand on.

    Attributes:
        students: The students' stages.
        evaluations: The stages that read the test split for them, if it is to be read.
        stages: All stored stages, each before whatever reads it.
        todo: Those that are not in the store yet.
        caching: What is kept of features and targets, for people.
        store: The store.
        device: Torch device that is computed on.
    """

    students: tuple[TrialStage, ...]
    evaluations: tuple[EvaluationStage, ...]
    stages: tuple[Stage, ...]
    todo: tuple[Stage, ...]
    caching: str
    store: Store
    device: str

    @property
    def reused(self) -> int:
        """How many stages the store has already."""
        return len(self.stages) - len(self.todo)

    def run(self, out: Console) -> None:
        """Compute what is missing, with progress on `out`.

        Raises:
            UserError: The store's budget does not suffice.
        """
        needed = sum(stage.estimate_bytes() for stage in self.todo)
        self.store.require_space(needed, "the student and what it needs")
        out.print(self.caching, highlight=False)
        compute(self.todo, self.store, self.device, out)

    def artifact(self, stage: Stage) -> Artifact:
        """Return one of the artifacts, after `run`."""
        return self.store.get_or_compute(stage, device=self.device)


def plan_students(
    config: TrainConfig,
    store: Store,
    device: str,
    seeds: Sequence[int | None] = (None,),
    *,
    test: bool = False,
) -> StudentWork:
    """Return what there is to compute for the students of a configuration.

    Args:
        config: The configuration.
        store: The store.
        device: Torch device to compute on.
        seeds: A student for each; None for the configuration's own seed.
        test: Read the test split for each, too.

    Raises:
        UserError: Bad settings, datasets or weights.
    """
    settings, target = pipeline_settings(config), config.target
    check_settings(settings)
    catalogue = Catalogue(mlflow_fetcher(config.tracking.uri, store.root / "weights"))
    check_inputs(config, catalogue, store)

    def students(pipeline: Pipeline) -> tuple[TrialStage, ...]:
        return tuple(pipeline.student(target, seed=seed) for seed in seeds)

    wanted: Iterable[TrialStage] = students(Pipeline(settings, catalogue))
    caching = plan_cache(
        config.store.cache,
        wanted,
        dict.fromkeys(wanted, 1),
        store,
        memory_bytes=config.store.memory_bytes,
        device=device,
    )
    pipeline = Pipeline(settings, catalogue, caching)
    chosen = students(pipeline)
    tests = tuple(pipeline.evaluation(target, seed=seed) for seed in seeds) if test else ()
    stages = tuple(walk([*chosen, *tests]))
    todo = tuple(stage for stage in stages if not store.has(stage))
    return StudentWork(chosen, tests, stages, todo, str(caching), store, device)
