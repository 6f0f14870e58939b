"""An ablation is read back from MLflow, compared, and refused where seeds do not pair."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlfd_tune.ablation import AblationResult, read_ablation
from mlfd_tune.core.errors import UserError
from tests.helpers.recorded_ablations import ARMS, EPOCHS, Recorder, tiny_ablation

BASE = [60.0, 61.0, 62.0, 63.0, 64.0, 65.0]
BETTER = [64.0, 66.0, 65.0, 69.0, 68.0, 70.0]  # 4, 5, 3, 6, 4, 5 points
ALIKE = [61.0, 60.0, 63.0, 62.0, 65.0, 64.0]
ONLY_DIGITS = {"targets": ["digits"]}


def recorder(uri: str, folder: Path, arms: Any = ARMS, **changes: Any) -> Recorder:
    return Recorder(uri, "arms", folder / "20260101-000000", tiny_ablation(arms, **changes))


def read(recorded: Recorder) -> AblationResult:
    return read_ablation(recorded.uri, recorded.experiment, recorded.config, recorded.close())


def refusal(recorded: Recorder) -> str:
    with pytest.raises(UserError) as caught:
        read(recorded)
    assert all(line.startswith("arms, run 20260101-000000: ") for line in caught.value.problems)
    return str(caught.value)


def test_one_comparison_with_six_seeds_can_be_claimed(uri: str, tmp_path: Path) -> None:
    two = {name: ARMS[name] for name in ("base", "student_L1")}
    ablation = recorder(uri, tmp_path, two)
    for dataset, values in (("digits", BETTER), ("photos", ALIKE)):
        ablation.arm(dataset, "base", BASE)
        ablation.arm(dataset, "student_L1", values)

    result = read(ablation)

    assert (result.experiment, result.run) == ("arms", "20260101-000000")
    assert [(row.dataset, row.arm) for row in result.rows] == [
        ("digits", "base"),
        ("digits", "student_L1"),
        ("photos", "base"),
        ("photos", "student_L1"),
    ]
    base, better, _, alike = result.rows
    assert base.is_reference
    assert base.comparison is None
    assert list(base.values.values()) == BASE
    assert base.std == pytest.approx(np.std(BASE, ddof=1))
    assert better.comparison is not None
    # All six of one sign: 2 / 2**6, and nothing to correct for.
    assert better.comparison.p == better.comparison.p_holm == better.comparison.floor == 0.03125
    assert better.comparison.verdict == "higher"
    differences = np.subtract(BETTER, BASE)
    half = 2.570582 * differences.std(ddof=1) / 6**0.5  # Student's t with 5 degrees of freedom
    assert better.difference is not None
    assert better.difference.mean == pytest.approx(4.5)
    assert better.difference.low == pytest.approx(4.5 - half, abs=1e-5)
    assert alike.comparison is not None
    assert alike.comparison.verdict == "no difference shown"
    assert result.ranks is None  # of two arms there are none
    assert "(1 per dataset)" in result.notes[0]


def test_two_comparisons_with_six_seeds_are_too_few_and_it_says_how_many_are_needed(
    uri: str, tmp_path: Path
) -> None:
    ablation = recorder(uri, tmp_path)
    for dataset in ("digits", "photos"):
        ablation.arm(dataset, "base", BASE)
        ablation.arm(dataset, "student_L1", BETTER)
        ablation.arm(dataset, "joint 100%", ALIKE, step=3)  # no student: it has its own epochs

    result = read(ablation)

    verdicts = {row.comparison.verdict for row in result.rows if row.comparison}
    assert verdicts == {"too few seeds"}
    (few, *_) = (note for note in result.notes if "too few to claim" in note)
    assert few == (
        "digits: 6 paired seeds are too few to claim anything about 2 compared arms; 7 are needed"
    )
    assert result.ranks is not None
    assert result.ranks.mean_ranks == (2.5, 1.0, 2.5)  # BASE and ALIKE have one mean
    assert any("2 datasets are too few for any two of 3 mean ranks" in n for n in result.notes)


def test_the_metric_of_the_configuration_is_compared(uri: str, tmp_path: Path) -> None:
    ablation = recorder(uri, tmp_path, metric="test/acc1", **ONLY_DIGITS)
    ablation.arm("digits", "base", BASE)

    (row,) = read(ablation).rows

    assert list(row.values.values()) == [value - 1 for value in BASE]


def test_a_failed_seed_is_left_out_of_its_pair_and_named(uri: str, tmp_path: Path) -> None:
    ablation = recorder(uri, tmp_path, **ONLY_DIGITS)
    ablation.arm("digits", "base", BASE)
    ablation.arm("digits", "student_L1", BETTER[:5])
    last = {ablation.seeds("digits", 6)[5]: 10.0}
    ablation.trained("arm", "digits", "mlfd", last, arm="student_L1", status="FAILED")

    result = read(ablation)

    (row,) = (row for row in result.rows if row.arm == "student_L1")
    assert row.difference is not None
    assert row.difference.n == 5
    missing = ablation.seeds("digits", 6)[5]
    assert (
        f"digits: arm 'student_L1' has no finished run of seed {missing}, left out of its pair"
        in result.notes
    )
    assert "digits: arm 'joint 100%' has no finished run" in result.notes


def test_without_the_reference_nothing_is_compared(uri: str, tmp_path: Path) -> None:
    ablation = recorder(uri, tmp_path, **ONLY_DIGITS)
    ablation.arm("digits", "student_L1", BETTER)

    result = read(ablation)

    assert [row.comparison for row in result.rows] == [None]
    assert "digits: arm 'base' has no finished run; nothing is compared" in result.notes


def test_of_a_run_that_was_repeated_the_latest_value_counts(uri: str, tmp_path: Path) -> None:
    ablation = recorder(uri, tmp_path, **ONLY_DIGITS)
    seed = ablation.seeds("digits", 1)[0]
    ablation.trained("arm", "digits", "none", {seed: 10.0}, arm="base")
    time.sleep(0.01)  # MLflow's times are whole milliseconds
    ablation.trained("arm", "digits", "none", {seed: 60.0}, arm="base")

    (row,) = read(ablation).rows

    assert list(row.values.values()) == [60.0]


def test_added_seeds_are_judged_by_what_their_look_may_spend(uri: str, tmp_path: Path) -> None:
    two = {name: ARMS[name] for name in ("base", "student_L1")}
    resolve = {"width": 3.0, "batch": 2, "max_seeds": 10}
    ablation = recorder(uri, tmp_path, two, resolve=resolve, **ONLY_DIGITS)
    ablation.arm("digits", "base", BASE)
    ablation.arm("digits", "student_L1", BETTER)

    result = read(ablation)

    (row,) = (row for row in result.rows if row.arm == "student_L1")
    assert row.comparison is not None
    # p is 0.031, but the first of three looks may spend no more than 0.0226.
    assert row.comparison.p == 0.03125
    assert row.comparison.verdict == "too few seeds"
    assert any("look 1 of at most 3" in note for note in result.notes)
    assert any("1 compared arms; 7 are needed" in note for note in result.notes)
    wide = row.comparison.difference
    plain = np.subtract(BETTER, BASE)
    assert wide.high is not None
    assert wide.high - wide.mean > 2.570582 * plain.std(ddof=1) / 6**0.5


def test_a_value_before_the_end_of_the_training_is_refused(uri: str, tmp_path: Path) -> None:
    ablation = recorder(uri, tmp_path, **ONLY_DIGITS)
    ablation.arm("digits", "base", BASE)
    ablation.arm("digits", "student_L1", BETTER, step=2)

    told = refusal(ablation)

    assert f"arm 'student_L1', seed 3: val/acc1 is of epoch 2 of {EPOCHS}" in told


def test_arms_of_different_length_are_refused(uri: str, tmp_path: Path) -> None:
    ablation = recorder(uri, tmp_path, **ONLY_DIGITS)
    ablation.arm("digits", "base", BASE)
    ablation.arm("digits", "student_L1", BETTER, step=8, params={"student.train.epochs": 8})

    assert (
        "arm 'student_L1', seed 3: student.train.epochs is 8, but 4 in arm 'base', and the design "
        "does not vary it"
    ) in refusal(ablation)


@pytest.mark.parametrize(
    "key", ["student.train.epochs", "student.train", "students.digits.train.epochs"]
)
def test_a_design_may_vary_the_length_and_then_it_is_said(
    key: str, uri: str, tmp_path: Path
) -> None:
    value: Any = {"epochs": 8} if key == "student.train" else 8
    ablation = recorder(uri, tmp_path, {"base": {}, "long": {key: value}}, **ONLY_DIGITS)
    ablation.arm("digits", "base", BASE)
    ablation.arm("digits", "long", BETTER, step=8, params={"student.train.epochs": 8})

    result = read(ablation)

    assert any("not of equal training steps" in note for note in result.notes)


@pytest.mark.parametrize(("key", "value"), [("student.train.lr", 0.1), ("image_size", 64)])
def test_seeds_that_differ_in_what_the_design_does_not_vary_are_refused(
    key: str, value: float, uri: str, tmp_path: Path
) -> None:
    ablation = recorder(uri, tmp_path, **ONLY_DIGITS)
    ablation.arm("digits", "base", BASE)
    ablation.arm("digits", "student_L1", BETTER, params={key: value})

    told = refusal(ablation)

    assert re.search(
        rf"arm 'student_L1', seed 3: {key} is {value}, but \S+ in arm 'base', and the", told
    )


def test_other_images_are_refused(uri: str, tmp_path: Path) -> None:
    ablation = recorder(uri, tmp_path, **ONLY_DIGITS)
    one, other = (ablation.packed("digits", content=content) for content in ("abc", "xyz"))
    ablation.arm("digits", "base", BASE, images=one)
    ablation.arm("digits", "student_L1", BETTER, images=other)

    told = refusal(ablation)

    assert "arm 'student_L1', seed 3: the images are not those of arm 'base', seed 3" in told
    assert "(identity.content is xyz and abc)" in told


def test_the_same_images_in_two_sizes_are_the_same(uri: str, tmp_path: Path) -> None:
    # A teacher may read larger images than the student.
    ablation = recorder(uri, tmp_path, **ONLY_DIGITS)
    small, large = (ablation.packed("digits", size, content="abc") for size in (32, 64))
    ablation.arm("digits", "base", BASE, images=small)
    ablation.arm("digits", "student_L1", BETTER, images=large)

    assert len(read(ablation).rows) == 2


def test_a_design_may_vary_the_images(uri: str, tmp_path: Path) -> None:
    arms = {"all": {}, "few": {"datasets.digits.train_size": 60}}
    ablation = recorder(uri, tmp_path, arms, **ONLY_DIGITS)
    ablation.arm("digits", "all", BASE, images=ablation.packed("digits", size="120"))
    ablation.arm("digits", "few", BETTER, images=ablation.packed("digits", size="60"))

    result = read(ablation)

    assert any("the design varies datasets.digits.train_size" in note for note in result.notes)


def test_arms_without_a_seed_in_common_are_refused(uri: str, tmp_path: Path) -> None:
    ablation = recorder(uri, tmp_path, **ONLY_DIGITS)
    ablation.trained("arm", "digits", "none", {3: 60.0, 4: 61.0}, arm="base")
    ablation.trained("arm", "digits", "mlfd", {5: 64.0}, arm="student_L1")

    assert (
        "digits: arm 'student_L1' has no seed in common with the reference 'base' (5 against 3, 4)"
    ) in refusal(ablation)
