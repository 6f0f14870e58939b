"""What a study tries first: its own points, then the best ranked levels."""

from __future__ import annotations

from typing import Any

from mlfd_tune.config.search import SearchSettings
from mlfd_tune.tune.first_points import first_points

LEVELS = "joint_teacher.levels"
SPACE: dict[str, Any] = {
    LEVELS: {"choice": ["L1", "L2", "L3", ["embedding", "stride16"]]},
    "distillation.alpha": {"float": [0.1, 2.0]},
}


def search(**changes: Any) -> SearchSettings:
    return SearchSettings.model_validate({"trials": 9, "space": SPACE, **changes})


def test_without_a_ranking_they_are_the_dataset_s_own() -> None:
    own = {"letters": {"first_points": [{"distillation.alpha": 2.0}]}}
    settings = search(first_points=[{LEVELS: "L2"}], datasets=own)

    assert first_points(settings, "digits") == [{LEVELS: "L2"}]
    assert first_points(settings, "letters") == [{"distillation.alpha": 2.0}]


def test_the_two_best_levels_that_no_first_point_has_come_after_them() -> None:
    points = [{LEVELS: "L2", "distillation.alpha": 1.0}]
    ranked = ("L2", "embedding,stride16", "L3", "L1")

    assert first_points(search(first_points=points), "digits", ranked) == [
        *points,
        {LEVELS: ["embedding", "stride16"]},
        {LEVELS: "L3"},
    ]


def test_levels_count_as_what_they_stand_for_and_once() -> None:
    ranked = ("embedding,stride32", "L2", "embedding")

    assert first_points(search(), "digits", ranked) == [{LEVELS: "L2"}, {LEVELS: "L1"}]


def test_levels_that_the_space_does_not_have_are_passed_over() -> None:
    assert first_points(search(), "digits", ("L4", "stride8", "L3")) == [{LEVELS: "L3"}]
    without = search(space={"distillation.alpha": {"float": [0.1, 2.0]}})
    assert first_points(without, "digits", ("L2",)) == []


def test_there_are_never_more_than_trials() -> None:
    settings = search(trials=2, first_points=[{"distillation.alpha": 1.0}])

    assert len(first_points(settings, "digits", ("L1", "L2"))) == 2
