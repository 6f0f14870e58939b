"""Which plan is chosen, from bytes and seconds alone."""

from __future__ import annotations

import pytest

from mlfd_tune.core.caching import (
    Caching,
    Estimates,
    Rates,
    Uses,
    choose_cache,
)
from mlfd_tune.core.memory import free_memory_bytes

GB = 10**9
ALL = Estimates(rest=1 * GB, features=10 * GB, targets=30 * GB)
ONCE = Uses(extracted=1000, read=5000, run=5000)
FAST_DISK, SLOW_DISK = Rates(read=0.001, run=0.1), Rates(read=0.2, run=0.1)

TABLE = {
    "all fits": (ALL, 41 * GB, None, "targets", "41.0 GB of 41.0 GB left"),
    "not all fits": (ALL, 20 * GB, None, "features", "with targets 41.0 GB, 20.0 GB left"),
    "features just fit": (ALL, 11 * GB, FAST_DISK, "features", "with targets 41.0 GB"),
    "features do not fit": (ALL, 10 * GB, None, "none", "with features 11.0 GB, 10.0 GB left"),
    "nothing fits": (ALL, 10, None, "none", "10 B left"),
    "teachers are faster than the disk": (
        ALL,
        20 * GB,
        SLOW_DISK,
        "none",
        "8 min to run the teachers",
    ),
    "speed has no part where targets fit": (ALL, 50 * GB, SLOW_DISK, "targets", "41.0 GB"),
    "there are no features": (Estimates(1, 0, 30), 20, None, "none", "with targets 31 B"),
    "all is there": (Estimates(), 0, None, "targets", "0 B of 0 B left"),
}


@pytest.mark.parametrize(("estimates", "budget", "rates", "plan", "why"), TABLE.values(), ids=TABLE)
def test_the_plan_that_stores_most_of_what_fits_is_chosen(estimates, budget, rates, plan, why):
    chosen = choose_cache(estimates, budget, rates, ONCE)
    assert chosen.plan == plan
    assert why in chosen.reason
    assert str(chosen) == f"cache: {plan} ({chosen.reason})"


def test_features_stay_stored_where_running_teachers_only_saves_writing_them_once():
    few = Uses(extracted=1000, read=1000, run=1100)
    assert choose_cache(ALL, 20 * GB, FAST_DISK, few).plan == "features"


def test_a_plan_stores_what_it_is_named_for():
    assert [ALL.under(plan) / GB for plan in ("targets", "features", "none")] == [41, 11, 1]
    assert ALL + Estimates(1, 2, 3) == Estimates(1 * GB + 1, 10 * GB + 2, 30 * GB + 3)


def test_memory_is_what_the_settings_allow_or_a_share_of_what_is_free():
    assert Caching(memory_bytes=10).fits_memory(10)
    assert not Caching(memory_bytes=10).fits_memory(11)
    assert Caching().fits_memory(0)
    assert not Caching().fits_memory(free_memory_bytes() + 1)
