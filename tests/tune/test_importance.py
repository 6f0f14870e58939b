"""Importances on studies whose values are known functions, at one epoch and no other."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from mlfd_tune.core.errors import UserError
from mlfd_tune.tune.importance import Importance, ImportanceReport, importance_of
from mlfd_tune.tune.storage import open_storage, storage_url

REAL = FloatDistribution(-1.0, 1.0)
XYZ: dict[str, BaseDistribution] = {"x": REAL, "y": REAL, "z": REAL}
LAST = 4

Function = Callable[[Mapping[str, Any]], float]


def drawn(number: int, space: Mapping[str, BaseDistribution] = XYZ) -> list[dict[str, Any]]:
    """Points spread evenly over a space, in each parameter's own scale: a Latin hypercube."""
    draw = np.random.default_rng(1)
    middles = (np.arange(number) + 0.5) / number
    columns = {
        name: [_value(distribution, share) for share in draw.permutation(middles)]
        for name, distribution in space.items()
    }
    return [{name: values[i] for name, values in columns.items()} for i in range(number)]


def _value(distribution: BaseDistribution, share: float) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(distribution, IntDistribution):
        return distribution.low + int(share * (distribution.high - distribution.low + 1))
    if distribution.log:
        return distribution.low * (distribution.high / distribution.low) ** share
    return distribution.low + share * (distribution.high - distribution.low)


def trial(
    params: Mapping[str, Any],
    values: Mapping[int, float],
    state: TrialState = TrialState.COMPLETE,
    space: Mapping[str, BaseDistribution] = XYZ,
) -> FrozenTrial:
    """A trial with a value after each of some epochs."""
    return create_trial(
        state=state,
        params=dict(params),
        distributions={name: space[name] for name in params},
        value=values[max(values)] if state == TrialState.COMPLETE else None,
        intermediate_values=dict(values),
    )


def finished(
    function: Function, number: int, space: Mapping[str, BaseDistribution] = XYZ
) -> list[FrozenTrial]:
    """Trials that ran to the last epoch, where the function counts; before it there is noise."""
    noise = np.random.default_rng(7)
    return [
        trial(
            params,
            {e: float(noise.normal()) for e in range(1, LAST)} | {LAST: function(params)},
            space=space,
        )
        for params in drawn(number, space)
    ]


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """Write studies into a file as a sweep does."""

    def write(plan: Mapping[str, Any] | None = None, **studies: list[FrozenTrial]) -> Path:
        path = tmp_path / "run" / "studies.db"
        storage = open_storage(storage_url(path))
        for name, trials in studies.items():
            study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
            study.add_trials(trials)
            if plan is not None:
                study.set_user_attr("plan", dict(plan))
        storage.remove_session()
        storage._backend.engine.dispose()  # type: ignore[attr-defined]
        return path

    return write


def shares(report: ImportanceReport, evaluator: str = "fanova") -> dict[str, float]:
    return {
        name: share
        for one in report.importances
        if one.evaluator == evaluator
        for name, share in one.values.items()
    }


def strength(report: ImportanceReport, first: str, second: str) -> float:
    (one,) = (i for i in report.interactions if {i.first, i.second} == {first, second})
    return one.strength


# What the numbers are ----------------------------------------------------------------------------


def test_shares_have_the_order_and_about_the_size_of_the_variances(
    stored: Callable[..., Path],
) -> None:
    # Of 2x + y, variances are 4/3 and 1/3: shares of 0.8 and 0.2, and none of z. A forest
    # understates what is weak, the more so the fewer points there are.
    report = importance_of(stored(digits=finished(lambda p: 2 * p["x"] + p["y"], 60)))

    assert [(one.evaluator, one.rung, one.trials) for one in report.importances] == [
        ("fanova", LAST, 60),
        ("ped_anova", LAST, 60),
    ]
    assert shares(report) == pytest.approx({"x": 0.8, "y": 0.2, "z": 0.0}, abs=0.12)
    assert list(shares(report)) == ["x", "y", "z"]
    assert next(iter(shares(report, "ped_anova"))) == "x"
    assert sum(shares(report, "ped_anova").values()) == pytest.approx(1)
    assert report.explained["digits"] > 0.8


