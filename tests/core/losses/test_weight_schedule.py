"""Factors on weights over the epochs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlfd_tune.core.losses import WeightSchedule

values = st.floats(0, 100, allow_subnormal=False)


def test_the_default_leaves_every_weight_as_it_is() -> None:
    assert {WeightSchedule().factor(epoch, 7) for epoch in range(1, 8)} == {1.0}
    assert WeightSchedule(shape="constant", start=0.5, end=0.5).factor(3, 7) == 0.5


@given(
    shape=st.sampled_from(["linear", "cosine"]),
    start=values,
    end=values,
    epochs=st.integers(2, 300),
)
def test_it_goes_from_start_to_end_and_never_back(
    shape: str, start: float, end: float, epochs: int
) -> None:
    schedule = WeightSchedule(shape=shape, start=start, end=end)
    factors = [schedule.factor(epoch, epochs) for epoch in range(1, epochs + 1)]
    assert factors[0] == start
    assert factors[-1] == end
    towards_end = 1 if end > start else -1
    tolerance = 1e-12 * max(start, end)
    steps = zip(factors[1:], factors[:-1], strict=True)
    assert all((after - before) * towards_end >= -tolerance for after, before in steps)


@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (0.2, 3.0)])
def test_the_shapes_are_those_of_their_names(start: float, end: float) -> None:
    linear = WeightSchedule(shape="linear", start=start, end=end)
    cosine = WeightSchedule(shape="cosine", start=start, end=end)
    for epoch in range(1, 10):
        progress = (epoch - 1) / 8
        assert linear.factor(epoch, 9) == pytest.approx(start + (end - start) * progress)
        wave = end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
        assert cosine.factor(epoch, 9) == pytest.approx(wave)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_a_single_epoch_has_the_start(shape: str) -> None:
    assert WeightSchedule(shape=shape, start=0.3, end=2.0).factor(1, 1) == 0.3


@pytest.mark.parametrize("epoch", [0, 8])
def test_an_epoch_there_is_not_is_an_error(epoch: int) -> None:
    with pytest.raises(ValueError, match=f"epoch {epoch} is not one of 1 to 7"):
        WeightSchedule().factor(epoch, 7)


def test_settings_that_contradict_each_other_are_an_error_in_words() -> None:
    with pytest.raises(ValidationError, match=r"constant factor cannot go from 1\.0 to 0\.0: .*"):
        WeightSchedule(end=0.0)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        WeightSchedule(shape="linear", end=-1.0)
    with pytest.raises(ValidationError, match="'constant', 'linear' or 'cosine'"):
        WeightSchedule(shape="step")
