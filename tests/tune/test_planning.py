"""Which stages a sweep shares is known before it starts, and so is what cannot work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlfd_tune.config import load_experiment
from mlfd_tune.core.errors import UserError
from mlfd_tune.tune import Sweep
from tests.helpers.command import write_yaml
from tests.helpers.experiments import tiny_sweep


def planned(folder: Path, space: dict[str, Any], **changes: Any) -> list[str]:
    content = tiny_sweep(targets=["digits"], **changes)
    content["search"]["space"] = space
    content["store"] = {"path": str(folder / "store")}
    loaded = load_experiment(write_yaml(folder / "sweep.yaml", content))
    return [stage.stage_name for stage in Sweep.of(loaded).plan()]


def test_every_combination_of_few_is_planned(tmp_path: Path) -> None:
    space = {
        "joint_teacher.adaptor": {"choice": ["linear", "pointwise"]},
        "distillation.alpha": {"float": [0.1, 1.0]},
    }
    stages = planned(tmp_path, space)
    assert stages.count("teacher") == 2
    assert stages.count("features") == 2
    assert stages.count("joint_teacher") == 2
    assert stages.count("targets") == 2


def test_of_endlessly_many_combinations_the_common_stages_are_planned(tmp_path: Path) -> None:
    stages = planned(tmp_path, {"joint_teacher.dropout": {"float": [0.1, 0.9]}})
    assert stages.count("teacher") == 2
    assert stages.count("features") == 2
    assert "joint_teacher" not in stages


def test_a_condition_on_a_students_parameter_does_not_hide_stages(tmp_path: Path) -> None:
    space = {
        "distillation.target_norm": {"choice": ["none", "l2"]},
        "joint_teacher.width": {
            "choice": [8, 16],
            "when": {"distillation.target_norm": ["none"]},
        },
    }
    assert planned(tmp_path, space).count("joint_teacher") == 2


@pytest.mark.parametrize("more", [{}, {"joint_teacher.dropout": {"float": [0.1, 0.9]}}])
def test_a_combination_that_cannot_work_is_an_error_before_anything_runs(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    space = {"joint_teacher.levels": {"choice": ["L1", "L4"]}, **more}
    with pytest.raises(UserError, match=r"levels=L4.*levit_128s.*has no level 'stride8'"):
        planned(tmp_path, space, teachers={"photos": {"arch": "levit_128s"}})
    assert not (tmp_path / "store").exists()


def test_each_target_s_stages_are_those_of_its_own_space(tmp_path: Path) -> None:
    content = tiny_sweep(store={"path": str(tmp_path / "store")})
    del content["search"]["space"]
    adaptors = {"digits": ["linear"], "photos": ["linear", "pointwise", "bottleneck"]}
    content["search"]["datasets"] = {
        name: {"space": {"joint_teacher.adaptor": {"choice": names}}}
        for name, names in adaptors.items()
    }
    loaded = load_experiment(write_yaml(tmp_path / "sweep.yaml", content))

    stages = Sweep.of(loaded).plan()

    assert [stage.stage_name for stage in stages].count("joint_teacher") == 1 + 3


def test_a_combination_that_cannot_work_is_told_with_the_space_it_is_from(tmp_path: Path) -> None:
    own = {"space": {"joint_teacher.adaptor": {"choice": ["linear", "conv3x3"]}}}
    content = tiny_sweep(store={"path": str(tmp_path / "store")})
    content["search"]["datasets"] = {"photos": own}
    loaded = load_experiment(write_yaml(tmp_path / "sweep.yaml", content))

    with pytest.raises(
        UserError, match=r"^search\.datasets\.photos\.space at joint_teacher\.adaptor=conv3x3"
    ):
        Sweep.of(loaded).plan()


def test_the_stages_of_every_method_searched_are_planned(tmp_path: Path) -> None:
    space = {"method": {"choice": ["kd", "unic", "multi_head"]}}
    stages = planned(tmp_path, space)
    assert stages.count("teacher") == 2
    assert stages.count("features") == 4, "each teacher's embedding and map, for UNIC"
    assert stages.count("targets") == 1, "the own teacher's logits, for KD"
    assert "joint_teacher" not in stages


def test_what_a_confirmation_compares_with_is_checked_before_the_search(tmp_path: Path) -> None:
    space = {"method": {"choice": ["kd", "fitnet"]}}
    with pytest.raises(UserError, match=r"levit_128s.*has no level 'stride8'"):
        planned(
            tmp_path,
            space,
            joint_teacher={"levels": "L4"},  # of the own-teacher control alone
            teachers={"digits": {"arch": "levit_128s"}},
        )