def test_a_parameter_is_weighed_in_its_own_scale(stored: Callable[..., Path]) -> None:
    # Over the decades 1e-5 to 1e-1 both terms have a variance of 16/12. Weighed as plain numbers,
    # nine tenths of the range would be its last decade and the rate's share small.
    space = {"rate": FloatDistribution(1e-5, 1e-1, log=True), "y": REAL}
    function: Function = lambda p: np.log10(p["rate"]) + 2 * p["y"]  # noqa: E731
    report = importance_of(stored(digits=finished(function, 60, space)))

    assert shares(report) == pytest.approx({"rate": 0.5, "y": 0.5}, abs=0.1)
    (curve,) = (one for one in report.marginals if one.parameter == "rate")
    steps = np.diff(np.log10(np.array(curve.grid)))
    assert steps == pytest.approx(np.full(len(steps), 4 / 20))
    slope = np.polyfit(np.log10(np.array(curve.grid)), curve.mean, 1)[0]
    assert slope == pytest.approx(1, abs=0.25)


def test_a_product_interacts_and_a_sum_does_not(stored: Callable[..., Path]) -> None:
    def both(p: Mapping[str, Any]) -> float:
        return 4 * float(p["x"] * p["y"])

    product = importance_of(stored(digits=finished(both, 100)))
    assert strength(product, "x", "y") > 0.65
    assert sum(shares(product).values()) < 0.5  # neither does much alone
    assert (product.interactions[0].first, product.interactions[0].second) == ("x", "y")


def test_what_adds_up_has_next_to_no_interaction(stored: Callable[..., Path]) -> None:
    report = importance_of(stored(digits=finished(lambda p: 2 * p["x"] + 2 * p["y"], 60)))
    assert all(0 <= one.strength < 0.2 for one in report.interactions)
    assert len(report.interactions) == 3


def test_categories_have_their_names_and_only_those_that_were_tried(
    stored: Callable[..., Path],
) -> None:
    space = {"levels": CategoricalDistribution(["L1", "L2", "L3"]), "y": REAL}
    points = [p for p in drawn(60, space) if p["levels"] != "L3"]
    trials = [
        trial(p, {1: (10.0 if p["levels"] == "L2" else 0.0) + p["y"]}, space=space) for p in points
    ]
    report = importance_of(stored(digits=trials))

    (curve,) = (one for one in report.marginals if one.parameter == "levels")
    assert curve.grid == ("L1", "L2")
    assert curve.mean[1] - curve.mean[0] == pytest.approx(10, abs=0.7)
    assert all(
        low <= mean <= high
        for low, mean, high in zip(curve.low, curve.mean, curve.high, strict=True)
    )
    assert shares(report)["levels"] > 0.9


def test_the_same_file_gives_the_same_report(stored: Callable[..., Path]) -> None:
    path = stored(digits=finished(lambda p: p["x"] - p["y"], 12))
    assert importance_of(path) == importance_of(path)


# One epoch and no other --------------------------------------------------------------------------


def staged(number: int = 40) -> list[FrozenTrial]:
    """Trials of which x decides at epoch 2 and y at the last; the poor half at 2 is stopped."""
    trials = []
    for params in drawn(number):
        values = {1: 0.0, 2: float(params["x"])}
        if params["x"] > 0:
            values |= {3: 100 * float(params["z"]), LAST: float(params["y"])}
        state = TrialState.COMPLETE if params["x"] > 0 else TrialState.PRUNED
        trials.append(trial(params, values, state))
    return trials


def test_by_default_only_trials_that_ran_to_the_end_count(stored: Callable[..., Path]) -> None:
    trials = staged()
    ended = sum(t.state == TrialState.COMPLETE for t in trials)

    report = importance_of(stored(digits=trials))

    assert {(one.rung, one.trials) for one in report.importances} == {(LAST, ended)}
    assert shares(report)["y"] > 0.8
    (note,) = (n for n in report.notes if "points with a value" in n)
    assert note == (
        f"digits: {ended} points with a value at epoch {LAST}; "
        f"{40 - ended} were stopped before it and are left out."
    )
    assert any("selected set" in n for n in report.notes)


def test_at_an_earlier_epoch_stopped_trials_count_and_later_values_do_not(
    stored: Callable[..., Path],
) -> None:
    report = importance_of(stored(digits=staged()), rung=2)

    assert {(one.rung, one.trials) for one in report.importances} == {(2, 40)}
    assert shares(report)["x"] > 0.9
    assert any(f"Values at epoch 2 of {LAST}" in n for n in report.notes)
    assert not any("selected set" in n for n in report.notes)


