"""Speed is measured of the network alone; what it computes is what a reading computes."""

from __future__ import annotations

import pytest
import torch

from mlfd_tune.core.stages import Reader
from mlfd_tune.core.stages.throughput import classifier_of, images_per_second
from tests.helpers.pipelines import pipeline

CPU = torch.device("cpu")


@pytest.mark.parametrize("method", ["none", "joint_teacher"])
def test_blank_images_are_classified_in_batches_of_any_size(store, method):
    stage = pipeline().student("one", method)
    inputs = {n: store.get_or_compute(s) for n, s in stage.reader().inputs(stage.data).items()}
    classify = classifier_of(stage.reader(), inputs, CPU)
    assert classify is not None
    with torch.inference_mode():
        assert classify(3).shape == (3, stage.data.num_classes)
    speeds = images_per_second({"it": (classify, 1)}, CPU, batch_sizes=(1, 4), repeats=2, seconds=0)
    assert list(speeds["it"]) == [1, 4]
    assert min(speeds["it"].values()) > 0


def test_networks_take_turns():
    calls: list[tuple[str, int]] = []

    def recorded(name: str):
        def classify(count: int) -> torch.Tensor:
            calls.append((name, count))
            return torch.zeros(count, 2)

        return classify

    both = {"a": (recorded("a"), 1), "b": (recorded("b"), 1)}
    images_per_second(both, CPU, (2,), repeats=3, seconds=0)
    assert len(calls) >= 6
    assert calls[::2] == [("a", 2)] * (len(calls) // 2)
    assert calls[1::2] == [("b", 2)] * (len(calls) // 2)


def test_the_speed_of_an_unknown_kind_of_reader_is_not_told():
    class Other(Reader):
        def inputs(self, data):
            return {}

        def read(self, inputs, split, device):
            return iter(())

        def parameters(self, inputs):
            return 0

    assert classifier_of(Other(), {}, CPU) is None
