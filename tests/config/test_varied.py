"""What a search space or an ablation varies is tried out before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from mlfd_tune.config.varied import problems_of_varied_keys

RAW: dict[str, Any] = {
    "datasets": {"digits": {"source": "digits"}},
    "students": {"digits": {"train": {"lr": 0.1}}},
}


def searching(key: str, distribution: dict[str, Any], **more: Any) -> list[str]:
    space = {key: distribution, **more}
    return [str(p) for p in problems_of_varied_keys(RAW | {"search": {"space": space}})]


def comparing(key: str, values: list[Any]) -> list[str]:
    design = {"factors": {key: values}}
    return [str(problem) for problem in problems_of_varied_keys(RAW | {"design": design})]


@pytest.mark.parametrize(
    ("key", "distribution"),
    [
        ("distillation.alpha", {"float": [0, 2]}),
        ("distillation.beta.stride8", {"float": [0.01, 1], "log": True}),
        ("distillation.beta", {"choice": [0, 0.5]}),
        ("joint_teacher.levels", {"choice": ["L1", ["embedding", "stride8"]]}),
        ("joint_teacher.width", {"int": [8, 64], "step": 8}),
        ("student.train.lr", {"float": [1e-4, 1e-1], "log": True}),
        ("student.train.augment", {"choice": ["none", "light"]}),
        ("student.train.augment.rotate", {"float": [0, 30]}),
        ("student.train.ema_decay", {"choice": [None, 0.99]}),
        ("students.digits.arch", {"choice": ["test_vit", "test_resnet"]}),
        ("teachers.digits.train.epochs", {"int": [1, 3]}),
        ("datasets.digits.train_size", {"choice": [100, 200]}),
        ("method", {"choice": ["mlfd", "none"]}),
        ("seed", {"int": [0, 3]}),
    ],
)
def test_every_key_of_the_method_can_be_varied(key: str, distribution: dict[str, Any]) -> None:
    assert searching(key, distribution) == []


@pytest.mark.parametrize(
    ("key", "distribution", "message"),
    [
        (
            "distillation.alfa",
            {"float": [0, 2]},
            "search.space.distillation.alfa: unknown key (allowed: adaptor, alignment, alpha,",
        ),
        (
            "student.train.schedule.kind",
            {"choice": ["cosine"]},
            "search.space.student.train.schedule.kind: cannot be 'cosine': student.train.schedule",
        ),
        (
            "distillation.alpha",
            {"float": [-1, 2]},
            "search.space.distillation.alpha: cannot be -1.0: must be greater than or equal to 0",
        ),
        (
            "joint_teacher.dropout",
            {"float": [0, 1]},
            "search.space.joint_teacher.dropout: cannot be 1.0: must be less than 1",
        ),
        (
            "joint_teacher.width",
            {"choice": [16, "wide"]},
            "search.space.joint_teacher.width: cannot be 'wide': must be a whole number",
        ),
        (
            "teachers.digtis.arch",
            {"choice": ["test_vit"]},
            "search.space.teachers.digtis.arch: cannot be 'test_vit': teachers",
        ),
        (
            "search.trials",
            {"int": [1, 3]},
            "search.space.search.trials: search is an unknown key",
        ),
    ],
)
def test_what_cannot_be_varied_is_told(
    key: str, distribution: dict[str, Any], message: str
) -> None:
    lines = searching(key, distribution)

    assert len(lines) == 1
    assert lines[0].startswith(message)


def test_the_space_a_dataset_has_of_its_own_is_tried_too() -> None:
    spaces = {
        "digits": {"space": {"distillation.alpha": {"float": [0, 1]}}},
        "letters": {"space": {"distillation.alpha": {"float": [-1, 1]}}},
        "photos": {"first_points": []},
    }

    (problem,) = problems_of_varied_keys(RAW | {"search": {"datasets": spaces}})

    at = "search.datasets.letters.space.distillation.alpha"
    assert str(problem).startswith(f"{at}: cannot be -1.0: must be greater")


def test_every_wrong_value_is_told() -> None:
    lines = comparing("joint_teacher.adaptor", ["pointwise", "conv", "lin"])

    assert [line.split(": unknown")[0] for line in lines] == [
        "design.factors.joint_teacher.adaptor: cannot be 'conv'",
        "design.factors.joint_teacher.adaptor: cannot be 'lin'",
    ]


def test_what_is_wrong_with_the_experiment_itself_is_not_blamed_on_what_is_varied() -> None:
    wrong = RAW | {"seed": "x", "search": {"space": {"distillation.alpha": {"float": [0, 1]}}}}

    assert problems_of_varied_keys(wrong) == []


def test_the_values_of_a_base_are_tried_too() -> None:
    design = {
        "kind": "one_at_a_time",
        "factors": {"distillation.alpha": [0.6]},
        "reference": {"distillation.alpha": -2},
    }

    (problem,) = problems_of_varied_keys(RAW | {"design": design})

    assert str(problem).startswith("design.reference.distillation.alpha: cannot be -2")


def test_the_values_of_named_arms_are_tried_too() -> None:
    arms = {"one": {"method": "none"}, "two": {"distillation.alfa": 1, "method": "mlfdd"}}
    told = [str(p) for p in problems_of_varied_keys(RAW | {"design": {"arms": arms}})]
    assert len(told) == 2
    assert told[0].startswith("design.arms.two.distillation.alfa: unknown key")
    assert told[1].startswith("design.arms.two.method: cannot be 'mlfdd': unknown method")
