"""The studies remember all of a sweep, end each trial once, and go on where a driver died."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from mlfd_tune.config.search import SamplerName, SchedulerName
from mlfd_tune.core.errors import UserError
from mlfd_tune.tune.records import TrialRequest
from mlfd_tune.tune.studies import Studies
from tests.helpers.curve_sweep import DATASETS, plans
from tests.helpers.learning_curve import EPOCHS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "studies.db"


def trials_of(studies: Studies, dataset: str = "digits") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=dataset, storage=studies.url).trials


def ask(studies: Studies, ray_trial_id: str = "r") -> TrialRequest:
    request = studies.ask(ray_trial_id)
    assert request is not None
    return request


def run(studies: Studies, request: TrialRequest, ray_trial_id: str, epochs: int = EPOCHS) -> None:
    """Run a trial the way Ray's searcher and scheduler do."""
    for epoch in range(1, epochs + 1):
        value = 60 - 10 * request.params["distillation.alpha"] + epoch
        studies.report(ray_trial_id, epoch, value)
        if epoch < EPOCHS and studies.should_prune(ray_trial_id):
            break
    studies.settle(ray_trial_id)


def run_all(studies: Studies, prefix: str = "r") -> list[TrialRequest]:
    requests = []
    while (request := studies.ask(f"{prefix}{len(requests)}")) is not None:
        run(studies, request, f"{prefix}{len(requests)}")
        requests.append(request)
    return requests


def test_datasets_take_turns_until_each_has_its_trials(file: Path) -> None:
    requests = run_all(Studies(file, plans(trials=3)))

    assert [(r.dataset, r.number) for r in requests] == [
        (dataset, number) for number in range(3) for dataset in DATASETS
    ]


def test_every_trial_ends_with_its_true_state_and_all_it_reported(file: Path) -> None:
    studies = Studies(file, plans())
    run_all(studies)

    for dataset in DATASETS:
        trials = trials_of(studies, dataset)
        assert len(trials) == 8
        assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
        for trial in trials:
            assert list(trial.intermediate_values) == list(range(1, (trial.last_step or 0) + 1))
            assert trial.value == trial.intermediate_values[trial.last_step or 0]
            assert (trial.state == TrialState.COMPLETE) == (trial.last_step == EPOCHS)


def test_the_record_of_a_study_names_its_metric_direction_and_settings(file: Path) -> None:
    studies = Studies(file, plans(trials=3, seed=5))

    study = optuna.load_study(study_name="letters", storage=studies.url)
    assert study.metric_names == ["val/acc1"]
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.user_attrs["plan"]["settings"]["trials"] == 3
    assert study.user_attrs["plan"]["seed"] == 5


def test_the_summary_counts_states_and_finds_the_best(file: Path) -> None:
    studies = Studies(file, plans(("digits",), trials=4, scheduler="none", first_points=[{}]))
    first, second = ask(studies, "a"), ask(studies, "b")
    run(studies, first, "a")
    run(studies, second, "b")
    ask(studies, "c")
    studies.tell("c", "failed", reason="out of memory")
    ask(studies, "d")

    summary = studies.summary()["digits"]

    assert (summary.complete, summary.failed, summary.running, summary.pruned) == (2, 1, 1, 0)
    assert summary.planned == 4
    winner = min(first, second, key=lambda r: r.params["distillation.alpha"])
    assert summary.best is not None
    assert (summary.best.number, summary.best.params) == (winner.number, winner.params)
    values = [trial.value for trial in studies.best("digits", k=5)]
    assert values == sorted(values, reverse=True)
    assert len(values) == 2


def test_a_study_without_finished_trials_has_no_best(file: Path) -> None:
    assert Studies(file, plans()).summary()["digits"].best is None


# First points and grids ---------------------------------------------------------------------------


def test_first_points_come_first_and_what_they_leave_open_is_drawn(file: Path) -> None:
    points = [{"distillation.alpha": 1.0, "joint_teacher.levels": "L2"}, {"distillation.alpha": 2}]
    studies = Studies(file, plans(first_points=points, trials=3))

    requests = run_all(studies)

    digits = [r for r in requests if r.dataset == "digits"]
    assert digits[0].params["distillation.alpha"] == 1.0
    assert digits[0].params["joint_teacher.levels"] == "L2"
    assert 0 <= digits[0].params["distillation.beta.stride32"] <= 1
    assert digits[1].params["distillation.alpha"] == 2.0
    assert "joint_teacher.levels" in digits[1].params


