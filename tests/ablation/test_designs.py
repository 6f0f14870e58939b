"""Which arms a design has, and what the runs of one seed share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from mlfd_tune.ablation import Ablation, Arm, arms_of
from mlfd_tune.ablation.designs import DESIGNS
from mlfd_tune.config.design import DesignKind
from mlfd_tune.core.stages import TrialStage
from mlfd_tune.core.store import walk
from mlfd_tune.tune.dry_run import describe_plan
from mlfd_tune.tune.trial import student_of
from tests.helpers.ablations import ablation_config, planned_ablation

FACTORS = {"distillation.alpha": [0.6, 0.0], "joint_teacher.levels": ["L1", ["embedding"]]}


def names(arms: list[Arm]) -> list[str]:
    return [arm.name for arm in arms]


def students(ablation: Ablation) -> dict[tuple[str, str, int], TrialStage]:
    """Return every run's student by dataset, arm and the seed it was asked for."""
    return {
        (trial.request.dataset, trial.arm or "", trial.request.seed or 0): student_of(
            ablation.context, trial.request
        )
        for trial in ablation.trials()
    }


def test_every_kind_that_a_file_may_name_is_there() -> None:
    assert set(DESIGNS) == set(get_args(DesignKind))


def test_a_grid_has_every_combination_and_the_first_values_are_the_reference() -> None:
    arms = arms_of(ablation_config({"factors": FACTORS}))

    assert names(arms) == [
        "alpha=0.6, levels=L1",
        "alpha=0.6, levels=embedding",
        "alpha=0.0, levels=L1",
        "alpha=0.0, levels=embedding",
    ]
    assert [arm.is_reference for arm in arms] == [True, False, False, False]


def test_the_reference_comes_first_wherever_it_stands() -> None:
    reference = {"distillation.alpha": 0.0, "joint_teacher.levels": ["embedding"]}

    arms = arms_of(ablation_config({"factors": FACTORS, "reference": reference}))

    assert arms[0] == Arm("alpha=0.0, levels=embedding", reference, True)


def test_methods_alone_are_named_as_they_are() -> None:
    arms = arms_of(ablation_config({"factors": {"method": ["none", "mlfd"]}}))

    assert names(arms) == ["none", "mlfd"]


def test_one_factor_at_a_time_changes_the_base() -> None:
    design = {
        "kind": "one_at_a_time",
        "factors": {"distillation.alpha": [0.6, 0.0], "distillation.temperature": [1]},
        "reference": {"distillation.alpha": 0.6},
    }

    arms = arms_of(ablation_config(design))

    assert names(arms) == ["base", "alpha=0.0", "temperature=1"]
    assert arms[2].params == {"distillation.alpha": 0.6, "distillation.temperature": 1}


def test_a_dataset_s_own_factors_stand_beside_the_general_ones_or_in_their_place() -> None:
    design = {
        "kind": "one_at_a_time",
        "factors": {"distillation.alpha": [0.0], "distillation.temperature": [1]},
        "datasets": {
            "two": {
                "factors": {
                    "distillation.alpha": [1.0, 2.0],
                    "distillation.temperature": None,
                    "student.train.lr": [0.1],
                }
            }
        },
    }
    config = ablation_config(design)

    assert names(arms_of(config, "one")) == ["base", "alpha=0.0", "temperature=1"]
    assert names(arms_of(config, "two")) == ["base", "alpha=1.0", "alpha=2.0", "lr=0.1"]
    assert names(arms_of(config)) == ["base"]


def test_a_dataset_may_have_a_reference_of_its_own() -> None:
    design = {
        "factors": {"distillation.alpha": [0.0, 0.6]},
        "datasets": {"two": {"reference": {"distillation.alpha": 0.6}}},
    }
    config = ablation_config(design)

    assert names(arms_of(config, "one"))[0] == "alpha=0.0"
    assert names(arms_of(config, "two"))[0] == "alpha=0.6"


def test_a_dataset_s_own_arms_stand_beside_those_of_all() -> None:
    design = {
        "kind": "compare",
        "arms": {"plain": {}, "labels": {"method": "none"}, "L1": {"joint_teacher.levels": "L1"}},
        "datasets": {
            "two": {"arms": {"L1": None, "labels": {"method": "kd"}, "own": {"seed": 1}}},
        },
    }
    config = ablation_config(design)

    assert arms_of(config, "two") == [
        Arm("plain", {}, True),
        Arm("labels", {"method": "kd"}, False),
        Arm("own", {"seed": 1}, False),
    ]
    assert names(arms_of(config)) == ["plain"]


