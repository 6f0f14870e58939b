"""What the schema of designs accepts, for all targets and for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlfd_tune.config import AblationConfig, DesignSettings, load_experiment
from mlfd_tune.core.errors import UserError
from tests.helpers.command import write_yaml

DATASETS = {"digits": {"source": "digits"}, "letters": {"source": "letters"}}
ALPHA = {"distillation.alpha": [0.0, 0.6]}


def problems(folder: Path, design: dict[str, Any], **changes: Any) -> list[str]:
    """Return the lines that an ablation with this design is refused with."""
    content = {"kind": "ablation", "datasets": DATASETS, "design": design, **changes}
    with pytest.raises(UserError) as error:
        load_experiment(write_yaml(folder / "arms.yaml", content))
    return [line.removeprefix(f"{folder}/") for line in error.value.problems]


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ({"kind": "leave_one_out", "arms": {"a": {}}}, "arms: is not for a design of kind"),
        ({"kind": "grid", "factors": ALPHA, "parts": ["levels"]}, "parts: is not for a design"),
        ({"kind": "leave_one_out", "parts": ["level"]}, "'levels'"),
        ({"kind": "leave_one_out", "parts": []}, "parts"),
        ({"kind": "teacher_subsets", "permutations": 3}, "multiple of 2"),
        ({"kind": "grid", "factors": ALPHA, "permutations": 4}, "permutations: is not for"),
        ({"factors": {}, "datasets": {"digits": {}}}, "factors: this key is needed"),
    ],
)
def test_keys_are_those_of_the_kind(design: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        DesignSettings.model_validate(design)

    assert message in str(error.value)


def test_a_dataset_s_own_design_is_merged_key_by_key() -> None:
    design = DesignSettings.model_validate(
        {
            "factors": {**ALPHA, "distillation.temperature": [1, 2]},
            "reference": {"distillation.alpha": 0.6, "distillation.temperature": 2},
            "datasets": {
                "digits": {
                    "factors": {"distillation.temperature": None, "student.train.lr": [0.1]},
                    "reference": {"distillation.alpha": 0.0},
                }
            },
        }
    )

    own = design.of("digits")

    assert own.factors == {"distillation.alpha": (0.0, 0.6), "student.train.lr": (0.1,)}
    assert own.reference == {"distillation.alpha": 0.0}
    assert design.of("letters").factors == design.factors


def test_all_that_is_wrong_with_a_dataset_s_own_design_is_told_at_once(tmp_path: Path) -> None:
    own = {
        "digits": {
            "factors": {"distillation.alfa": [1], "distillation.ce_weight": None},
            "reference": {"distillation.bet": 2},
        },
        "leters": {"factors": {"distillation.temperature": [0]}},
    }

    lines = problems(tmp_path, {"factors": ALPHA, "datasets": own})

    assert [line.partition(" (allowed")[0] for line in lines] == [
        "arms.yaml: design.datasets.digits.factors.distillation.ce_weight: there is none of all to "
        "leave out",
        "arms.yaml: design.datasets.digits.reference.distillation.bet: is not a factor",
        "arms.yaml: design.datasets.leters: unknown dataset",
        "arms.yaml: design.datasets.digits.factors.distillation.alfa: unknown key",
        "arms.yaml: design.datasets.digits.reference.distillation.bet: unknown key",
        "arms.yaml: design.datasets.leters.factors.distillation.temperature: cannot be 0: must be "
        "greater than 0",
    ]
    assert lines[2].endswith("did you mean 'letters'?)")


def test_values_of_a_dataset_s_own_arms_are_tried(tmp_path: Path) -> None:
    own = {"digits": {"arms": {"odd": {"joint_teacher.levels": "L9"}}}}
    design = {"kind": "compare", "arms": {"a": {}, "b": {"method": "none"}}, "datasets": own}

    (line,) = problems(tmp_path, design)

    at = "design.datasets.digits.arms.odd.joint_teacher.levels"
    assert line.startswith(f"arms.yaml: {at}: cannot be 'L9': unknown level 'L9'")


def test_a_general_reference_must_be_a_value_of_a_dataset_s_own_factor(tmp_path: Path) -> None:
    design = {
        "factors": ALPHA,
        "reference": {"distillation.alpha": 0.6},
        "datasets": {"digits": {"factors": {"distillation.alpha": [0.0, 1.0]}}},
    }

    (line,) = problems(tmp_path, design)

    assert line.startswith("arms.yaml: design.datasets.digits.factors.distillation.alpha: ")
    assert "0.6 is not a value of the factor" in line
    assert line.endswith("give the dataset a reference of its own")


def test_a_target_without_factors_is_told(tmp_path: Path) -> None:
    design = {"datasets": {"digits": {"factors": ALPHA}}}

    (line,) = problems(tmp_path, design)

    at = "design.datasets.letters.factors"
    assert line == f"arms.yaml: {at}: this key is needed, or design.factors for all"
    assert load_experiment(tmp_path / "arms.yaml", ["targets=[digits]"]).config.targets


def test_a_dotted_key_of_a_dataset_s_own_factors_can_be_set(tmp_path: Path) -> None:
    content = {"kind": "ablation", "datasets": DATASETS, "design": {"factors": ALPHA}}
    path = write_yaml(tmp_path / "arms.yaml", content)

    config = load_experiment(
        path, ["design.datasets.digits.factors.distillation.temperature=[1, 4]"]
    ).config

    assert isinstance(config, AblationConfig)
    assert config.design.of("digits").factors["distillation.temperature"] == (1, 4)


@pytest.mark.parametrize(
    ("resolve", "message"),
    [
        ({"width": 0}, "resolve.width: must be greater than 0"),
        ({"batch": 2}, "resolve.width: this key is needed"),
        ({"width": 1, "max_seeds": 3}, "resolve.max_seeds: 3 are fewer than the 4 seeds"),
        ({"width": 1, "batch": 0}, "resolve.batch: must be greater than or equal to 1"),
    ],
)
def test_a_budget_of_seeds_must_hold_together(
    tmp_path: Path, resolve: dict[str, Any], message: str
) -> None:
    (line,) = problems(tmp_path, {"factors": ALPHA}, seeds=4, resolve=resolve)

    assert line.startswith(f"arms.yaml: {message}")
