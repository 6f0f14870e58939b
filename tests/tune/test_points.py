"""Points are drawn with only the parameters that exist in them."""

from __future__ import annotations

from typing import Any

import optuna

from mlfd_tune.config.space import SearchSpace
from mlfd_tune.core.models.levels import parse_levels
from mlfd_tune.tune.space import grid_points, sample

SPACE = SearchSpace.model_validate(
    {
        "distillation.alpha": {"float": [0.1, 2.0], "log": True},
        "joint_teacher.levels": {"choice": ["L1", "L2", ["embedding", "stride16"]]},
        "joint_teacher.width": {
            "int": [16, 64],
            "step": 16,
            "when": {"joint_teacher.levels": "L2"},
        },
        "distillation.beta.stride32": {"float": [0.0, 1.0]},
        "distillation.beta.stride16": {"float": [0.0, 1.0]},
    }
)


def drawn_points(n: int) -> list[tuple[dict[str, Any], optuna.trial.FrozenTrial]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(n)]
    return [(sample(t, SPACE, ("embedding",)), study.trials[t.number]) for t in trials]


def test_a_drawn_point_has_the_parameters_of_its_levels_and_no_others() -> None:
    points = [point for point, _ in drawn_points(60)]

    assert {str(p["joint_teacher.levels"]) for p in points} == {
        "L1",
        "L2",
        "['embedding', 'stride16']",
    }
    for point in points:
        levels = parse_levels(point["joint_teacher.levels"])
        for level in ("stride32", "stride16"):
            assert (f"distillation.beta.{level}" in point) == (level in levels)
        assert ("joint_teacher.width" in point) == (point["joint_teacher.levels"] == "L2")
        assert all(SPACE[key].contains(value) for key, value in point.items())


def test_a_stored_trial_gives_back_the_point_it_was_run_with() -> None:
    for point, trial in drawn_points(20):
        assert sample(trial, SPACE, ("embedding",)) == point


def test_a_grid_has_every_point_once_without_inactive_parameters() -> None:
    space = SearchSpace.model_validate(
        {
            "distillation.beta.stride32": {"float": [0.0, 1.0], "step": 0.5},
            "joint_teacher.levels": {"choice": ["L1", "L2"]},
            "joint_teacher.width": {"int": [16, 32], "step": 16},
        }
    )

    points = list(grid_points(space, ("embedding",)))

    l1 = [{"joint_teacher.levels": "L1", "joint_teacher.width": w} for w in (16, 32)]
    l2 = [
        {
            "joint_teacher.levels": "L2",
            "joint_teacher.width": w,
            "distillation.beta.stride32": beta,
        }
        for w in (16, 32)
        for beta in (0.0, 0.5, 1.0)
    ]
    assert len(points) == 8
    assert all(point in points for point in l1 + l2)


def test_a_grid_over_betas_follows_the_base_levels() -> None:
    space = SearchSpace.model_validate(
        {
            "distillation.alpha": {"choice": [0.5, 1.0]},
            "distillation.beta.stride32": {"float": [0.0, 1.0], "step": 0.5},
        }
    )

    assert len(list(grid_points(space, ("embedding",)))) == 2
    assert len(list(grid_points(space, ("embedding", "stride32")))) == 6
