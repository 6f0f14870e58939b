"""What is handed out next: trials whose stages are there, then stages, each once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher
from rich.console import Console

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Stage, Store, walk
from mlfd_tune.tune.deaths import Deaths
from mlfd_tune.tune.failures import FAILURES, FailureKind, Failures
from mlfd_tune.tune.packing import Packing
from mlfd_tune.tune.progress import Progress
from mlfd_tune.tune.searcher import Candidate, Phase, WorkSearcher
from mlfd_tune.tune.signs import Signs
from mlfd_tune.tune.sources import PlannedSource, Source, StudySource
from mlfd_tune.tune.stage_queue import StageQueue
from mlfd_tune.tune.stage_work import PROBLEMS, StageRequest
from mlfd_tune.tune.studies import Studies
from mlfd_tune.tune.trial import TrialRequestConfig
from mlfd_tune.tune.worker import REFUSED
from tests.helpers.curve_sweep import plans
from tests.helpers.small_stages import NoteStage

TEACHER = NoteStage("teacher")
JOINT = {name: NoteStage(name, below={"teacher": TEACHER}) for name in ("L1", "L2")}


class Bench:
    """Does by hand what Ray does: asks for work, and reports that it is over.

    A trial needs the joint teacher that its parameter `needs` names; its student is that of
    `student`, or its own.
    """

    def __init__(self, folder: Path, *phases: Phase, slots: int = 2, workers: int = 0) -> None:
        self.store = Store(folder / "store")
        self.queue = StageQueue(self.store, lambda stage, artifact: None, quiet())
        packing = Packing(99, 1, 1, per_gpu=1)  # Ray would see to the slots
        self.work = WorkSearcher(
            iter(phases),
            self.queue,
            prepare,
            slots,
            workers,
            folder / "stages",
            packing,
            Failures(folder / FAILURES, retries=1),
            Deaths(Signs(folder / "signs")),
        )
        self.asked = 0
        self.refused: str | None = None  # why the latest trial was handed out as a refusal
        self.under_way: dict[str, str] = {}

    def next(self) -> str | None:
        """Return a word on the next work: a trial's id or a stage's text."""
        self.asked += 1
        ray_id = f"ray{self.asked}"
        config = self.work.suggest(ray_id)
        if config is None or isinstance(config, str):
            return config
        request = StageRequest.read(config)
        self.refused = config.get(REFUSED)
        name = config["id"] if request is None else request.open().label.removeprefix("note ")
        self.under_way[name] = ray_id
        return str(name)

    def fail(
        self, name: str, reason: str, kind: FailureKind = "raised", *, ends: bool = True
    ) -> bool:
        """Report that work failed, in the end or not; return whether it should be tried again."""
        ray_id = self.under_way[name]
        again = self.work.failed(ray_id, kind, reason)
        if ends:
            del self.under_way[name]
            self.work.on_trial_complete(ray_id, error=True)
        return again

    def end(self, name: str, **result: Any) -> None:
        """Report that work is over; a stage is computed."""
        ray_id = self.under_way.pop(name)
        stage = self.work.stage_of(ray_id)
        if stage is not None and PROBLEMS not in result:
            self.store.get_or_compute(stage)
        self.work.on_trial_complete(ray_id, {"done": True, **result})


def prepare(request: TrialRequestConfig) -> Candidate:
    needs = request.params.get("needs") or request.params.get("joint_teacher.levels")
    below: Iterable[Stage] = walk([JOINT[needs]]) if needs in JOINT else ()
    student = request.params.get("student", request.id)
    return Candidate(request, student, tuple(below), request.params.get("problem"))


def quiet() -> Progress:
    return Progress(Console(file=StringIO()))


def planned(*trials: Mapping[str, Any]) -> Source:
    return PlannedSource(
        TrialRequestConfig(f"arm/{number}", "digits", params)
        for number, params in enumerate(trials)
    )


def test_a_trial_starts_when_its_own_stages_are_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({"needs": "L1"}, {"needs": "L2"})))

    assert bench.next() == "teacher"
    assert bench.next() is None, "everything else needs the teacher"
    bench.end("teacher")
    assert [bench.next(), bench.next()] == ["L1", "L2"]
    bench.end("L1")
    assert bench.next() == "arm/0", "while the other joint teacher is under way"


def test_trials_that_need_nothing_missing_start_before_those_that_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({"needs": "L1"}, {}, {})))

    assert [bench.next(), bench.next()] == ["teacher", "arm/1"]
    bench.end("arm/1")
    assert bench.next() == "arm/2"
    bench.end("teacher")
    assert bench.next() == "L1"


def test_while_trials_can_start_stages_take_half_of_the_slots(tmp_path: Path) -> None:
    trials = [{"needs": "L1"}, {"needs": "L2"}, {}, {}, {}]
    bench = Bench(tmp_path, Phase(planned(*trials)), slots=2)
    bench.store.get_or_compute(TEACHER)

    assert [bench.next(), bench.next()] == ["L1", "arm/2"]


def test_one_worker_trains_first_what_can_be_trained(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({"needs": "L1"}, {})), slots=1)

    assert bench.next() == "arm/1"
    bench.end("arm/1")
    assert bench.next() == "teacher"


def test_the_same_student_is_not_trained_twice_at_a_time(tmp_path: Path) -> None:
    twins = [{"student": "a"}, {"student": "a"}, {"student": "b"}]
    bench = Bench(tmp_path, Phase(planned(*twins)))

    assert [bench.next(), bench.next()] == ["arm/0", "arm/2"]
    assert bench.next() is None
    bench.end("arm/0")
    assert bench.next() == "arm/1", "which finds the student in the store"


def test_what_is_in_the_store_is_not_computed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({"needs": "L1"})))
    bench.store.get_or_compute(JOINT["L1"])

    assert bench.next() == "arm/0"


def test_stages_are_computed_ahead_when_nothing_else_is_to_do(tmp_path: Path) -> None:
    studies = study(tmp_path, sampler="tpe", startup_trials=0)
    bench = Bench(tmp_path, Phase(StudySource(studies, 2), ahead=tuple(JOINT.values())))
    bench.store.get_or_compute(TEACHER)

    assert {bench.next(), bench.next()} == set(JOINT), "one is needed, one may be"


def test_nothing_is_computed_ahead_of_trials_that_will_not_come(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({}), ahead=(TEACHER,)))

    assert bench.next() == "arm/0"
    assert bench.next() is None
    bench.end("arm/0")
    assert bench.next() == Searcher.FINISHED


def test_phases_follow_each_other_and_one_may_be_of_stages_alone(tmp_path: Path) -> None:
    stages = Phase(PlannedSource([]), stages=(TEACHER,))
    bench = Bench(tmp_path, stages, Phase(planned({})), Phase(PlannedSource([])))

    assert [bench.next(), bench.next()] == ["teacher", None]
    bench.end("teacher")
    assert bench.next() == "arm/0"
    assert bench.next() is None
    bench.end("arm/0")
    assert bench.next() == Searcher.FINISHED


def test_bad_input_of_a_stage_ends_the_run_with_its_error(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({"needs": "L1"})))
    bench.next()
    bench.end("teacher", **{PROBLEMS: ["datasets.digits: cannot read 7.png"]})

    with pytest.raises(UserError, match=r"cannot read 7\.png"):
        bench.next()


def test_a_stage_that_all_trials_need_ends_the_run_when_it_fails(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({"needs": "L1"}, {"needs": "L2"})))
    bench.next()
    bench.fail("teacher", "RuntimeError: no such device")

    with pytest.raises(UserError, match="note teacher failed, and all that is left needs it: Run"):
        bench.next()


def test_trials_that_need_a_stage_that_failed_end_with_its_reason_and_others_go_on(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, Phase(planned({"needs": "L1"}, {"needs": "L2"}, {"needs": "L1"})))
    bench.store.get_or_compute(TEACHER)
    bench.next()
    bench.fail("L1", "RuntimeError: a bug")

    reason = "needs note L1, which failed: RuntimeError: a bug"
    assert [bench.next(), bench.refused] == ["arm/0", reason]
    assert [bench.next(), bench.refused] == ["arm/2", reason]
    assert [bench.next(), bench.refused] == ["L2", None]
    bench.end("L2")
    assert [bench.next(), bench.refused] == ["arm/1", None]


def test_what_fails_whatever_is_done_fails_its_trials_though_nothing_else_is_left(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, Phase(planned({"needs": "L1"})))
    bench.store.get_or_compute(TEACHER)
    bench.next()
    bench.fail("L1", "NonFiniteLossError: train/loss not finite in epoch 1", kind="certain")

    assert bench.next() == "arm/0"
    assert "train/loss not finite" in str(bench.refused)


def test_a_configuration_that_failed_twice_is_not_tried_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({"student": "a"}, {"student": "a"}, {"student": "b"})))

    assert [bench.next(), bench.next()] == ["arm/0", "arm/2"]
    assert bench.fail("arm/0", "its worker died", kind="died", ends=False), "is tried again"
    assert not bench.fail("arm/0", "its worker died", kind="died")
    assert bench.next() == "arm/1"
    assert bench.refused == "not tried again: failed twice before (its worker died)"
    assert not bench.work.failed(bench.under_way["arm/1"], "raised", "refused"), "counts no more"


def test_settings_that_do_not_fit_together_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({"problem": "levels: L9 is no level"})))

    assert bench.next() == "arm/0"
    assert bench.refused == "levels: L9 is no level"


def test_a_worker_that_does_not_start_keeps_no_other_waiting(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({})), workers=2)
    bench.work.suggest("a")
    bench.work.suggest("b")
    assert bench.work.warm_up.reported("a"), "is to wait for the other"
    bench.work.on_trial_complete("b", error=True)

    assert bench.next() == "arm/0"


def test_all_workers_have_started_before_there_is_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Phase(planned({}, {})), workers=2)
    warm_up = bench.work.warm_up

    assert [bench.work.suggest(name) for name in ("a", "b", "c")] == [
        {"warm_up": True},
        {"warm_up": True},
        None,
    ]
    assert warm_up.reported("a"), "is to wait for the other"
    assert bench.next() is None
    assert not warm_up.reported("b")
    assert not warm_up.reported("a")
    assert bench.next() == "arm/0"


# Studies ------------------------------------------------------------------------------------------

TEACHERS = {"joint_teacher.levels": {"choice": ["L1", "L2"]}}


def study(folder: Path, **changes: Any) -> Studies:
    settings = {"trials": 12, "scheduler": "none", "space": TEACHERS, **changes}
    return Studies(folder / "studies.db", plans(("digits",), **settings))


def test_of_random_points_those_whose_stages_are_there_start_first(tmp_path: Path) -> None:
    points = [{"joint_teacher.levels": name} for name in ("L1", "L1", "L2")]
    studies = study(tmp_path, sampler="random", first_points=points)
    bench = Bench(tmp_path, Phase(StudySource(studies, 2)))
    bench.store.get_or_compute(JOINT["L2"])

    assert [bench.next(), bench.next()] == ["L1", "trial/digits/2"]
    assert studies.summary()["digits"].running > 2, "drawn ahead"
    bench.end("L1")
    assert bench.next() == "trial/digits/0"


def test_a_model_draws_nothing_while_a_point_of_its_study_waits(tmp_path: Path) -> None:
    studies = study(tmp_path, sampler="tpe", startup_trials=0, first_points=[])
    bench = Bench(tmp_path, Phase(StudySource(studies, 2)))
    bench.store.get_or_compute(TEACHER)

    assert bench.next() in JOINT
    assert bench.next() is None
    assert studies.summary()["digits"].running == 1


def test_points_that_waited_when_the_driver_died_are_handed_out_first(tmp_path: Path) -> None:
    dead = study(tmp_path, sampler="random")
    waited = Bench(tmp_path, Phase(StudySource(dead, 2)))
    waited.next()
    drawn = dead.summary()["digits"].running

    studies = study(tmp_path, sampler="random")
    left = studies.reconcile().again
    bench = Bench(tmp_path, Phase(StudySource(studies, 2)))
    for stage in JOINT.values():
        bench.store.get_or_compute(stage)
    handed = []
    for _ in left:
        handed.append(bench.next())
        bench.end(str(handed[-1]))

    assert len(left) == drawn > 1
    assert handed == [f"trial/{dataset}/{number}" for dataset, number in left]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_one_seed_draws_the_same_points_whether_stages_are_there_or_not(
    tmp_path: Path, sampler: str
) -> None:
    def drawn(name: str, *there: str) -> list[dict[str, Any]]:
        (tmp_path / name).mkdir()
        studies = study(tmp_path / name, sampler=sampler, startup_trials=6, trials=8)
        bench = Bench(tmp_path / name, Phase(StudySource(studies, 1)), slots=1)
        for needs in there:
            bench.store.get_or_compute(JOINT[needs])
        while (work := bench.next()) != Searcher.FINISHED:
            assert work is not None
            if work.startswith("trial/"):
                studies.report(bench.under_way[work], 1, float(work[-1]), epochs=1)
            bench.end(work)
        trials = studies.ended()
        return [trial.params for trial in sorted(trials, key=lambda trial: trial.number)]

    assert drawn("cold") == drawn("warm", "L1", "L2")
