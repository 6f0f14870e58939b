from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlfd_tune.core.models import LEVELS
from mlfd_tune.core.settings import (
    DistillationSettings,
    JointTeacherSettings,
    PipelineSettings,
    TeacherSettings,
    deep_merge,
)
from mlfd_tune.core.training import TrainSpec

DATASETS = {"one": {"source": "digits"}, "two": {"source": "letters"}}


def made(**changes: object) -> PipelineSettings:
    return PipelineSettings(**{"datasets": DATASETS, **changes})


def test_every_dataset_has_a_teacher_and_a_student_with_the_general_settings():
    settings = made(teacher={"arch": "test_vit"}, student={"train": {"epochs": 7}})
    assert {name: teacher.arch for name, teacher in settings.teachers.items()} == {
        "one": "test_vit",
        "two": "test_vit",
    }
    assert {student.train.epochs for student in settings.students.values()} == {7}


@pytest.mark.parametrize("as_models", [False, True], ids=["from YAML", "from Python"])
def test_what_differs_for_a_dataset_lies_over_the_general_settings(as_models):
    general = {"arch": "test_vit", "train": {"epochs": 7, "lr": 0.5}}
    special = {"train": {"epochs": 9}}
    if as_models:
        settings = made(
            teacher=TeacherSettings(**general), teachers={"two": TeacherSettings(**special)}
        )
    else:
        settings = made(teacher=general, teachers={"two": special})
    one, two = settings.teachers["one"], settings.teachers["two"]
    assert (one.arch, one.train.epochs, one.train.lr) == ("test_vit", 7, 0.5)
    assert (two.arch, two.train.epochs, two.train.lr) == ("test_vit", 9, 0.5)


@pytest.mark.parametrize("empty", [None, {}])
def test_an_empty_section_differs_in_nothing(empty):
    settings = made(teacher={"arch": "test_vit"}, teachers={"two": empty})
    assert settings == made(teacher={"arch": "test_vit"})
    assert made(teachers=empty) == made()


def test_settings_survive_being_written_and_read_again():
    settings = made(
        teacher={"arch": "test_vit"},
        students={"two": {"arch": "test_convnext", "seed": 4}},
        distillation={"beta": 0.5},
        joint_teacher={"levels": "L3"},
    )
    assert PipelineSettings(**settings.model_dump(mode="json")) == settings


def test_a_student_has_its_teachers_architecture_and_the_general_seed_unless_told_otherwise():
    settings = made(
        seed=3,
        teachers={"two": {"arch": "test_vit"}},
        students={"one": {"arch": "test_convnext", "seed": 8}},
    )
    assert settings.student_arch("one") == "test_convnext"
    assert settings.student_arch("two") == "test_vit"
    assert (settings.student_seed("one"), settings.student_seed("two")) == (8, 3)
    assert made(seed=3, student={"seed": 0}).student_seed("one") == 0


def test_one_beta_is_for_all_levels_and_levels_left_out_have_the_default():
    assert DistillationSettings(beta=0.5).beta == dict.fromkeys(LEVELS, 0.5)
    assert DistillationSettings(beta=0).beta == dict.fromkeys(LEVELS, 0.0)
    assert DistillationSettings(beta={"stride16": 0.7}).beta == {
        **dict.fromkeys(LEVELS, 0.2),
        "stride16": 0.7,
    }
    assert DistillationSettings().beta == dict.fromkeys(LEVELS, 0.2)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ("L1", ("embedding",)),
        ("L3", ("embedding", "stride32", "stride16")),
        (["stride16", "embedding"], ("embedding", "stride16")),
        ("stride8", ("stride8",)),
    ],
)
def test_levels_are_a_preset_or_a_list_in_any_order(levels, expected):
    assert JointTeacherSettings(levels=levels).levels == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"teacher": {"arch": "resnet_18"}}, "did you mean 'resnet18'?"),
        ({"joint_teacher": {"levels": "L5"}}, "unknown level 'L5' (allowed: L1, L2"),
        ({"joint_teacher": {"adaptor": "liner"}}, "did you mean 'linear'?"),
        ({"distillation": {"beta": {"stride4": 1}}}, "unknown level 'stride4'"),
        ({"distillation": {"beta": -0.1}}, "greater than or equal to 0"),
        ({"distillation": {"alpha": float("inf")}}, "finite number"),
        ({"distillation": {"temperature": 0}}, "greater than 0"),
        ({"student": {"train": {"epoch": 3}}}, "Extra inputs are not permitted"),
        ({"teachers": {"three": {}}}, "teachers: unknown dataset 'three' (allowed: one, two)"),
        ({"teachers": {"two": 5}}, "teachers.two"),
        ({"datasets": {}}, "at least 1 item"),
        ({"datasets": {"a/b": {"source": "digits"}}}, "'a/b' is no name for a dataset"),
        ({"datasets": {"a": {"source": "digit"}}}, "did you mean 'digits'?"),
        (
            {"method": "unique"},
            "unknown method 'unique' (allowed: fitnet, joint_head, joint_teacher, kd",
        ),
        ({"image_size": 4}, "greater than or equal to 8"),
    ],
    ids=str,
)
def test_bad_settings_are_named_with_what_is_allowed(changes, expected):
    with pytest.raises(ValidationError) as caught:
        made(**changes)
    assert expected in str(caught.value)


def test_an_error_in_a_general_section_is_found_though_every_dataset_repeats_it():
    with pytest.raises(ValidationError) as caught:
        made(teacher={"train": {"lr": -1}})
    places = {".".join(map(str, error["loc"])) for error in caught.value.errors()}
    assert "teacher.train.lr" in places


mappings = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@given(mappings, mappings)
def test_what_lies_above_wins_and_what_lies_below_shines_through(below, above):
    merged = deep_merge(below, above)
    assert merged.keys() == below.keys() | above.keys()
    for key in merged:
        both = isinstance(below.get(key), dict) and isinstance(above.get(key), dict)
        expected = deep_merge(below[key], above[key]) if both else {**below, **above}[key]
        assert merged[key] == expected


def test_defaults_are_a_complete_training():
    assert made().teacher.train == TrainSpec()
