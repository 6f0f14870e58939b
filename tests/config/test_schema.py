"""What the schema of experiments accepts, and what ablations and trainings need."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mlfd_tune.config import (
    AblationConfig,
    ExperimentConfig,
    SweepConfig,
    TrainConfig,
    pipeline_settings,
)
from mlfd_tune.config.schema import parse_bytes
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.spec import canonical_json

DATASETS = {"digits": {"source": "digits"}, "letters": {"source": "letters"}}
SPACE = {"distillation.alpha": {"float": [0.1, 2.0]}}


def ablation(**design: Any) -> AblationConfig:
    content = {"factors": {"distillation.alpha": [0.0, 0.6]}, **design}
    return AblationConfig.model_validate(
        {"kind": "ablation", "datasets": DATASETS, "design": content}
    )


@pytest.mark.parametrize(
    ("written", "count"),
    [(512, 512), ("512", 512), ("1KB", 1000), ("1.5 gb", 1_500_000_000), ("2TB", 2 * 10**12)],
)
def test_sizes_are_numbers_or_text_with_a_unit(written: Any, count: int) -> None:
    assert parse_bytes(written) == count


@pytest.mark.parametrize("written", ["lots", "1.2.3GB", "-1GB", "GB", "1 QB", ""])
def test_what_is_no_size_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(written)


def test_a_sweep_needs_little() -> None:
    config = SweepConfig.model_validate(
        {"kind": "sweep", "datasets": DATASETS, "search": {"trials": 1, "space": SPACE}}
    )

    assert config.target_names == ("digits", "letters")
    assert config.confirm.top_k == 1
    assert config.store.max_bytes is None


def test_targets_choose_which_datasets_get_a_student() -> None:
    assert ExperimentConfig(datasets=DATASETS, targets=("letters",)).target_names == ("letters",)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["digit"], "targets: unknown dataset 'digit' (allowed: digits, letters"),
        (["digits", "digits"], "targets: 'digits' stands twice"),
    ],
)
def test_targets_that_cannot_be_are_refused(targets: list[str], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        ExperimentConfig.model_validate({"datasets": DATASETS, "targets": targets})

    assert message in str(error.value)


def test_the_target_of_a_training_is_one_of_its_datasets() -> None:
    with pytest.raises(ValidationError, match="target: unknown dataset 'leters'"):
        TrainConfig.model_validate({"kind": "train", "datasets": DATASETS, "target": "leters"})


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ({"factors": {}}, "factors: this key is needed"),
        ({"kind": "compare"}, "arms: this key is needed"),
        ({"kind": "compare", "arms": {"a": {}, "b": {}}}, "factors: is not for a design of kind"),
        ({"kind": "compare", "factors": {}, "arms": {"a": {}}}, "arms: there is one only"),
        (
            {"kind": "compare", "factors": {}, "arms": {"a": {}, "b": {}}, "reference": {"a": 1}},
            "reference: is not for a design of kind 'compare'",
        ),
        ({"factors": {"seed": []}}, "factors.seed: needs at least one value"),
        (
            {"reference": {"distillation.alhpa": 0.6}},
            "reference.distillation.alhpa: is not a factor (allowed: distillation.alpha",
        ),
        (
            {"reference": {"distillation.alpha": 0.5}},
            "reference.distillation.alpha: 0.5 is not a value of the factor (allowed: 0.0, 0.6",
        ),
        ({"kind": "grdi"}, "'grid'"),
    ],
)
def test_a_design_that_cannot_be_is_refused(design: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        ablation(**design)

    assert message in str(error.value)


def test_a_base_may_have_values_that_are_no_factor_s() -> None:
    design = ablation(kind="one_at_a_time", reference={"distillation.alpha": 0.3}).design

    assert design.reference == {"distillation.alpha": 0.3}


def test_the_settings_of_the_method_are_what_an_experiment_says_of_it() -> None:
    shared = {"datasets": DATASETS, "students": {"digits": {"seed": 3}}, "image_size": 64}
    config = ExperimentConfig.model_validate(shared | {"name": "x", "runs": "elsewhere"})

    settings = pipeline_settings(config)

    assert type(settings) is PipelineSettings
    assert canonical_json(settings) == canonical_json(PipelineSettings.model_validate(shared))
