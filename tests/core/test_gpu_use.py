from __future__ import annotations

from typing import Any

import pytest
import torch

from mlfd_tune.core.gpu_use import GpuMeter, GpuUse, most_per_gpu, trials_per_gpu

GB = 10**9


@pytest.mark.parametrize(
    ("use", "cpus", "threads", "options", "trials", "reason"),
    [
        (GpuUse(2 * GB, 24 * GB), 64, 1, {}, 10, "one takes 2.0 GB of 24.0 GB"),
        (GpuUse(2 * GB, 24 * GB), 64, 1, {"margin": 0.0}, 12, "one takes 2.0 GB of 24.0 GB"),
        (GpuUse(2 * GB, 24 * GB), 16, 4, {}, 4, "one takes 4 of 16 CPUs"),
        (GpuUse(2 * GB, 24 * GB, 0.3), 64, 1, {}, 4, "one keeps the GPU busy 30% of the time"),
        (GpuUse(2 * GB, 24 * GB, 0.5), 64, 1, {}, 2, "one keeps the GPU busy 50% of the time"),
        (GpuUse(2 * GB, 24 * GB, 1.0), 64, 1, {}, 1, "one keeps the GPU busy 100% of the time"),
        (GpuUse(2 * GB, 24 * GB, 0.0), 64, 1, {}, 10, "one takes 2.0 GB of 24.0 GB"),
        (GpuUse(GB, 140 * GB), 64, 1, {}, 16, "at most 16 processes share a GPU"),
        (GpuUse(GB, 140 * GB), 64, 1, {"most": 3}, 3, "at most 3 processes share a GPU"),
        (GpuUse(23 * GB, 24 * GB), 64, 1, {}, 1, "one takes 23.0 GB of 24.0 GB"),
        (GpuUse(GB, 24 * GB), 2, 4, {}, 1, "one takes 4 of 2 CPUs"),
        (GpuUse(0, 24 * GB), 64, 1, {}, 16, "at most 16 processes share a GPU"),
    ],
)
def test_the_scarcest_of_memory_time_and_cpus_sets_how_many_share_a_gpu(
    use: GpuUse, cpus: float, threads: float, options: dict[str, Any], trials: int, reason: str
) -> None:
    packed = trials_per_gpu(use, cpus, threads, **options)
    assert (packed.trials, packed.reason) == (trials, reason)


def test_no_gpu_has_more_workers_than_its_cpus_carry() -> None:
    assert most_per_gpu(cpus=16, threads=1) == 16
    assert most_per_gpu(cpus=16, threads=4) == 4
    assert most_per_gpu(cpus=1, threads=4) == 1
    assert most_per_gpu(cpus=256, threads=1) == 16


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured() -> None:
    meter = GpuMeter()
    meter.begin()
    assert meter.read() is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_s_memory_is_measured_at_its_peak() -> None:
    meter = GpuMeter()
    meter.begin()
    block = torch.empty(256 * 2**20, dtype=torch.uint8, device="cuda")
    del block
    torch.cuda.empty_cache()
    use = meter.read()
    assert use is not None
    assert 256 * 2**20 < use["bytes"] < use["total"]
