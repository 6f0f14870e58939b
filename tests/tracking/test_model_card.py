"""A model card says what the numbers carry, and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlfd_tune.core.statistics import Interval
from mlfd_tune.core.store import Artifact
from mlfd_tune.core.store.artifact import Manifest
from mlfd_tune.tracking.leaderboard import Row
from mlfd_tune.tracking.model_card import Card, model_card

SETTINGS = {"source": "digits", "train_size": 120, "val_fraction": 0.2}


def artifact(key: str, stage: str, label: str, **changes: Any) -> Artifact:
    about: dict[str, Any] = {
        "version": 1,
        "dataset": "digits",
        "spec": {},
        "inputs": {},
        "metrics": {},
        "history": [],
        "files": {},
        "seconds": 1.5,
        "created": 0.0,
        "versions": {"torch": "2.15.0"},
    }
    return Artifact(Path(key), Manifest(key=key, stage=stage, label=label, **(about | changes)))


DATA = artifact(
    "d" * 64,
    "dataset",
    "dataset digits",
    spec={"identity": {"settings": SETTINGS}, "image_size": 32},
    metrics={"classes": 10, "train_images": 120, "val_images": 287, "test_images": 359},
)
TEACHER = artifact(
    "e" * 64,
    "teacher",
    "teacher digits (test_vit)",
    spec={"arch": "test_vit"},
    inputs={"dataset": DATA.key},
    metrics={"val/acc1": 90.25},
)
STUDENT = artifact(
    "a" * 64,
    "student",
    "student digits (mlfd, test_vit, seed 4)",
    inputs={"dataset": DATA.key, "teacher": TEACHER.key},
)
ROW = Row(
    experiment="quickstart",
    sweep="S",
    dataset="digits",
    method="mlfd",
    status="confirmed",
    config="aaaa",
    baseline_of=(),
    arm=None,
    n_seeds=3,
    val=Interval(88.0, 85.0, 91.0, 3),
    test=Interval(86.5, 83.25, 89.75, 3),
    gain=Interval(2.0, 0.5, 3.5, 3),
    gain_over_own_teacher=Interval(0.25, -1.0, 1.5, 3),
    gain_metric="test/acc1",
    run_ids=("r1", "r2", "r3"),
    params={},
    settings={},
)
CARD = Card(
    row=ROW,
    better_control=None,
    config={"method": "mlfd"},
    seed=4,
    tags={
        "mlfd.artifact_key": STUDENT.key,
        "mlfd.version.timm": "1.0.31",
        "mlfd.hardware.gpus": "NVIDIA H200",
        "mlflow.source.git.commit": "0123abc",
    },
    metrics={"val/acc1": 89.5, "test/acc1": 87.0, "test/ece": 3.125},
    params={
        "student.train.epochs": "4",
        "student.train.ema_decay": "None",
        "student.train.drop_rate": "0.0",
        "distillation.alpha": "0.36",
        "distillation.beta.embedding": "0.05",
        "distillation.temperature": "2.0",
        "joint_teacher.levels": "embedding",
        "unic.hidden": "768",
    },
    artifacts={"student": STUDENT, "dataset digits": DATA, "teacher digits": TEACHER},
    network={
        "arch": "test_vit",
        "classes": ["0", "1|2"],
        "num_classes": 2,
        "image_size": 32,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
    },
    parameters=300746,
    files={"safetensors": "digits.safetensors", "yaml": "digits.yaml"},
)


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def results(**changes: Any) -> str:
    return section(model_card(replace(CARD, row=replace(ROW, **changes))), "Results")


def test_the_front_matter_is_yaml_with_the_mean_over_seeds() -> None:
    text = model_card(CARD)

    front = yaml.safe_load(text.split("---\n")[1])
    assert front["pipeline_tag"] == "image-classification"
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["split"] == "test"
    assert result["metrics"][0]["value"] == 86.5
    assert "datasets" not in front, "the hub has other data under the same names"


def test_it_says_what_the_network_is_and_what_it_was_trained_on() -> None:
    text = model_card(CARD)

    network = section(text, "What it is")
    assert "300,746" in network
    assert "32 x 32" in network
    assert "`1\\|2`" in network, "a name may not end its cell"
    data = section(text, "Data")
    assert f"| digits | 10 | 120 | 287 | 359 | 32 px | `{'d' * 12}` |" in data
    assert "source digits, train_size 120, val_fraction 0.2" in data


def test_training_shows_what_the_method_uses() -> None:
    training = section(model_card(CARD), "Training")

    assert "| digits | `test_vit` | 90.25 |" in training
    for line in ("train.epochs: 4", "alpha: 0.36", "beta.embedding: 0.05", "temperature: 2.0"):
        assert f"\n{line}\n" in training
    assert "levels: embedding" in training
    assert "unic" not in training
    assert "ema_decay" not in training
    assert "drop_rate" not in training


def test_results_are_the_leaderboards_with_their_intervals() -> None:
    found = results()

    assert "| validation | 89.50 | 88.00 (n = 3) | 85.00 to 91.00 |" in found
    assert "| test | 87.00 | 86.50 (n = 3) | 83.25 to 89.75 |" in found
    assert "calibration error on the test split (seed 4): 3.12 %" in found
    assert "+2.00 points, 95 % interval +0.50 to +3.50: higher than the baseline." in found
    assert "needs 6 seeds" in found


def test_a_gain_that_is_not_shown_is_said_not_to_be() -> None:
    found = results()

    assert "-1.00 to +1.50: **no gain shown over the own-teacher control**." in found


def test_a_loss_is_said_to_be_one() -> None:
    found = results(gain=Interval(-2.0, -3.5, -0.5, 3))

    assert "-3.50 to -0.50: **lower** than the baseline." in found


@pytest.mark.parametrize("gain", [None, Interval(5.0, None, None, 1)])
def test_nothing_is_claimed_without_an_interval(gain: Interval | None) -> None:
    found = results(gain=gain, gain_over_own_teacher=gain)

    assert "higher" not in found
    assert ("no gain is claimed" if gain is None else "no gain shown over") in found


def test_a_control_that_does_better_is_named() -> None:
    control = replace(ROW, method="none", val=Interval(88.5, 80.0, 97.0, 3))

    text = model_card(replace(CARD, better_control=control))

    assert "`none` scores higher on validation in the same run: 88.50 against 88.00." in text


def test_a_provisional_result_is_said_to_be_too_good() -> None:
    row = replace(
        ROW,
        status="provisional",
        n_seeds=1,
        val=Interval(95.0, None, None, 1),
        test=None,
        gain=None,
        gain_over_own_teacher=None,
        gain_metric=None,
    )
    text = model_card(replace(CARD, row=row, metrics={"val/acc1": 95.0}))

    assert "> **Provisional.** This is one training with one seed, and the best of many" in text
    assert "too good on average" in text
    assert "| test | not measured |  |  |" in text
    assert "The test split was not read" in section(text, "Limits")
    front = yaml.safe_load(text.split("---\n")[1])
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["split"] == "validation"
    assert "one seed (provisional)" in result["metrics"][0]["name"]


def test_the_best_arm_of_an_ablation_is_said_to_be_chosen() -> None:
    text = model_card(replace(CARD, row=replace(ROW, status="ablation", arm="L1")))

    assert "the arm `L1` of a designed comparison" in section(text, "How it was chosen")


def test_lineage_is_a_tree_of_keys_and_says_what_is_gone() -> None:
    lineage = section(model_card(CARD), "Lineage")
    assert f"{STUDENT.manifest.label}  {'a' * 12}  1.5 s\n  dataset digits  {'d' * 12}" in lineage
    assert f"  teacher digits (test_vit)  {'e' * 12}  1.5 s\n    dataset digits" in lineage

    partly = replace(CARD, artifacts={"student": STUDENT, "teacher digits": TEACHER})
    assert f"{'d' * 12} (no longer in the store)" in section(model_card(partly), "Lineage")

    nothing = replace(CARD, artifacts={}, network=None, parameters=None, files={})
    assert STUDENT.key in section(model_card(nothing), "Lineage")


def test_software_hardware_and_commit_are_there() -> None:
    environment = section(model_card(CARD), "Software and hardware")

    assert "| timm | 1.0.31 |" in environment
    assert "| torch | 2.15.0 |" in environment
    assert "| gpus | NVIDIA H200 |" in environment
    assert "`0123abc`" in environment


def test_only_files_that_are_there_are_explained() -> None:
    text = model_card(CARD)
    assert "onnxruntime" not in text
    assert "digits.safetensors" in section(text, "How to use it")
    assert "mlfd-tune reproduce digits.yaml --seeds all" in text

    with_onnx = replace(CARD, files={"onnx": "digits.onnx"}, onnx_difference=3e-7)
    use = section(model_card(with_onnx), "How to use it")
    assert 'InferenceSession("digits.onnx")' in use
    assert "within 3e-07 of torch's" in use
    assert "safetensors" not in use
