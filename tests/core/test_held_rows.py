from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from mlfd_tune.core.held_rows import HeldRows, fits, mapped

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU"))]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", array)
    return tmp_path / "rows.npy"


@pytest.mark.parametrize("device", DEVICES)
def test_rows_are_those_of_the_file_wherever_they_are_held(file, device):
    rows, array = HeldRows(mapped(file), torch.device(device)), np.load(file)
    chosen = torch.tensor([7, 0, 7, 19])
    taken = rows.take(chosen)
    assert taken.device.type == device
    np.testing.assert_array_equal(taken.cpu().numpy(), array[chosen.numpy()])
    np.testing.assert_array_equal(rows.between(5, 9).cpu().numpy(), array[5:9])
    assert len(rows) == 20
    assert rows.shape == (20, 3, 4, 4)


def test_what_was_taken_may_be_written_and_the_file_stays(file):
    rows, before = HeldRows(mapped(file), CPU), np.load(file)
    rows.take(torch.arange(20)).zero_()
    np.testing.assert_array_equal(np.load(file), before)
    np.testing.assert_array_equal(rows.between(0, 20).numpy(), before)


def test_mapping_a_file_warns_of_nothing(file):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped(file)


@pytest.mark.parametrize("device", DEVICES)
def test_a_little_fits_and_more_than_there_is_does_not(device):
    assert fits(1000, torch.device(device))
    assert not fits(1 << 60, torch.device(device))
