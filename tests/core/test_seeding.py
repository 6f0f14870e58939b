from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlfd_tune.core.seeding import RandomStreams, derive_seed

parts = st.text("abc-_.", min_size=1, max_size=4)
streams_of = st.tuples(st.integers(0, 3), parts, parts, parts)


def draws(streams: RandomStreams, stream: str, count: int = 8) -> list[float]:
    return torch.rand(count, generator=streams.torch(stream)).tolist()


@given(streams_of, streams_of)
def test_a_seed_depends_on_each_of_its_four_parts_and_on_nothing_else(one, other):
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)
    assert 0 <= derive_seed(*one) < 2**63


def test_seeds_are_the_same_on_every_machine_and_in_every_version():
    assert derive_seed(0, "student", "digits", "init") == 5519952967749182015


@pytest.mark.parametrize(
    "other",
    [
        (1, "student", "digits", "order/1"),
        (0, "teacher", "digits", "order/1"),
        (0, "student", "letters", "order/1"),
        (0, "student", "digits", "order/2"),
    ],
    ids=["seed", "role", "dataset", "stream"],
)
def test_streams_that_differ_in_one_part_draw_different_numbers(other):
    seed, role, dataset, stream = other
    own = draws(RandomStreams(0, "student", "digits"), "order/1")
    assert draws(RandomStreams(seed, role, dataset), stream) != own


def test_every_generator_starts_at_the_streams_start():
    streams = RandomStreams(3, "student", "digits")
    assert draws(streams, "a") == draws(streams, "a")
    first, second = streams.numpy("a").random(4), streams.numpy("a").random(4)
    np.testing.assert_array_equal(first, second)


def test_drawing_from_one_stream_moves_no_other():
    streams = RandomStreams(3, "student", "digits")
    expected = draws(streams, "b")
    torch.rand(1000, generator=streams.torch("a"))
    streams.numpy("a").random(1000)
    with streams.as_global("a"):
        torch.rand(1000)
    assert draws(streams, "b") == expected


def test_the_order_in_which_streams_are_asked_for_does_not_matter():
    streams = RandomStreams(3, "student", "digits")
    names = ["init", "order/1", "augment/1", "dropout/1"]
    forwards = {name: draws(streams, name) for name in names}
    backwards = {name: draws(streams, name) for name in reversed(names)}
    assert forwards == backwards
    assert len({tuple(values) for values in forwards.values()}) == len(names)


def test_streams_neither_read_nor_move_the_global_state():
    streams = RandomStreams(3, "student", "digits")
    torch.manual_seed(1)
    np.random.seed(1)
    expected = draws(streams, "a")
    torch.manual_seed(2)
    np.random.seed(2)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert draws(streams, "a") == expected
    streams.numpy("a").random(3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_the_global_state_follows_a_stream_inside_the_block_and_is_put_back_after_it():
    streams = RandomStreams(3, "student", "digits")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    with streams.as_global("init"):
        inside = torch.rand(8).tolist()
        torch.rand(100)
    assert torch.equal(torch.get_rng_state(), before)
    assert inside == draws(streams, "init")
    torch.manual_seed(8)
    with streams.as_global("init"):
        assert torch.rand(8).tolist() == inside


def test_the_global_state_is_put_back_after_an_error_too():
    def fail_inside() -> None:
        with RandomStreams(3, "student", "digits").as_global("init"):
            torch.rand(8)
            raise RuntimeError("on purpose")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="on purpose"):
        fail_inside()
    assert torch.equal(torch.get_rng_state(), before)


def test_blocks_may_lie_inside_each_other():
    streams = RandomStreams(3, "student", "digits")
    with streams.as_global("a"):
        undisturbed = torch.rand(8)
    with streams.as_global("a"):
        first = torch.rand(4)
        with streams.as_global("b"):
            torch.rand(100)
        rest = torch.rand(4)
    torch.testing.assert_close(torch.cat([first, rest]), undisturbed, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_state_of_every_gpu_follows_the_stream_and_is_put_back():
    before = torch.cuda.get_rng_state_all()
    with RandomStreams(3, "student", "digits").as_global("init"):
        torch.rand(8, device="cuda")
    for own, old in zip(torch.cuda.get_rng_state_all(), before, strict=True):
        assert torch.equal(own, old)
