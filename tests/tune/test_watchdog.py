"""Work that shows no progress is found, by the time that its driver has watched it."""

from __future__ import annotations

from mlfd_tune.tune.watchdog import Watchdog


class Watch:
    """A watchdog whose clock is set by hand."""

    def __init__(self, timeout: float | None) -> None:
        self.now = 0.0
        self.dog = Watchdog(timeout, clock=lambda: self.now)

    def look(self, after: float = 1.0, **marks: object) -> list[tuple[str, bool]]:
        self.now += after
        return [(silent.work, silent.too_long) for silent in self.dog.look(marks)]


def test_what_stands_still_is_found_once_and_again_after_as_long() -> None:
    watch = Watch(timeout=3)
    found = [watch.look(a=1, b=second) for second in range(1, 10)]

    assert [bool(one) for one in found] == [False] * 4 + [True] + [False] * 3 + [True]
    assert found[4] == [("a", True)]


def test_progress_of_any_kind_starts_the_count_anew() -> None:
    watch = Watch(timeout=3)

    assert not any(watch.look(a=number // 3) for number in range(30))


def test_what_began_anew_is_not_charged_with_what_was_before() -> None:
    watch = Watch(timeout=3)
    for _ in range(3):
        watch.look(a=1)
    watch.look()  # it waits for another worker
    found = [watch.look(a=1) for _ in range(3)]

    assert not any(found)


def test_a_driver_that_was_held_up_kills_nobody_when_it_wakes() -> None:
    watch = Watch(timeout=3)
    watch.look(a=1)

    assert not watch.look(after=3600.0, a=1)
    assert not watch.look(a=1)
    assert watch.look(a=1)


def test_without_a_limit_it_tells_once_of_what_takes_much_longer_than_usual() -> None:
    watch = Watch(timeout=None)
    for _ in range(5):
        watch.dog.took(4.0)
    found = [watch.look(a=1) for _ in range(200)]

    assert [i for i, one in enumerate(found) if one] == [81]
    assert found[81] == [("a", False)]


def test_nothing_is_unusual_before_something_is_usual() -> None:
    watch = Watch(timeout=None)

    assert not any(watch.look(a=1) for _ in range(300))
