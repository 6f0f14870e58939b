from __future__ import annotations

import pytest
import torch

from benchmarks.fused import run
from benchmarks.fused_students import (
    DIFFERENCES_ALLOWED,
    Apart,
    Batch,
    Case,
    Fused,
    Grouped,
    Vmapped,
    differences,
    renderings,
)

FUSIONS = [
    ("test_resnet", Grouped),
    ("test_resnet", Vmapped),
    ("test_efficientnet", Grouped),
    ("test_efficientnet", Vmapped),
    ("test_convnext", Vmapped),
]


@pytest.mark.parametrize(("arch", "fused"), FUSIONS)
@pytest.mark.parametrize("dtype", DIFFERENCES_ALLOWED)
def test_students_fused_are_as_students_apart(
    arch: str, fused: type[Fused], dtype: torch.dtype
) -> None:
    got = differences(fused, Case(arch, 3, batch=4, dtype=dtype))
    for kind, allowed in DIFFERENCES_ALLOWED[dtype].items():
        assert got[kind] <= allowed, kind


@pytest.mark.parametrize("fused", [Grouped, Vmapped])
def test_every_student_has_weights_and_running_statistics_of_its_own(fused: type[Fused]) -> None:
    case, cpu = Case("test_efficientnet", 2, batch=4), torch.device("cpu")
    apart, team = Apart(case, cpu), fused(case, cpu)
    for students in (apart, team):
        students.train([Batch(case, 0, cpu)])
    first, second = (state["states"] for state in team.states())
    assert first.keys() == apart.states()[0]["states"].keys()
    for name in (n for n in first if n.endswith(("conv_stem.weight", "running_mean"))):
        assert not torch.equal(first[name], second[name]), name
    assert {int(first[n]) for n in first if n.endswith("num_batches_tracked")} == {1}


def test_networks_with_other_layers_than_come_in_groups_are_fused_by_vmap_alone() -> None:
    assert renderings(Case("test_resnet", 2)) == [Grouped, Vmapped]
    assert renderings(Case("test_convnext", 2)) == [Vmapped]


@pytest.mark.slow
def test_the_benchmark_runs_and_says_that_fused_and_apart_are_equal() -> None:
    text = run(quick=True).markdown()
    assert "test_efficientnet" in text
    assert "the same weights, running statistics and optimiser moments" in text