def test_every_target_runs_its_own_arms(tmp_path: Path) -> None:
    design = {
        "factors": {"distillation.alpha": [0.0, 0.6]},
        "datasets": {"two": {"factors": {"distillation.alpha": [0.0, 0.3, 0.6]}}},
    }

    ablation = planned_ablation(tmp_path, design, seeds=2, targets=["one", "two"])

    runs = Counter((trial.request.dataset, trial.arm) for trial in ablation.trials())
    assert set(runs.values()) == {2}
    assert Counter(dataset for dataset, _ in runs) == {"one": 2, "two": 3}
    assert ablation.trial_counts() == {
        "one": {"runs (2 arms, 2 seeds)": 4},
        "two": {"runs (3 arms, 2 seeds)": 6},
    }


def test_arms_of_a_seed_share_its_seed_and_all_stages_that_do_not_differ(tmp_path: Path) -> None:
    design = {
        "kind": "compare",
        "arms": {
            "base": {},
            "softer": {"distillation.temperature": 4},
            "wider": {"joint_teacher.width": 32},
            "labels": {"method": "none"},
        },
    }

    planned = students(planned_ablation(tmp_path, design, seeds=2, targets=["one"], seed=7))

    assert {seed for _, _, seed in planned} == {7, 8}
    for (_, _, seed), student in planned.items():
        assert student.spec.seed == seed
        assert student.spec.train == planned["one", "base", 7].spec.train
        assert student.data.key == planned["one", "base", 7].data.key
    below = {name: keys_below(planned["one", name, 7]) for name in design["arms"]}
    assert below["softer"] == below["base"]
    assert keys_below(planned["one", "base", 8]) == below["base"]
    differing = {stage.split("/")[0] for stage in below["wider"] ^ below["base"]}
    assert differing == {"joint_teacher", "targets"}
    assert {stage.split("/")[0] for stage in below["labels"]} == {"dataset"}
    assert below["labels"] < below["base"]
    assert len({student.key for student in planned.values()}) == len(planned)


def keys_below(student: TrialStage) -> set[str]:
    return {f"{stage.stage_name}/{stage.key}" for stage in walk(student.inputs.values())}


def test_a_dry_run_says_what_the_arms_share(tmp_path: Path) -> None:
    design: dict[str, Any] = {
        "kind": "compare",
        "arms": {
            "base": {"method": "none"},
            "twin": {"method": "none", "distillation.alpha": 0.0},
            "mlfd": {},
        },
    }
    ablation = planned_ablation(tmp_path, design, seeds=2, targets=["one"])

    plan = describe_plan(ablation)

    # Three datasets, teachers and features each, a joint teacher and its targets; the labels alone
    # take the target's images.
    assert plan.sharing == (
        "11 stages serve 6 runs, which would compute 26 if none were shared; 1 of them serve more "
        "than one arm",
        "2 of 6 runs train a student that another one trains",
    )
    assert plan.as_json()["sharing"] == list(plan.sharing)


def test_a_dry_run_names_the_budget_of_seeds_that_may_be_added(tmp_path: Path) -> None:
    ablation = planned_ablation(
        tmp_path,
        {"factors": {"distillation.alpha": [0.0, 0.6]}},
        targets=["one"],
        seeds=4,
        resolve={"width": 1.5, "batch": 4, "max_seeds": 10},
    )

    plan = describe_plan(ablation)

    assert plan.trials == {"one": {"runs (2 arms, up to 10 seeds)": 20}}
    assert "looks at 4, 8, 10 seeds" in plan.sharing[-1]
    assert "no interval is wider than 1.5 points" in plan.sharing[-1]


@pytest.mark.parametrize("kind", ["leave_one_out", "teacher_subsets"])
def test_a_design_that_makes_its_own_arms_takes_none(kind: str) -> None:
    with pytest.raises(ValueError, match=f"factors: is not for a design of kind '{kind}'"):
        ablation_config({"kind": kind, "factors": {"seed": [1]}})
