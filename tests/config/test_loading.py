"""Experiment files: numbers, includes, paths, overrides, and which file a mistake stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlfd_tune.config import Loaded, SweepConfig, load_experiment
from mlfd_tune.core.errors import UserError

FILE = """
kind: sweep
datasets:
  digits: {source: digits}
  letters: {source: letters}
search: {trials: 2, space: {distillation.alpha: {float: [0.1, 2]}}}
"""


def load(folder: Path, text: str = "", *overrides: str, name: str = "exp.yaml") -> Loaded:
    (folder / name).write_text(FILE + text)
    return load_experiment(folder / name, overrides)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as error:
        load(folder, text, *overrides)
    return [line.replace(f"{folder}/", "") for line in error.value.problems]


def test_an_experiment_is_named_after_its_file_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert load(tmp_path, name="fusion.yaml").name == "fusion"
    assert load(tmp_path, "name: depth\n").name == "depth"


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-3", 1e-3), ("1E3", 1000.0), ("5", 5.0), ("+.5", 0.5), ("2.0e-3", 2e-3), ("3e0", 3.0)],
)
def test_numbers_are_those_of_yaml_1_2(tmp_path: Path, written: str, value: float) -> None:
    loaded = load(tmp_path, f"teacher: {{train: {{lr: {written}}}}}\n")

    assert loaded.config.teacher.train.lr == value
    assert isinstance(loaded.raw["teacher"]["train"]["lr"], int | float)


def test_text_that_looks_like_a_number_stays_text_where_it_is_quoted(tmp_path: Path) -> None:
    assert load(tmp_path, "name: '1e3'\n").name == "1e3"


def test_includes_are_merged_below_what_stands_beside_them(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "teacher: {arch: test_vit, train: {epochs: 3, lr: 1e-3}}\nimage_size: 64\n"
    )
    (tmp_path / "two.yaml").write_text("teacher: {train: {epochs: 5}}\n")

    loaded = load(tmp_path, "include: [one.yaml, two.yaml]\nteacher: {train: {lr: 0.1}}\n")

    assert loaded.config.teacher.arch == "test_vit"
    assert loaded.config.teacher.train.epochs == 5, "the later include wins"
    assert loaded.config.teacher.train.lr == 0.1, "the including file wins"
    assert loaded.config.image_size == 64


def test_an_include_may_stand_in_any_mapping(tmp_path: Path) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "small.yaml").write_text("joint_teacher.width: {int: [8, 16]}\n")
    (tmp_path / "train.yaml").write_text("epochs: 7\n")
    text = FILE.replace("space: {", "space: {include: spaces/small.yaml, ")
    (tmp_path / "exp.yaml").write_text(f"{text}student: {{train: {{include: train.yaml}}}}\n")

    config = load_experiment(tmp_path / "exp.yaml").config

    assert isinstance(config, SweepConfig)
    assert set(config.search.space.root) == {"joint_teacher.width", "distillation.alpha"}
    assert config.student.train.epochs == 7


def test_an_included_file_may_be_included_twice_but_not_in_itself(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("epochs: 7\n")
    twice = "teacher: {train: {include: train.yaml}}\nstudent: {train: {include: train.yaml}}\n"
    assert load(tmp_path, twice).config.student.train.epochs == 7

    (tmp_path / "train.yaml").write_text("include: train.yaml\n")
    with pytest.raises(UserError, match="includes itself"):
        load(tmp_path, twice)


def test_paths_are_relative_to_the_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "sets.yaml").write_text(
        "a: {source: folder, path: ../pictures}\nb: {source: folder, path: /data/b}\n"
    )
    text = FILE.replace("datasets:", "datasets:\n  include: shared/sets.yaml")
    text += "image_size: 32\n"
    (tmp_path / "exp.yaml").write_text(
        text.replace("letters: {source: letters}", "c: {source: folder, path: c}")
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))

    datasets = load_experiment(
        Path("../exp.yaml"),
        ["datasets.d={source: folder, path: ~/d}", "datasets.e={source: folder, path: e}"],
    ).config.datasets

    assert {name: dataset.path for name, dataset in datasets.items() if dataset.path} == {
        "a": str(tmp_path / "pictures"),
        "b": "/data/b",
        "c": str(tmp_path / "c"),
        "d": str(tmp_path / "d"),
        "e": str(tmp_path / "elsewhere" / "e"),
    }


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("targets=[digits]", lambda config: config.targets == ("digits",)),
        ("targets=null", lambda config: config.targets is None),
        ("name=", lambda config: config.name is None),
        ("teacher={arch: test_vit}", lambda config: config.teacher.arch == "test_vit"),
        ("teachers.digits.train.lr=1e-4", lambda c: c.teachers["digits"].train.lr == 1e-4),
        ("store.max_bytes=2GB", lambda config: config.store.max_bytes == 2 * 10**9),
        ("joint_teacher.levels=[embedding, stride16]", lambda c: len(c.joint_teacher.levels) == 2),
        ("search.trials = 9", lambda config: config.search.trials == 9),
        ("search.space.seed={int: [0, 9]}", lambda config: "seed" in config.search.space),
        (
            "search.space.distillation.alpha={float: [0, 1]}",
            lambda config: config.search.space["distillation.alpha"].float == (0, 1),
        ),
        (
            "search.space.distillation.alpha.log=true",
            lambda config: config.search.space["distillation.alpha"].log,
        ),
    ],
)
def test_overrides_take_any_yaml_value(tmp_path: Path, override: str, read: Any) -> None:
    assert read(load(tmp_path, "targets: [letters]\nname: x\n", override).config)


def test_weights_are_relative_to_the_file_that_names_them_unless_they_are_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "teachers.yaml").write_text("letters: {weights: ../own.pth}\n")
    text = FILE + "teacher: {weights: all.safetensors}\nteachers: {include: shared/teachers.yaml}\n"
    (tmp_path / "exp.yaml").write_text(text)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    teachers = load_experiment(Path("../exp.yaml")).config.teachers
    assert teachers["letters"].weights == str(tmp_path / "own.pth")
    assert teachers["digits"].weights == str(tmp_path / "all.safetensors")

    for kept in ("pretrained", "models:/teacher@champion", "runs:/1/model"):
        set_ = [f"teachers.digits.weights={kept}"]
        assert load_experiment(Path("../exp.yaml"), set_).config.teachers["digits"].weights == kept
    set_ = ["teachers.digits.weights=here.pth"]
    weights = load_experiment(Path("../exp.yaml"), set_).config.teachers["digits"].weights
    assert weights == str(tmp_path / "elsewhere" / "here.pth")


def test_the_last_override_wins(tmp_path: Path) -> None:
    loaded = load(tmp_path, "", "image_size=16", "image_size=64")

    assert loaded.config.image_size == 64


def test_overriding_one_level_of_a_single_beta_leaves_the_others(tmp_path: Path) -> None:
    loaded = load(tmp_path, "distillation: {beta: 0.5}\n", "distillation.beta.embedding=0.1")

    beta = loaded.config.distillation.beta
    assert beta == {"embedding": 0.1, "stride32": 0.5, "stride16": 0.5, "stride8": 0.5}


def test_overriding_one_strength_of_an_augmentation_preset_leaves_the_others(
    tmp_path: Path,
) -> None:
    text = "student: {train: {augment: light}}\n"
    before = load(tmp_path, text).config.student.train.augment

    after = load(tmp_path, text, "student.train.augment.rotate=3").config.student.train.augment

    assert after == before.model_copy(update={"rotate": 3.0})


def test_per_dataset_settings_are_merged_over_the_general_ones(tmp_path: Path) -> None:
    text = (
        "teacher: {arch: test_resnet, train: {epochs: 9, lr: 0.1}}\n"
        "teachers: {letters: {train: {lr: 0.2}}}\n"
        "student: {train: {epochs: 4, augment: light}}\n"
        "students: {digits: {arch: test_vit, train: {epochs: 6}}}\n"
    )

    config = load(tmp_path, text).config

    assert config.teachers["letters"].train.lr == 0.2
    assert config.teachers["letters"].train.epochs == 9
    assert config.teachers["digits"] == config.teacher
    assert config.students["digits"].train.epochs == 6
    assert config.students["digits"].train.augment == config.student.train.augment
    assert config.student_arch("letters") == "test_resnet"


def test_a_mistake_in_the_general_settings_is_told_once(tmp_path: Path) -> None:
    assert problems(tmp_path, "student: {train: {epochs: 0}}\n") == [
        "exp.yaml: student.train.epochs: must be greater than or equal to 1 (got 0)"
    ]
    assert problems(
        tmp_path, "student: {train: {lr: 1}}\nstudents: {digits: {train: {lr: -1}}}\n"
    ) == ["exp.yaml: students.digits.train.lr: must be greater than 0 (got -1)"]


def test_a_mistake_is_told_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "lineup.yaml").write_text("teacher: {train: {epochs: 0, lr: 0.1}}\n")
    text = "include: lineup.yaml\nteacher: {train: {optimizer: adamm}}\n"

    told = problems(tmp_path, text, "teacher.train.lr=fast")

    assert {line.split(": ")[0]: line.split(": ")[1] for line in told} == {
        "lineup.yaml": "teacher.train.epochs",
        "exp.yaml": "teacher.train.optimizer",
        "--set": "teacher.train.lr",
    }


def test_an_override_answers_for_the_section_it_replaced(tmp_path: Path) -> None:
    assert problems(tmp_path, "teacher: {train: {lr: 0.1}}\n", "teacher=test_vit") == [
        "--set: teacher: must be a mapping of keys to values (got 'test_vit')"
    ]


def test_an_alias_that_holds_itself_is_refused(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, "teacher: &loop {train: *loop}\n")

    assert "an alias refers to a mapping that it stands in" in told
