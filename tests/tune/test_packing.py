from __future__ import annotations

from mlfd_tune.core.gpu_use import GpuUse
from mlfd_tune.tune.packing import Packing


def measured(trials: int) -> GpuUse:
    """Return a use of which so many fit."""
    return GpuUse(bytes=int(0.9 * 1000 / trials), total=1000)


def test_work_has_a_whole_gpu_until_one_of_its_kind_is_measured() -> None:
    packing = Packing(gpus=1, cpus=8, threads=1)
    assert packing.may_start("digits")
    packing.started("a", "digits")
    assert not packing.may_start("digits")

    found = packing.measured("a", measured(3))
    assert found is not None
    assert found.trials == 3
    for work in ("b", "c"):
        assert packing.may_start("digits")
        packing.started(work, "digits")
    assert not packing.may_start("digits")
    packing.ended("a")
    assert packing.may_start("digits")
    assert not packing.may_start("letters")  # not measured: it waits for an empty GPU


def test_shares_of_several_kinds_and_gpus_add_up() -> None:
    packing = Packing(gpus=2, cpus=8, threads=1)
    packing.started("a", "digits")
    packing.measured("a", measured(4))
    packing.started("b", "letters")
    packing.measured("b", measured(2))
    packing.started("c", "letters")  # 1/4 + 1/2 + 1/2
    assert packing.may_start("letters")
    packing.started("d", "letters")
    assert not packing.may_start("letters")
    assert packing.may_start("digits")


def test_a_larger_measurement_counts_and_a_smaller_one_does_not() -> None:
    packing = Packing(gpus=1, cpus=8, threads=1)
    packing.started("a", "digits")
    packing.measured("a", measured(4))
    assert packing.measured("a", measured(6)) is None
    packed = packing.measured("a", measured(2))
    assert packed is not None
    assert packed.trials == 2


def test_what_ran_out_of_memory_goes_on_alone_and_one_fewer_share_from_then_on() -> None:
    packing = Packing(gpus=1, cpus=8, threads=1)
    packing.started("a", "digits")
    packing.measured("a", measured(3))
    for work in ("b", "c"):
        packing.started(work, "digits")

    packed = packing.out_of_memory("b")
    assert (packed.trials, packed.reason) == (2, "3 at once ran out of memory")
    assert packing.next_alone() is None  # others run
    assert not packing.may_start("digits")  # and nothing new is begun
    packing.ended("a")
    packing.ended("c")
    assert packing.next_alone() == packing.next_alone() == "b"
    packing.resumed("b")
    assert packing.next_alone() is None
    assert not packing.may_start("digits")

    packing.ended("b")
    for work in ("d", "e"):
        assert packing.may_start("digits")
        packing.started(work, "digits")
    assert not packing.may_start("digits")


def test_a_correction_is_made_from_what_ran_and_not_from_what_might_have() -> None:
    packing = Packing(gpus=1, cpus=16, threads=1)
    packing.started("a", "digits")
    packing.measured("a", measured(16))
    packing.started("b", "digits")
    assert packing.out_of_memory("a").trials == 1


def test_several_that_ran_out_of_memory_go_on_one_after_the_other() -> None:
    packing = Packing(gpus=1, cpus=8, threads=1, per_gpu=4)
    for work in ("a", "b", "c"):
        packing.started(work, "digits")
    packing.out_of_memory("a")
    packing.out_of_memory("b")
    packing.ended("c")
    order = []
    while (work := packing.next_alone()) is not None:
        packing.resumed(work)
        order.append(work)
        packing.ended(work)
    assert order == ["a", "b"]
    assert packing.may_start("digits")


def test_a_number_that_was_given_stands_until_memory_runs_out() -> None:
    packing = Packing(gpus=1, cpus=8, threads=1, per_gpu=4)
    packing.started("a", "digits")
    assert packing.measured("a", measured(2)) is None
    for work in ("b", "c", "d"):
        assert packing.may_start("digits")
        packing.started(work, "digits")
    assert not packing.may_start("digits")
    assert packing.out_of_memory("d").trials == 3
