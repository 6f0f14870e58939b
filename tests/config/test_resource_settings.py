"""Limits of time and memory are written as people say them."""

from __future__ import annotations

import pytest

from mlfd_tune.config import ResourceSettings
from mlfd_tune.config.schema import parse_seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(90, 90), ("90", 90.0), ("90s", 90.0), ("10m", 600.0), ("1.5 h", 5400.0), ("2D", 172_800.0)],
)
def test_a_time_is_read_with_its_unit(written: object, seconds: float) -> None:
    assert parse_seconds(written) == seconds


@pytest.mark.parametrize("written", ["soon", "10 parsecs", "-5m", ""])
def test_what_is_no_time_is_refused_with_examples(written: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time \(allowed: seconds, or such as 90s, 10m"):
        parse_seconds(written)


@pytest.mark.parametrize(
    "limits",
    [{"trial_timeout": 0}, {"max_failures": -1}, {"max_failures": 101}, {"max_worker_memory": 0}],
)
def test_a_limit_that_lets_nothing_run_is_refused(limits: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="equal to"):
        ResourceSettings.model_validate(limits)


def test_without_limits_a_failed_trial_is_tried_once_more_and_nothing_is_killed() -> None:
    settings = ResourceSettings()
    assert (settings.trial_timeout, settings.max_failures, settings.max_worker_memory) == (
        None,
        1,
        None,
    )
