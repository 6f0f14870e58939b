from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlfd_tune.core.training.sampling import (
    SAMPLING_POLICIES,
    Passes,
    mixed_order,
    sampling_shares,
    whole_batches,
)
from tests.helpers.digit_tasks import digits_trainer

many_sizes = st.lists(st.integers(1, 10**7), min_size=1, max_size=6)
few_sizes = st.lists(st.integers(1, 60), min_size=1, max_size=4)
policies = st.sampled_from(SAMPLING_POLICIES)
temperatures = st.floats(1, 50)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counts_by_dataset(order: torch.Tensor, sizes: list[int]) -> list[Counter[int]]:
    """Return how often each sample of each dataset comes."""
    starts = list(itertools.accumulate(sizes, initial=0))
    return [
        Counter(int(i) - start for i in order if start <= i < start + size)
        for start, size in zip(starts, sizes, strict=False)
    ]


@given(many_sizes, policies, temperatures)
def test_shares_are_positive_and_one_in_all(sizes, policy, temperature):
    shares = sampling_shares(sizes, policy, temperature)
    assert len(shares) == len(sizes)
    assert all(share > 0 for share in shares)
    assert sum(shares) == pytest.approx(1)


@given(many_sizes, temperatures)
def test_shares_follow_the_sizes_to_the_power_of_the_policy(sizes, temperature):
    n = np.array(sizes, dtype=np.float64)
    softened = np.exp(np.log(n) / temperature)
    np.testing.assert_allclose(sampling_shares(sizes, "proportional"), n / n.sum())
    np.testing.assert_allclose(sampling_shares(sizes, "uniform"), np.full(len(n), 1 / len(n)))
    np.testing.assert_allclose(
        sampling_shares(sizes, "temperature", temperature), softened / softened.sum()
    )


@given(many_sizes)
def test_temperature_goes_from_proportional_to_uniform(sizes):
    at_one = sampling_shares(sizes, "temperature", 1.0)
    np.testing.assert_allclose(at_one, sampling_shares(sizes, "proportional"))
    far = sampling_shares(sizes, "temperature", 1e6)
    np.testing.assert_allclose(far, sampling_shares(sizes, "uniform"), rtol=1e-4)


@given(many_sizes, policies, temperatures)
def test_a_larger_dataset_never_has_a_smaller_share(sizes, policy, temperature):
    shares = sampling_shares(sorted(sizes), policy, temperature)
    assert all(a <= b for a, b in itertools.pairwise(shares))


@pytest.mark.parametrize("sizes", [[], [0], [5, 0]])
def test_shares_of_nothing_are_refused(sizes):
    with pytest.raises(ValueError, match=r"allowed: 1 or more of each"):
        sampling_shares(sizes, "uniform")


@pytest.mark.parametrize("temperature", [None, 0.0, 0.5, -2.0, float("nan")])
def test_a_temperature_below_one_is_refused_where_it_counts(temperature):
    with pytest.raises(ValueError, match="sampling temperature is"):
        sampling_shares([3, 4], "temperature", temperature)
    assert sampling_shares([3, 5], "proportional", temperature) == [3 / 8, 5 / 8]


@given(few_sizes, policies, temperatures, st.integers(0, 2**32))
def test_a_mixed_epoch_has_every_datasets_share_and_its_samples_equally_often(
    sizes, policy, temperature, seed
):
    shares = sampling_shares(sizes, policy, temperature)
    order = mixed_order(sizes, shares, generator(seed))
    assert order.dtype == torch.int64
    assert order.shape == (sum(sizes),)
    for seen, size, share in zip(counts_by_dataset(order, sizes), sizes, shares, strict=True):
        assert abs(seen.total() - share * sum(sizes)) < 1
        times = [seen[sample] for sample in range(size)]
        assert max(times) - min(times) <= 1


@given(few_sizes, st.integers(0, 2**32))
def test_a_proportional_epoch_has_every_sample_once(sizes, seed):
    order = mixed_order(sizes, sampling_shares(sizes, "proportional"), generator(seed))
    assert sorted(order.tolist()) == list(range(sum(sizes)))


@given(few_sizes, st.integers(0, 2**32))
def test_a_mixed_epoch_is_its_generators_and_leaves_the_global_state(sizes, seed):
    shares, before = sampling_shares(sizes, "uniform"), torch.get_rng_state()
    one, other = (mixed_order(sizes, shares, generator(seed)) for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_mixed_epoch_is_mixed():
    order = mixed_order([400, 100], [0.5, 0.5], generator(3))
    small = (order >= 400).double()
    tenths = small.view(10, 50).sum(dim=1)
    assert tenths.min() >= 13  # 25 on average, standard deviation 3.5
    assert tenths.max() <= 37
    assert not torch.equal(order, mixed_order([400, 100], [0.5, 0.5], generator(4)))


def test_a_dataset_of_too_small_a_share_stays_out_of_an_epoch():
    order = mixed_order([10, 10], [1.0, 0.0], generator(0))
    assert sorted(order.tolist()) == sorted([*range(10)] * 2)


@pytest.mark.parametrize("shares", [[0.5, 0.4], [0.7, 0.7]])
def test_shares_that_are_not_one_in_all_are_refused(shares):
    with pytest.raises(ValueError, match="not 1 in all"):
        mixed_order([5, 5], shares, generator(0))


@given(st.integers(1, 500), st.integers(1, 100), st.integers(1, 10))
def test_whole_batches_fill_whole_steps(size, batch_size, accumulate):
    batches = whole_batches(size, batch_size, accumulate)
    assert batches >= 1
    if size >= batch_size:
        assert batches * batch_size <= size
    if batches >= accumulate:
        assert batches % accumulate == 0
        assert (batches + accumulate) * batch_size > size


@pytest.mark.parametrize("size", [20, 32, 96, 100, 170])
@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_the_training_loop_takes_just_these_batches(size, accumulate):
    trainer = digits_trainer(size=size, accumulate=accumulate, epochs=1)
    trainer.train_epoch()
    assert len(trainer.task.seen) == whole_batches(size, 32, accumulate)


@given(
    st.integers(1, 30),
    st.lists(st.integers(1, 70), min_size=1, max_size=8),
    st.integers(0, 2**32),
)
def test_passes_give_every_sample_once_a_pass_however_they_are_read(size, counts, seed):
    passes = Passes(size, lambda number: generator(seed + number))
    # The plain statement: all passes after each other, each a permutation of its own.
    expected = [
        sample
        for number in range(1, sum(counts) // size + 2)
        for sample in torch.randperm(size, generator=generator(seed + number)).tolist()
    ]
    starts = list(itertools.accumulate(counts, initial=0))[:-1]
    pieces = [passes.at(start, count) for start, count in zip(starts, counts, strict=True)]
    assert [len(piece) for piece in pieces] == counts
    assert torch.cat(pieces).tolist() == expected[: sum(counts)]
    assert pieces[0].dtype == torch.int64

    seen = Counter(torch.cat(pieces).tolist())
    times = [seen[sample] for sample in range(size)]
    assert max(times) - min(times) <= 1


@given(st.integers(1, 30), st.integers(0, 200), st.integers(1, 70))
def test_what_stands_at_a_position_does_not_depend_on_what_was_read_before(size, start, count):
    fresh, used = (Passes(size, generator) for _ in range(2))
    used.at(start + 5, 3)
    used.at(0, start + 1)
    assert torch.equal(used.at(start, count), fresh.at(start, count))


def test_passes_over_nothing_are_refused():
    with pytest.raises(ValueError, match=r"allowed: 1 or more of each"):
        Passes(0, generator)