def test_trials_that_ended_at_different_epochs_are_not_mixed(stored: Callable[..., Path]) -> None:
    short = [trial(p, {1: p["x"], 2: p["x"]}) for p in drawn(10)]
    long = [trial(p, {1: p["x"], 2: p["x"], 3: 9.0}) for p in drawn(11)]
    path = stored(digits=short + long)

    with pytest.raises(UserError, match="different last epochs") as told:
        importance_of(path)
    assert "10 trials at 2, 11 trials at 3" in str(told.value)
    assert "--rung; points by epoch: epoch 1 to 2: 21, epoch 3: 11" in str(told.value)
    assert importance_of(path, rung=2).importances[0].trials == 21


@pytest.mark.parametrize(
    ("rung", "number"), [(3, "5 points"), (9, "no points"), (None, "5 points")]
)
def test_an_epoch_with_too_few_points_is_refused_with_those_there_are(
    rung: int | None, number: str, stored: Callable[..., Path]
) -> None:
    ended = [trial(p, {1: p["x"], 2: p["x"], 3: p["x"]}) for p in drawn(5)]
    stopped = [trial(p, {1: p["x"]}, TrialState.PRUNED) for p in drawn(7)]

    with pytest.raises(UserError, match=f"digits: {number} with a value at epoch") as told:
        importance_of(stored(digits=ended + stopped), rung=rung)
    assert "points by epoch: epoch 1: 12, epoch 2 to 3: 5" in str(told.value)


def test_of_several_studies_one_with_too_few_trials_is_left_out_and_named(
    stored: Callable[..., Path],
) -> None:
    path = stored(
        digits=finished(lambda p: p["x"], 10), letters=[trial(p, {1: 0.0}) for p in drawn(2)]
    )
    report = importance_of(path)
    assert {one.dataset for one in report.importances} == {"digits"}
    assert report.notes[0].startswith("Left out: letters: 2 points with a value at epoch 1")
    with pytest.raises(UserError, match="letters: 2 points"):
        importance_of(path, dataset="letters")


def test_a_study_in_which_nothing_ran_to_the_end_says_so(stored: Callable[..., Path]) -> None:
    running = [trial(p, {1: p["x"]}, TrialState.RUNNING) for p in drawn(8)]
    path = stored(digits=running)
    with pytest.raises(
        UserError, match="no trial has run to its end yet; points by epoch: epoch 1"
    ):
        importance_of(path)
    assert importance_of(path, rung=1).importances[0].trials == 8


def test_a_point_that_was_tried_again_counts_once(stored: Callable[..., Path]) -> None:
    trials = finished(lambda p: p["x"], 10)
    failed = trial(drawn(3)[0], {1: 0.0}, TrialState.FAIL)

    report = importance_of(stored(digits=[*trials, *trials[:3], failed]))

    assert report.importances[0].trials == 10
    assert report.notes[0] == (
        f"digits: 10 points with a value at epoch {LAST}; 1 failed before it or are not that far; "
        "3 tried a point again and do not count twice."
    )


# Parameters that only some trials have -----------------------------------------------------------


def conditional(number: int, deep: float) -> list[FrozenTrial]:
    """Trials with a fusion depth; beta exists at L2 and L3, and helps at L3 only."""
    space = {"levels": CategoricalDistribution(["L1", "L2", "L3"]), "alpha": REAL, "beta": REAL}
    trials = []
    for i, params in enumerate(drawn(number, space)):
        params["levels"] = ("L2", "L3")[i % 2] if i < deep * number else "L1"
        if params["levels"] == "L1":
            del params["beta"]
        gain = {"L1": 0.0, "L2": -1.0, "L3": 1.0}[params["levels"]] * params.get("beta", 0.0)
        trials.append(trial(params, {1: params["alpha"] + 2 * gain}, space=space))
    return trials


def test_a_conditional_parameter_is_judged_among_the_trials_that_have_it(
    stored: Callable[..., Path],
) -> None:
    report = importance_of(stored(digits=conditional(90, deep=2 / 3)))

    of_all, of_some = (one for one in report.importances if one.evaluator == "fanova")
    assert (of_all.trials, set(of_all.values)) == (90, {"levels", "alpha"})
    assert (of_some.trials, set(of_some.values)) == (60, {"beta"})
    assert any("of 90 points some have beta (60)" in note for note in report.notes)
    assert "beta" in {one.parameter for one in report.marginals}