def test_first_points_are_queued_once_however_often_the_studies_are_opened(file: Path) -> None:
    points = [{"distillation.alpha": 1.0}, {"distillation.alpha": 0.5}]
    run(first := Studies(file, plans(first_points=points, trials=3)), ask(first, "a"), "a")

    requests = run_all(Studies(file, plans(first_points=points, trials=3)))

    digits = [r.params["distillation.alpha"] for r in requests if r.dataset == "digits"]
    assert digits[0] == 0.5
    assert 1.0 not in digits
    assert len(trials_of(first)) == 3


GRID: dict[str, Any] = {
    "sampler": "grid",
    "scheduler": "none",
    "space": {
        "distillation.alpha": {"choice": [0.5, 1.0]},
        "joint_teacher.levels": {"choice": ["L1", "L2"]},
        "distillation.beta.stride32": {"float": [0, 1], "step": 0.5},
    },
}


def test_a_grid_runs_each_of_its_points_once_and_first_points_first(file: Path) -> None:
    point = {"distillation.alpha": 1.0, "joint_teacher.levels": "L2"}
    studies = Studies(file, plans(("digits",), trials=20, first_points=[point], **GRID))

    requests = run_all(studies)

    assert studies.planned("digits") == 8
    assert len({str(r.params) for r in requests}) == len(requests) == 8
    assert requests[0].params == {**point, "distillation.beta.stride32": 0.0}


def test_a_grid_larger_than_the_number_of_trials_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match="the grid of digits has more than 7 points"):
        Studies(file, plans(trials=7, **GRID))


def test_a_first_point_off_the_grid_is_refused(file: Path) -> None:
    off_grid = {"joint_teacher.levels": "L1", "distillation.beta.stride32": 0.5}
    with pytest.raises(UserError, match=r"first_points\[0\]: .* is not a point of the grid"):
        Studies(file, plans(trials=8, first_points=[off_grid], **GRID))


# Spaces of their own ------------------------------------------------------------------------------


OWN: dict[str, Any] = {
    "letters": {
        "space": {"distillation.alpha": {"choice": [0.25, 0.75]}, "seed": {"int": [0, 2]}},
        "first_points": [{"seed": 2}],
    }
}


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsgaii"])
def test_each_study_draws_from_its_own_space(file: Path, sampler: SamplerName) -> None:
    changes: dict[str, Any] = {"trials": 5, "startup_trials": 2, "scheduler": "none"}
    changes |= {"first_points": [{"distillation.alpha": 1.0}], "datasets": OWN}
    run_all(Studies(file, plans(sampler=sampler, **changes)))

    again = Studies(file, plans(sampler=sampler, **changes))

    of = {name: [t for t in again.ended() if t.dataset == name] for name in DATASETS}
    assert of["digits"][0].params["distillation.alpha"] == 1.0
    assert of["letters"][0].params["seed"] == 2
    assert all("joint_teacher.levels" in trial.params for trial in of["digits"])
    assert all(set(trial.params) == {"distillation.alpha", "seed"} for trial in of["letters"])
    assert {trial.params["distillation.alpha"] for trial in of["letters"]} <= {0.25, 0.75}


def test_each_study_goes_through_the_grid_of_its_own_space(file: Path) -> None:
    studies = Studies(file, plans(trials=20, datasets=OWN, **GRID))

    requests = run_all(studies)

    assert (studies.planned("digits"), studies.planned("letters")) == (8, 6)
    letters = [r.params for r in requests if r.dataset == "letters"]
    assert letters[0]["seed"] == 2
    assert len({str(params) for params in letters}) == 6


def test_a_space_of_another_dataset_may_change_a_space_of_its_own_may_not(file: Path) -> None:
    digits = ("digits",)
    Studies(file, plans(digits))
    Studies(file, plans(digits, datasets=OWN))

    with pytest.raises(UserError, match="digits was started with another space"):
        Studies(file, plans(digits, datasets={"digits": {"space": OWN["letters"]["space"]}}))


def test_a_study_from_before_datasets_had_spaces_of_their_own_goes_on(file: Path) -> None:
    studies = Studies(file, plans(("digits",)))
    study = optuna.load_study(study_name="digits", storage=studies.url)
    settings = {
        name: value
        for name, value in plans(("digits",))[0].settings.model_dump(mode="json").items()
        if name not in ("datasets", "rank_levels")
    }

    assert study.user_attrs["plan"]["settings"] == settings


def test_ranked_levels_are_tried_after_the_first_points(file: Path) -> None:
    points = [{"joint_teacher.levels": "L1", "distillation.alpha": 1.0}]
    (plan,) = plans(("digits",), first_points=points, trials=4)
    ranked = ("L1", "embedding,stride16", "L2")
    studies = Studies(file, [dataclasses.replace(plan, ranked=ranked)])

    requests = run_all(studies)

    levels = [request.params["joint_teacher.levels"] for request in requests]
    assert levels[:3] == ["L1", ["embedding", "stride16"], "L2"]
    Studies(file, [dataclasses.replace(plan, ranked=("L2",))])
    assert len(trials_of(studies)) == 4, "what is queued stays, whatever a later ranking says"


