"""From stages and a store to a plan."""

from __future__ import annotations

import pytest

from mlfd_tune.core.cache_plan import estimate_missing, is_kept, measure_rates, plan_cache, uses_of
from mlfd_tune.core.caching import Caching, Uses
from mlfd_tune.core.pipeline import Pipeline
from mlfd_tune.core.store import Store, walk
from tests.helpers.pipelines import CATALOGUE, pipeline, settings

EPOCHS = {"student": {"train": {"epochs": 5}}}


def planned(store: Store, count: int = 3, setting: str = "auto", **changes) -> Caching:
    student = pipeline(**changes).student("one")
    stages = student.inputs.values()
    return plan_cache(setting, stages, {student: count}, store, memory_bytes=7, device="cpu")


def sizes(store: Store, **changes):
    return estimate_missing(walk(pipeline(**changes).student("one").inputs.values()), store)


def test_what_is_missing_is_counted_by_what_it_holds(tmp_path):
    store, made = Store(tmp_path / "store"), pipeline()
    student = made.student("one")
    found = sizes(store)
    features = [stage for stage in walk([student]) if stage.stage_name == "features"]
    assert found.features == sum(stage.estimate_bytes() for stage in features)
    assert found.targets == student.targets.estimate_bytes()
    store.get_or_compute(made.dataset("one"))
    assert sizes(store).rest == found.rest - made.dataset("one").estimate_bytes()


@pytest.mark.parametrize("plan", ["targets", "features", "none"])
def test_the_budget_decides_and_the_plan_keeps_it(tmp_path, plan):
    room = sizes(Store(tmp_path)).under(plan) + 20_000  # a joint teacher's weights are a bound
    store = Store(tmp_path / "store", max_bytes=room)
    chosen = planned(store)
    assert chosen.plan == plan
    assert chosen.memory_bytes == 7
    student = Pipeline(settings(), CATALOGUE, chosen).student("one")
    for stage in walk(student.inputs.values()):
        store.get_or_compute(stage)
    assert store.used_bytes() <= room


def test_a_plan_that_was_set_is_taken(tmp_path):
    chosen = planned(Store(tmp_path), setting="features")
    assert chosen == Caching("features", "as set", 7)


def test_targets_of_a_teacher_that_do_not_fit_are_made_anew_by_every_student(tmp_path):
    room = sizes(Store(tmp_path), method="kd").under("none")
    assert planned(Store(tmp_path, max_bytes=room), method="kd").plan == "none"


def test_a_search_over_unknown_joint_teachers_needs_targets_for_every_trial(tmp_path):
    student = pipeline().student("one")
    known = [stage for stage in walk(student.inputs.values()) if stage.stage_name == "features"]
    found = sizes(Store(tmp_path))
    store = Store(tmp_path / "store", max_bytes=found.rest + found.features + 3 * found.targets)

    def plan(trials: int) -> str:
        return plan_cache(
            "auto", known, {student: trials}, store, memory_bytes=None, device="cpu"
        ).plan

    assert plan(1) == "targets"
    assert plan(100) != "targets"


def test_features_are_needed_once_an_epoch_or_once_where_they_fit_into_memory(tmp_path):
    student = pipeline(**EPOCHS, joint_teacher={"train": {"epochs": 4}}).student("one")
    stages, store = list(walk(student.inputs.values())), Store(tmp_path)
    counts = student.data.counts
    seen = 2 * (counts["train"] + counts["val"])  # by two teachers
    taught = 2 * counts["train"]
    for fits, epochs, passes in ((True, 1, 1), (False, 4, 5)):
        uses = uses_of(stages, {student: 3}, store, lambda needed, fits=fits: fits)
        assert uses == Uses(
            seen, 4 * seen + 3 * passes * taught, epochs * seen + 3 * passes * taught
        )


def test_rates_are_measured_without_a_trained_teacher(tmp_path):
    student = pipeline(joint_teacher={"levels": "L1"}).student("one")
    features = [stage for stage in walk([student]) if stage.stage_name == "features"]
    rates = measure_rates(features, tmp_path / "store", "cpu")
    assert rates.read > 0
    assert rates.run > 0
    assert not (tmp_path / "store").exists()


def test_a_plan_keeps_what_it_says():
    stages = {s.stage_name: s for s in walk(pipeline().student("one").inputs.values())}
    for plan, left_out in (("targets", set()), ("features", {"targets"})):
        assert {n for n, s in stages.items() if not is_kept(s, plan)} == left_out
    assert {n for n, s in stages.items() if not is_kept(s, "none")} == {"targets", "features"}
