"""What has failed is counted over drivers and trials, and decides whether it is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlfd_tune.tune.failures import FAILURES, Failure, FailureKind, Failures


def failures(folder: Path, retries: int = 1) -> Failures:
    return Failures(folder / FAILURES, retries)


def failure(
    work: str = "trial/digits/3",
    reason: str = "bad luck",
    kind: FailureKind = "died",
    after: int = 1,
) -> Failure:
    return Failure(work, "student", kind, reason, after)


def test_a_trial_is_tried_again_as_often_as_asked(tmp_path: Path) -> None:
    found = failures(tmp_path, retries=2)
    again = []
    for _ in range(3):
        found.add(failure())
        again.append(found.may_try_again("trial/digits/3", "student"))

    assert again == [True, True, False]


def test_a_new_driver_goes_on_counting(tmp_path: Path) -> None:
    failures(tmp_path).add(failure())

    found = failures(tmp_path)
    assert found.tries_left("trial/digits/3") == 0
    assert found.tries_left("trial/digits/4") == 1
    found.add(failure())
    assert not found.may_try_again("trial/digits/3", "student")


def test_half_a_line_of_a_driver_that_was_killed_is_passed_over(tmp_path: Path) -> None:
    failures(tmp_path).add(failure())
    with (tmp_path / FAILURES).open("a") as file:
        file.write('{"work": "trial/dig')
    failures(tmp_path).add(failure())

    assert (
        failures(tmp_path).given_up("student") == "not tried again: failed twice before (bad luck)"
    )


def test_the_same_exception_after_the_same_epoch_is_not_raised_a_third_time(tmp_path: Path) -> None:
    found = failures(tmp_path, retries=5)
    found.add(failure(kind="raised", after=1))
    found.add(failure(kind="raised", after=2))
    assert found.may_try_again("trial/digits/3", "student"), "it came further"
    found.add(failure(kind="raised", after=2))

    assert not found.may_try_again("trial/digits/3", "student")
    assert found.given_up("student") == "not tried again: failed 3 times before (bad luck)"


def test_what_fails_for_certain_is_tried_once(tmp_path: Path) -> None:
    found = failures(tmp_path, retries=5)
    found.add(failure(kind="certain", reason="NonFiniteLossError: train/loss"))

    assert not found.may_try_again("trial/digits/3", "student")
    given_up = found.given_up("student")
    assert given_up == "not tried again: failed before (NonFiniteLossError: train/loss)"


@pytest.mark.parametrize("retries", [0, 1])
def test_a_configuration_is_given_up_when_it_has_failed_twice(tmp_path: Path, retries: int) -> None:
    found = failures(tmp_path, retries)
    found.add(failure("trial/digits/3"))
    assert found.given_up("student") is None
    found.add(failure("arm/digits/0/1"))

    assert found.given_up("student") == "not tried again: failed twice before (bad luck)"
    assert found.given_up("another") is None
    assert found.given_up(None) is None


def test_whoever_resumes_a_run_has_mended_what_broke_its_stages(tmp_path: Path) -> None:
    found = failures(tmp_path)
    found.add(failure("stage", kind="certain"), keep=False)
    assert found.is_certain("student")

    assert failures(tmp_path).given_up("student") is None
