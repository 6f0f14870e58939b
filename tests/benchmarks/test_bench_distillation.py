from __future__ import annotations

import pytest

from benchmarks.distillation import OURS, WORKERS, run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_distillation_benchmark_runs_and_both_ways_have_the_same_loss():
    report = run(quick=True)  # raises where the first losses differ
    assert {row[3] for row in report.rows} == {OURS, *WORKERS}
    assert len(report.bars) == 8
    assert "the first batch's loss is" in report.markdown()
