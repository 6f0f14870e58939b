"""Search settings refuse what a sweep could not do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mlfd_tune.config.search import SearchSettings

SPACE: dict[str, Any] = {
    "distillation.alpha": {"float": [0.1, 2.0]},
    "joint_teacher.width": {"int": [16, 64], "step": 16},
    "joint_teacher.levels": {"choice": ["L1", ["embedding", "stride16"]]},
}


def settings(**changes: Any) -> SearchSettings:
    return SearchSettings.model_validate({"trials": 4, "space": SPACE, **changes})


def test_asha_and_tpe_are_the_defaults() -> None:
    assert (settings().sampler, settings().scheduler) == ("tpe", "asha")
    assert settings().metric == "val/acc1"


def test_first_points_may_be_partial_and_hold_lists() -> None:
    points = [{"distillation.alpha": 1}, {"joint_teacher.levels": ["embedding", "stride16"]}, {}]

    assert list(settings(first_points=points).first_points) == points


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "greater than or equal to 1"),
        ({"sampler": "tpee"}, "tpe"),
        ({"scheduler": "ashaa"}, "asha"),
        ({"reduction_factor": 1}, "greater than or equal to 2"),
        ({"metric": "test/acc1"}, "val/acc1"),
        ({"trails": 4}, "Extra inputs"),
        (
            {"first_points": [{"distillation.alhpa": 1.0}]},
            "first_points[0]: 'distillation.alhpa' is not in the space",
        ),
        (
            {"first_points": [{}, {"distillation.alpha": 3.0}]},
            "first_points[1]: distillation.alpha cannot be 3.0 (allowed: 0.1 to 2)",
        ),
        (
            {"first_points": [{"joint_teacher.width": 20}]},
            "joint_teacher.width cannot be 20 (allowed: 16 to 64 in steps of 16)",
        ),
        (
            {"first_points": [{"joint_teacher.levels": "L2"}]},
            'joint_teacher.levels cannot be \'L2\' (allowed: one of L1, ["embedding", "stride16"])',
        ),
        ({"first_points": [{}] * 5}, "5 points, but only 4 trials"),
        ({"sampler": "grid"}, "sampler grid needs a step for every float: distillation.alpha"),
    ],
)
def test_what_a_sweep_could_not_do_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        settings(**changes)

    assert message in str(error.value)