def test_ranked_levels_only_change_the_order_of_a_grid(file: Path) -> None:
    grid = GRID | {"space": {"joint_teacher.levels": {"choice": ["L1", "L2", "L3"]}}}
    (plan,) = plans(("digits",), trials=9, first_points=[{}], **grid)

    ranked = dataclasses.replace(plan, ranked=("L1", "L3"))

    assert [point["joint_teacher.levels"] for point in plan.queue] == ["L1", "L2", "L3"]
    assert [point["joint_teacher.levels"] for point in ranked.queue] == ["L1", "L3", "L2"]


# Reports and ends ---------------------------------------------------------------------------------


def test_replayed_epochs_change_nothing(file: Path) -> None:
    studies = Studies(file, plans(("digits",)))
    ask(studies)
    studies.report("r", 1, 40.0)
    studies.report("r", 1, 41.0)

    assert trials_of(studies)[0].intermediate_values == {1: 40.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(file: Path, value: float) -> None:
    studies = Studies(file, plans(("digits",)))
    ask(studies)

    with pytest.raises(ValueError, match="after epoch 1"):
        studies.report("r", 1, value)
    with pytest.raises(ValueError, match="finite value"):
        studies.tell("r", "complete", value)
    assert trials_of(studies)[0].state == TrialState.RUNNING


def test_a_trial_ends_once(file: Path) -> None:
    studies = Studies(file, plans(("digits",)))
    ask(studies)
    studies.tell("r", "failed", reason="RuntimeError: out of memory")
    studies.tell("r", "complete", 50.0)
    studies.report("r", 1, 50.0)

    (trial,) = trials_of(studies)
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["reason"] == "RuntimeError: out of memory"
    assert trial.intermediate_values == {}


def test_a_trial_that_is_interrupted_stays_open(file: Path) -> None:
    studies = Studies(file, plans(("digits",)))
    ask(studies)
    studies.report("r", 1, 50.0)

    assert studies.settle("r") is None
    assert trials_of(studies)[0].state == TrialState.RUNNING


def test_a_trial_ends_at_its_own_last_epoch_where_it_has_fewer(file: Path) -> None:
    studies = Studies(file, plans(("digits",)))
    ask(studies)
    studies.report("r", 1, 50.0, epochs=2)
    assert studies.settle("r") is None
    studies.report("r", 2, 51.0, epochs=2)
    assert studies.settle("r") == "complete"
    assert trials_of(studies)[0].value == 51.0


# A driver that dies -------------------------------------------------------------------------------


def test_what_a_dead_driver_left_is_handed_out_again_before_anything_new(file: Path) -> None:
    dead = Studies(file, plans(trials=4, scheduler="none"))
    run(dead, ask(dead, "a"), "a")
    left = [ask(dead, "b"), ask(dead, "c")]
    dead.report("b", 1, 33.0)

    studies = Studies(file, plans(trials=4, scheduler="none"))
    assert studies.summary()["letters"].running == 1
    reconciled = studies.reconcile()
    requests = run_all(studies, "again")

    assert sorted(reconciled.again) == [("digits", 1), ("letters", 0)]
    assert sorted(requests[:2], key=lambda r: r.dataset) == sorted(left, key=lambda r: r.dataset)
    for dataset in DATASETS:
        trials = trials_of(studies, dataset)
        assert [t.state for t in trials] == [TrialState.COMPLETE] * 4
    assert Counter((r.dataset, r.number) for r in requests).most_common(1)[0][1] == 1
    assert ("digits", 0) not in [(r.dataset, r.number) for r in requests]
    assert trials_of(studies, "letters")[0].intermediate_values[1] == 33.0


def test_who_ran_to_the_end_is_settled_on_resume_and_who_was_to_be_stopped_is_judged_again(
    file: Path,
) -> None:
    dead = Studies(file, plans(("digits",)))
    ask(dead, "good")
    ask(dead, "poor")
    for epoch in range(1, EPOCHS + 1):
        dead.report("good", epoch, 50.0 + epoch)
    dead.report("poor", 1, 10.0)
    assert not dead.should_prune("good")
    assert dead.should_prune("poor")

    studies = Studies(file, plans(("digits",)))
    reconciled = studies.reconcile()

    assert reconciled.settled == (("digits", 0),)
    assert reconciled.again == (("digits", 1),)
    assert ask(studies, "poor again").number == 1
    studies.report("poor again", 1, 10.0)
    assert studies.should_prune("poor again")
    assert studies.settle("poor again") == "pruned"
    good, poor = trials_of(studies)
    assert (good.state, good.value) == (TrialState.COMPLETE, 59.0)
    assert (poor.state, poor.intermediate_values) == (TrialState.PRUNED, {1: 10.0})


def test_a_trial_that_runs_again_is_not_judged_twice_by_the_same_epoch(file: Path) -> None:
    dead = Studies(file, plans(("digits",)))
    ask(dead, "a")
    for epoch in (1, 2):
        dead.report("a", epoch, 20.0)
        assert not dead.should_prune("a")
    ask(dead, "b")
    dead.report("b", 1, 90.0)
    dead.should_prune("b")

    studies = Studies(file, plans(("digits",)))
    studies.reconcile()
    assert ask(studies, "a again").number == 0
    studies.report("a again", 1, 20.0)
    assert not studies.should_prune("a again")
    studies.report("a again", 2, 20.0)
    assert not studies.should_prune("a again")
    ask(studies, "b again")
    for epoch in (1, 2, 3):
        studies.report("b again", epoch, 90.0)
        assert not studies.should_prune("b again")
    studies.report("a again", 3, 20.0)
    assert studies.should_prune("a again")


def test_a_point_half_drawn_when_the_driver_died_is_completed(file: Path) -> None:
    dead = Studies(file, plans(("digits",)))
    half = optuna.load_study(study_name="digits", storage=dead.url).ask()
    half.suggest_float("distillation.alpha", 0.1, 2.0)

    studies = Studies(file, plans(("digits",)))
    studies.reconcile()
    request = ask(studies)

    assert request.number == 0
    assert request.params["distillation.alpha"] == half.params["distillation.alpha"]
    assert "joint_teacher.levels" in request.params


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        ("tpe", "asha"),
        ("tpe", "hyperband"),
        ("nsgaii", "none"),
        ("gp", "none"),
    ],
)
def test_one_seed_draws_the_same_points_however_often_the_driver_restarts(
    tmp_path: Path, sampler: SamplerName, scheduler: SchedulerName
) -> None:
    def plan(seed: int = 3) -> Any:
        changes = {"trials": 6, "startup_trials": 2, "sampler": sampler, "scheduler": scheduler}
        return plans(("digits",), seed=seed, **changes)

    at_once = run_all(Studies(tmp_path / "at_once.db", plan()))
    restarted = []
    for i in range(6):
        studies = Studies(tmp_path / "restarted.db", plan())
        restarted.append(ask(studies, str(i)))
        run(studies, restarted[-1], str(i))
    other_seed = ask(Studies(tmp_path / "other.db", plan(seed=4)))

    assert restarted == at_once
    assert len({str(r.params) for r in at_once[:4]}) == 4
    assert other_seed.params != at_once[0].params


