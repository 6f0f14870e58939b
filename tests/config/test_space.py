"""A search space says what varies, over what and when, and refuses what cannot work."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from mlfd_tune.config.space import SearchSpace
from mlfd_tune.core.spec import canonical_json

EVERY_KIND = """
distillation.alpha: {float: [0.1, 2.0], log: true}
distillation.temperature: {choice: [1, 2, 4]}
joint_teacher.adaptor: {choice: [pointwise, conv3x3], when: {joint_teacher.levels: [L2, L3]}}
joint_teacher.levels: {choice: [L1, L2, L3, [embedding, stride16]]}
joint_teacher.width: {int: [16, 64], step: 16}
distillation.beta.stride32: {float: [0.0, 1.0]}
"""


def space_of(text: str) -> SearchSpace:
    return SearchSpace.model_validate(yaml.safe_load(text))


def test_every_kind_is_read_and_written_back_unchanged() -> None:
    space = space_of(EVERY_KIND)

    assert len(space) == 6
    assert space["joint_teacher.width"].values() == [16, 32, 48, 64]
    assert space["joint_teacher.levels"].values()[-1] == ["embedding", "stride16"]
    again = SearchSpace.model_validate(space.model_dump(mode="json"))
    assert canonical_json(again) == canonical_json(space)


def test_parameters_come_after_those_they_depend_on() -> None:
    order = [key for key, _ in space_of(EVERY_KIND).ordered()]

    levels = order.index("joint_teacher.levels")
    assert levels < order.index("joint_teacher.adaptor")
    assert levels < order.index("distillation.beta.stride32")


def test_a_condition_holds_for_the_values_it_names() -> None:
    space = space_of(EVERY_KIND)

    def active(levels: object) -> bool:
        return space.is_active("joint_teacher.adaptor", {"joint_teacher.levels": levels}, ())

    assert active("L2")
    assert active("L3")
    assert not active("L1")
    assert not active(["embedding", "stride16"])
    assert not space.is_active("joint_teacher.adaptor", {}, ())


def test_a_single_value_may_stand_for_a_list_of_one() -> None:
    space = space_of("""
        a: {choice: [x, y]}
        b: {choice: [1, 2], when: {a: x}}
    """)

    assert space.is_active("b", {"a": "x"}, ())
    assert not space.is_active("b", {"a": "y"}, ())


@pytest.mark.parametrize(
    ("levels", "exists"),
    [("L1", False), ("L2", True), ("L3", True), (["embedding", "stride16"], False)],
)
def test_beta_of_a_level_exists_where_the_drawn_levels_hold_it(
    levels: object, exists: bool
) -> None:
    space = space_of(EVERY_KIND)
    drawn = {"joint_teacher.levels": levels}

    assert space.is_active("distillation.beta.stride32", drawn, ("embedding",)) is exists


def test_beta_of_a_level_follows_the_base_levels_where_levels_are_not_drawn() -> None:
    space = space_of("distillation.beta.stride16: {float: [0, 1]}")

    assert space.is_active("distillation.beta.stride16", {}, ("embedding", "stride16"))
    assert not space.is_active("distillation.beta.stride16", {}, ("embedding", "stride32"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "the search space is empty"),
        ("a: {flaot: [0, 1]}", "expected one of {float: [low, high]}, {int: [low, high]}"),
        ("a: {float: [0, 1], int: [0, 1]}", "expected one of {float"),
        ("a: 3", "expected one of {float"),
        ("a: {float: [0, 1], stepp: 0.1}", "stepp"),
        ("a: {float: [1, 0]}", "the first bound must be below the second, got [1, 0]"),
        ("a: {int: [3, 3]}", "the first bound must be below the second, got [3, 3]"),
        ("a: {float: [0, .inf]}", "finite number"),
        ("a: {float: [0, 1], log: true}", "log needs bounds above 0, got [0, 1]"),
        ("a: {float: [0.1, 1], log: true, step: 0.1}", "log and step cannot be combined"),
        ("a: {float: [0, 1], step: 0.3}", "[0, 1] cannot be divided into steps of 0.3"),
        ("a: {int: [16, 60], step: 16}", "[16, 60] cannot be divided into steps of 16"),
        ("a: {choice: []}", "at least 1"),
        ("a: {choice: [1, 2, 1]}", "the same value is listed twice: 1"),
        ("a: {choice: [{b: 1}]}", "is not text, a number, true, false, null or a list"),
        ("'a..b': {choice: [1, 2]}", "not a dotted key like distillation.alpha"),
        (
            "{a: {choice: [1, 2]}, a.b: {choice: [1, 2]}}",
            "'a': cannot be searched together with 'a.b', which is inside it",
        ),
        (
            "{alpha: {choice: [1, 2]}, b: {choice: [1, 2], when: {alhpa: 1}}}",
            "'b': when names 'alhpa', which is not searched "
            "(allowed: alpha; did you mean 'alpha'?)",
        ),
        (
            "{a: {choice: [1, 2]}, b: {choice: [1, 2], when: {a: [1, 3]}}}",
            "'b': when a is 3 can never hold (allowed: one of 1, 2)",
        ),
        (
            "{a: {choice: [1, 2], when: {b: 1}}, b: {choice: [1, 2], when: {a: 1}}}",
            "conditions form a cycle",
        ),
        (
            "distillation.beta.stride23: {float: [0, 1]}",
            "unknown level 'stride23' (allowed: embedding, stride16, stride32, stride8; "
            "did you mean 'stride32'?)",
        ),
        ("joint_teacher.levels: {choice: [L1, [embeding]]}", "unknown level 'embeding'"),
        ("joint_teacher.levels: {int: [1, 3]}", "must be a choice of fusion depths or lists"),
        ("joint_teacher.levels: {choice: [1, 2]}", "must be a choice of fusion depths or lists"),
    ],
)
def test_a_space_that_cannot_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError) as error:
        space_of(text)

    assert message in str(error.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ValidationError) as error:
        space_of("{a: {float: [1, 0]}, b: {choice: []}}")
    assert {"a", "b"} == {problem["loc"][0] for problem in error.value.errors()}

    with pytest.raises(ValidationError) as error:
        space_of("{a: {choice: [1], when: {x: 1}}, b: {choice: [1], when: {y: 1}}}")
    assert "'x'" in str(error.value)
    assert "'y'" in str(error.value)
