"""Validation errors in the words of the user's own file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mlfd_tune.config import SweepConfig
from mlfd_tune.config.messages import Problem, in_words

RAW: dict[str, Any] = {
    "kind": "sweep",
    "datasets": {"digits": {"source": "digits"}},
    "search": {"trials": 2, "space": {"distillation.alpha": {"float": [0.1, 2]}}},
}


def told(**changes: Any) -> list[str]:
    raw = RAW | changes
    with pytest.raises(ValidationError) as error:
        SweepConfig.model_validate(raw)
    return [str(problem) for problem in in_words(error.value, SweepConfig, raw)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "one"}, "seed: must be a whole number (got 'one')"),
        ({"seed": 1.5}, "seed: must be a whole number (got 1.5)"),
        ({"seed": -1}, "seed: must be greater than or equal to 0 (got -1)"),
        ({"targets": "digits"}, "targets: must be a list (got 'digits')"),
        ({"targets": []}, "targets: needs at least 1 (got [])"),
        ({"targets": [3]}, "targets.0: must be text (got 3)"),
        ({"teacher": "vit"}, "teacher: must be a mapping of keys to values (got 'vit')"),
        ({"datasets": {}}, "datasets: needs at least 1 (got {})"),
        (
            {"resources": {"workers": "all"}},
            "resources.workers: must be a whole number (got 'all')",
        ),
        (
            {"teacher": {"train": {"augment": {"flip": "often"}}}},
            "teacher.train.augment.flip: must be true or false (got 'often')",
        ),
        (
            {"method": "mlfdd"},
            "method: unknown method 'mlfdd' (allowed: fitnet, joint_head, joint_teacher, kd, mlfd,",
        ),
        (
            {"tracking": {"url": "x"}},
            "tracking.url: unknown key (allowed: uri; did you mean 'uri'?)",
        ),
        (
            {"search": {"trials": 1, "space": {"seed": {"int": [0, 9], "stepp": 2}}}},
            "search.space.seed.stepp: unknown key",
        ),
        (
            {
                "search": {
                    "trials": 1,
                    "datasets": {"digits": {"space": {"seed": {"int": [0, 9], "stepp": 2}}}},
                }
            },
            "search.datasets.digits.space.seed.stepp: unknown key",
        ),
        ({"search": {"trials": 1}}, "search.space: this key is needed"),
        (
            {"store": {"max_bytes": "20 gigs"}},
            "store.max_bytes: '20 gigs' is not a size (allowed: such as 500MB, 20GB, 1TB)",
        ),
    ],
)
def test_a_message_has_the_key_what_is_wrong_and_what_is_allowed(
    changes: dict[str, Any], message: str
) -> None:
    lines = told(**changes)

    assert len(lines) == 1
    assert lines[0].startswith(message)


def test_what_is_filled_into_every_dataset_is_told_once() -> None:
    assert told(student={"arch": "test_resnet", "trian": {}}) == [
        "student.trian: unknown key (allowed: arch, image_size, seed, train; did you mean 'train'?)"
    ]


def test_a_wrong_shorthand_is_told_once() -> None:
    assert told(distillation={"beta": -0.5}) == [
        "distillation.beta: must be greater than or equal to 0 (got -0.5)"
    ]


def test_several_problems_of_one_section_are_a_line_each() -> None:
    space = {
        "distillation.beta.stride23": {"float": [0, 1]},
        "joint_teacher.width": {"choice": [8, 16], "when": {"seed": 1}},
    }

    lines = told(search={"trials": 1, "space": space})

    assert len(lines) == 2
    assert "unknown level 'stride23'" in lines[0]
    assert "when names 'seed', which is not searched" in lines[1]


def test_a_long_value_is_shortened() -> None:
    (line,) = told(seed="9" * 500 + "x")

    assert len(line) < 120


def test_a_problem_is_written_with_its_key() -> None:
    assert str(Problem(("a", "b"), "is wrong")) == "a.b: is wrong"
    assert str(Problem((), "is wrong")) == "is wrong"
