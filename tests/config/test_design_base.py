"""An ablation around another file: what is taken over, and what wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlfd_tune.config import Loaded, load_experiment
from mlfd_tune.config.base import FRESH_SEEDS
from mlfd_tune.core.errors import UserError
from tests.helpers.command import write_yaml

EXPORT: dict[str, Any] = {
    "kind": "train",
    "name": "exported",
    "target": "digits",
    "seed": 3,
    "datasets": {"digits": {"source": "digits"}, "mine": {"source": "folder", "path": "pictures"}},
    "students": {
        "digits": {"seed": 5, "train": {"epochs": 7, "lr": 0.1, "augment": "light"}},
        "mine": {"train": {"epochs": 7}},
    },
    "distillation": {"alpha": 1.5, "beta": 0.5},
    "store": {"path": "elsewhere"},
    "provenance": {
        "experiment": "e", "run_id": "r", "tracking_uri": "u", "versions": {}, "data": {},
        "artifacts": {}, "seed": 5, "status": "confirmed", "expected": {},
    },
}  # fmt: skip


def around(folder: Path, base: dict[str, Any], *overrides: str, **own: Any) -> Loaded:
    """Read an ablation around a base that lies in a folder below."""
    (folder / "exports").mkdir(exist_ok=True)
    write_yaml(folder / "exports" / "best.yaml", base)
    design = {"kind": "leave_one_out", "base": "exports/best.yaml"}
    content = {"kind": "ablation", "design": design, **own}
    return load_experiment(write_yaml(folder / "arms.yaml", content), overrides)


def test_what_decides_the_student_of_an_export_is_taken_over_and_nothing_else(
    tmp_path: Path,
) -> None:
    loaded = around(tmp_path, EXPORT)

    config = loaded.config
    assert config.distillation.alpha == 1.5
    assert config.students["digits"].train.lr == 0.1
    assert config.target_names == ("digits",)
    assert config.store.path == ".mlfd/store"
    assert loaded.name == "arms"
    assert loaded.raw.keys().isdisjoint({"target", "provenance", "store"})
    assert loaded.raw["datasets"]["mine"]["path"] == str(tmp_path / "exports" / "pictures")


def test_the_ablation_s_own_keys_win_over_those_of_single_datasets_too(tmp_path: Path) -> None:
    student = {"train": {"epochs": 2, "augment": {"rotate": 0}}, "seed": 50}

    config = around(tmp_path, EXPORT, student=student).config

    train = config.students["digits"].train
    assert (train.epochs, train.lr) == (2, 0.1)
    assert (train.augment.rotate, train.augment.scale) == (0, 0.1)
    assert config.students["mine"].train.epochs == 2
    assert config.student_seed("digits") == 50


def test_one_level_s_beta_leaves_the_others_as_the_base_has_them(tmp_path: Path) -> None:
    config = around(tmp_path, EXPORT, distillation={"beta": {"stride32": 0}}).config

    assert config.distillation.beta["stride32"] == 0
    assert config.distillation.beta["embedding"] == 0.5


def test_an_override_wins_over_the_base(tmp_path: Path) -> None:
    loaded = around(
        tmp_path, EXPORT, "student.train.epochs=1", "distillation.beta.embedding=0", "targets=null"
    )

    assert loaded.config.students["digits"].train.epochs == 1
    assert loaded.config.distillation.beta["stride8"] == 0.5
    assert loaded.config.target_names == ("digits", "mine")


def test_seeds_lie_beyond_the_one_that_an_export_was_chosen_for(tmp_path: Path) -> None:
    assert around(tmp_path, EXPORT).config.student_seed("digits") == 5 + FRESH_SEEDS
    by_hand = {key: value for key, value in EXPORT.items() if key != "provenance"}
    assert around(tmp_path, by_hand).config.student_seed("digits") == 5


def test_a_sweep_or_an_ablation_may_be_the_base(tmp_path: Path) -> None:
    shared = {"seed": 4, "datasets": {"digits": {"source": "digits"}}, "method": "kd"}
    search = {"trials": 1, "space": {"distillation.alpha": {"float": [0, 1]}}}
    ablation = {"design": {"factors": {"distillation.alpha": [0, 1]}}, "seeds": 9}

    for more in ({"kind": "sweep", "search": search}, {"kind": "ablation", **ablation}):
        loaded = around(tmp_path, {**shared, **more, "targets": ["digits"]})
        assert loaded.raw == {
            **shared,
            "kind": "ablation",
            "design": {"kind": "leave_one_out", "base": str(tmp_path / "exports" / "best.yaml")},
        }


def test_a_base_may_be_built_around_another_one(tmp_path: Path) -> None:
    write_yaml(tmp_path / "first.yaml", EXPORT)
    middle = {"kind": "ablation", "method": "kd"}
    middle["design"] = {"kind": "leave_one_out", "base": "../first.yaml"}

    config = around(tmp_path, middle).config

    assert (config.method, config.distillation.alpha) == ("kd", 1.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "trian"}, "unknown kind 'trian'"),
        ({"distillation": {"alfa": 1}}, "distillation.alfa: unknown key"),
        ({"distillation": {"alfa": 1}, "seed": -1}, "(and 1 more)"),
    ],
)
def test_a_base_with_problems_is_told_in_one_line_that_names_both_files(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        around(tmp_path, EXPORT | changes)

    (line,) = error.value.problems
    base = tmp_path / "exports" / "best.yaml"
    assert line.startswith(f"{tmp_path / 'arms.yaml'}: design.base: {base}: ")
    assert message in line


def test_a_base_that_is_not_there_is_told_with_its_neighbours(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        around(tmp_path, EXPORT, f"design.base={tmp_path}/exports/bset.yaml")

    (line,) = error.value.problems
    assert line.startswith(f"{tmp_path / 'arms.yaml'}: design.base: no such file: ")
    assert line.endswith("did you mean 'best.yaml'?)")


def test_a_base_cannot_be_built_around_itself(tmp_path: Path) -> None:
    circle = {"kind": "ablation", "design": {"base": "../arms.yaml", "kind": "leave_one_out"}}

    with pytest.raises(UserError, match="is built around itself"):
        around(tmp_path, circle)


def test_what_does_not_fit_the_base_is_told_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        around(tmp_path, EXPORT, targets=["letters"], distillation={"alpha": -1})

    assert [line.partition(": ")[0] for line in error.value.problems] == [
        str(tmp_path / "arms.yaml")
    ] * len(error.value.problems)
    assert any("targets: unknown dataset 'letters'" in line for line in error.value.problems)