def test_datasets_draw_different_points(file: Path) -> None:
    studies = Studies(file, plans())

    assert ask(studies, "a").params != ask(studies, "b").params


# Opening ------------------------------------------------------------------------------------------


def test_going_on_with_other_settings_is_refused_but_more_trials_are_welcome(file: Path) -> None:
    run_all(Studies(file, plans(trials=2)))

    with pytest.raises(UserError, match="digits was started with another scheduler, seed"):
        Studies(file, plans(trials=2, scheduler="none", seed=1))
    assert len(run_all(Studies(file, plans(trials=3)), "more")) == 2


@pytest.mark.parametrize("url", ["nosuchdb://host/x", "http://host/x", "sqlite:////proc/no/x.db"])
def test_a_storage_that_cannot_be_opened_is_one_clear_line(url: str) -> None:
    with pytest.raises(UserError, match="cannot be opened") as error:
        Studies(url, plans())
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes, not a database\n" * 200)
    with pytest.raises(UserError, match=r"notes.txt: cannot be opened"):
        Studies(tmp_path / "notes.txt", plans())


def test_copies_are_the_same_and_pickles_see_the_same_record(file: Path) -> None:
    studies = Studies(file, plans())
    ask(studies, "a")
    studies.report("a", 1, 50.0)

    assert copy.deepcopy(studies) is studies
    reopened = pickle.loads(pickle.dumps(studies))
    assert reopened.summary() == studies.summary()
    reopened.report("a", 2, 51.0)
    assert trials_of(studies)[0].intermediate_values == {1: 50.0, 2: 51.0}


def test_nothing_is_printed_or_warned_of(
    file: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    run_all(Studies(file, plans(startup_trials=2)))

    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