def test_fusion_depth_interacts_with_the_coefficient_that_it_turns(
    stored: Callable[..., Path],
) -> None:
    report = importance_of(stored(digits=conditional(70, deep=1)))
    assert strength(report, "levels", "beta") > 0.4
    assert strength(report, "levels", "alpha") < 0.2
    assert {report.interactions[0].first, report.interactions[0].second} == {"levels", "beta"}


def test_a_conditional_parameter_of_too_few_trials_is_not_judged_but_named(
    stored: Callable[..., Path],
) -> None:
    report = importance_of(stored(digits=conditional(40, deep=1 / 10)))
    assert "beta" not in shares(report)
    assert "beta" not in {one.parameter for one in report.marginals}
    assert "digits: in too few points to be judged (at least 6): beta (4)." in report.notes


# Nothing to find ---------------------------------------------------------------------------------


def test_noise_has_shares_and_is_said_to_show_nothing(stored: Callable[..., Path]) -> None:
    noise = np.random.default_rng(3)
    report = importance_of(stored(digits=finished(lambda p: float(noise.normal()), 40)))
    assert report.explained["digits"] < 0.1
    assert any("No importance is shown here" in note for note in report.notes)


def test_values_that_are_all_equal_have_no_shares(stored: Callable[..., Path]) -> None:
    report = importance_of(stored(digits=finished(lambda p: 5.0, 10)))
    assert set(shares(report).values()) == set(shares(report, "ped_anova").values()) == {0.0}
    assert {one.strength for one in report.interactions} == {0.0}
    assert all(set(one.mean) == {5.0} for one in report.marginals)
    assert any("No importance is shown here" in note for note in report.notes)


def test_a_parameter_with_one_value_has_no_share_and_no_curve(stored: Callable[..., Path]) -> None:
    space = {"x": REAL, "only": CategoricalDistribution(["one"]), "k": IntDistribution(3, 3)}
    report = importance_of(stored(digits=finished(lambda p: p["x"], 20, space)))
    assert shares(report)["only"] == shares(report)["k"] == 0
    assert {one.parameter for one in report.marginals} == {"x"}
    assert report.interactions == ()


def test_few_points_and_a_sampler_that_looks_at_results_are_named(
    stored: Callable[..., Path],
) -> None:
    plan = {"settings": {"sampler": "tpe", "startup_trials": 5}}
    report = importance_of(stored(plan, digits=finished(lambda p: p["x"], 12)))
    assert any("fewer than 20 points" in note for note in report.notes)
    assert any(
        "sampler tpe tries points near good ones after the first 5" in n for n in report.notes
    )


# The file ----------------------------------------------------------------------------------------


def state_of(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def test_a_file_that_nobody_writes_to_is_left_as_it_is(stored: Callable[..., Path]) -> None:
    path = stored(digits=finished(lambda p: p["x"], 8))
    before = state_of(path.parent)
    importance_of(path)
    assert state_of(path.parent) == before


def test_a_running_sweep_is_read_while_it_writes_and_does_not_wait(
    stored: Callable[..., Path],
) -> None:
    path = stored(digits=finished(lambda p: p["x"], 8))
    writer = sqlite3.connect(path, isolation_level=None, timeout=0)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trials SET state = 'FAIL' WHERE number < 5")
    try:
        names = set(state_of(path.parent))
        report = importance_of(path)
        assert report.importances[0].trials == 8  # as of the last commit
        assert set(state_of(path.parent)) == names
        writer.execute("COMMIT")  # refused if anybody held a lock
    finally:
        writer.close()


def test_what_cannot_be_read_is_named(stored: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        importance_of(tmp_path / "nowhere.db")
    text = tmp_path / "text.db"
    text.write_text("no database " * 200)
    with pytest.raises(UserError, match="cannot be read as Optuna's studies"):
        importance_of(text)
    path = stored(digits=finished(lambda p: p["x"], 8))
    with pytest.raises(UserError, match="did you mean 'digits'"):
        importance_of(path, dataset="digit")


def test_one_dataset_of_several_can_be_asked_for(stored: Callable[..., Path]) -> None:
    path = stored(digits=finished(lambda p: p["x"], 8), letters=finished(lambda p: p["y"], 8))
    report = importance_of(path, dataset="letters")
    everything: list[Importance] = list(importance_of(path).importances)
    assert {one.dataset for one in report.importances} == {"letters"}
    assert {one.dataset for one in everything} == {"digits", "letters"}
