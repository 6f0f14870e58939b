"""When an ablation looks at its results, and what a look says."""

from __future__ import annotations

import numpy as np
import pytest

from mlfd_tune.ablation.until_resolved import Look, Width, looks_of, schedule, told, widths_at
from mlfd_tune.core.statistics import mean_interval
from tests.helpers.ablations import ablation_config


def looks(seeds: int, **resolve: float) -> list[Look]:
    design = {"factors": {"distillation.alpha": [0.0, 0.6]}}
    config = ablation_config(design, seeds=seeds, resolve={"width": 1.0, **resolve})
    assert schedule(config).startswith("seeds are added until no interval is wider than 1 points")
    return looks_of(config)


def test_looks_are_known_before_and_end_with_the_budget() -> None:
    assert [look.seeds for look in looks(3, batch=4, max_seeds=12)] == [3, 7, 11, 12]
    assert [look.seeds for look in looks(4, batch=4, max_seeds=12)] == [4, 8, 12]
    assert looks(5, max_seeds=5) == [Look(5, pytest.approx(0.95))]


def test_all_looks_together_err_in_five_percent() -> None:
    found = looks(2, batch=1, max_seeds=24)

    assert sum(1 - look.confidence for look in found) == pytest.approx(0.05)
    assert all(look.confidence > 0.95 for look in found)


def test_the_width_is_that_of_the_paired_difference_at_the_look_s_confidence() -> None:
    generator = np.random.default_rng(0)
    reference = {seed: float(value) for seed, value in enumerate(generator.normal(80, 5, 6))}
    arm = {seed: value + float(generator.normal(0, 1)) for seed, value in reference.items()}
    del arm[4]  # a failed trial

    (width,) = widths_at(Look(6, 0.99), "digits", {"base": reference, "other": arm}, "base")

    interval = mean_interval([arm[seed] - reference[seed] for seed in (0, 1, 2, 3, 5)], 0.99)
    assert interval.low is not None
    assert interval.high is not None
    assert (width.dataset, width.arm, width.pairs) == ("digits", "other", 5)
    assert width.points == pytest.approx(interval.high - interval.low)


def test_where_an_interval_lies_has_no_part_in_it() -> None:
    reference = {0: 50.0, 1: 60.0, 2: 55.0}
    for shift in (-30.0, 0.0, 7.5):
        arm = {0: 51.0 + shift, 1: 60.0 + shift, 2: 54.0 + shift}
        (width,) = widths_at(Look(3, 0.95), "digits", {"base": reference, "arm": arm}, "base")
        assert width.points == pytest.approx(4.968, abs=1e-3)


def test_less_than_two_pairs_resolve_nothing() -> None:
    values = {"base": {0: 50.0, 1: 51.0}, "one pair": {0: 50.0}, "failed": {}}

    widths = widths_at(Look(2, 0.95), "digits", values, "base")

    assert [(width.points, width.pairs) for width in widths] == [(None, 1), (None, 0)]
    assert not any(width.within(100) for width in widths)
    (line,) = told(Look(2, 0.95), widths, 100, is_last=False)
    assert (
        line
        == "2 seeds: no interval yet, from two pairs on (arm one pair on digits has 1), goes on"
    )


def test_a_look_names_what_is_known_least() -> None:
    widths = [Width("digits", "a", 0.5, 12), Width("digits", "b", 1.834, 12)]

    def line(width: float, is_last: bool = False) -> str:
        (only,) = told(Look(12, 0.99), widths, width, is_last)
        return only

    widest = "widest difference interval 1.83 points (arm b on digits)"
    assert line(1) == f"12 seeds: {widest}, goes on"
    assert line(1.834) == f"12 seeds: {widest}, resolved"
    assert line(1.834, is_last=True) == f"12 seeds: {widest}, resolved"
    assert line(1, is_last=True) == (
        f"budget of 12 seeds spent, not resolved: arm b on digits; {widest}"
    )


def test_intervals_at_whatever_look_one_stops_cover_the_truth() -> None:
    """Simulated: 1,000 runs that stop at different looks miss it in 5 % of them at most."""
    generator = np.random.default_rng(1)
    schedule_, missed, stopped = looks(3, batch=2, max_seeds=15), 0, set()
    for _ in range(1000):
        differences = generator.normal(1.0, 1.0, 15)
        for look in schedule_:
            interval = mean_interval(differences[: look.seeds].tolist(), look.confidence)
            assert interval.low is not None
            assert interval.high is not None
            if interval.high - interval.low <= 3.0:
                break
        missed += not interval.low <= 1.0 <= interval.high
        stopped.add(look.seeds)
    assert len(stopped) > 3
    assert missed <= 50 + 3 * 7  # three standard deviations of what chance does
