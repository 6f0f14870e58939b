from __future__ import annotations

import pytest
import torch

from benchmarks.packing import run


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_that_nothing_was_measured() -> None:
    report = run(quick=True)
    assert report.notes == ["Not measured: there is no GPU here."]
    assert not report.rows
    assert not report.bars


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_compares_a_packed_one_with_a_trial_alone() -> None:
    report = run(quick=True)
    assert report.rows[0][0] == 1
    assert len(report.bars) == 1
