from __future__ import annotations

import pytest
import torch

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Store, walk
from tests.helpers.pipelines import pipeline

LINEUPS = {
    "residual networks, L4, shared heads": {"joint_teacher": {"levels": "L4", "heads": "shared"}},
    "mixed, L1": {
        "teachers": {"two": {"arch": "test_vit"}},
        "student": {"arch": "test_convnext"},
        "joint_teacher": {"levels": "L1"},
    },
}


@pytest.mark.parametrize("changes", LINEUPS.values(), ids=LINEUPS)
def test_no_artifact_is_larger_than_estimated_nor_much_smaller(store, changes):
    made = pipeline(**changes)
    for stage in walk([made.student("one"), made.student("two", "none")]):
        estimate = stage.estimate_bytes()
        size = store.get_or_compute(stage).manifest.bytes
        assert 0.8 * estimate - 8192 <= size <= estimate, stage.label


def test_estimating_draws_nothing_and_needs_no_artifact():
    made = pipeline(joint_teacher={"levels": "L3"})
    before = torch.get_rng_state()
    assert all(stage.estimate_bytes() > 0 for stage in walk([made.student("one")]))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_networks_estimate_follows_its_parameters_at_full_size():
    stage = pipeline(teacher={"arch": "resnet18"}).teacher("one")
    assert stage.estimate_bytes() == pytest.approx(11.2e6 * 4, rel=0.01)


def test_a_teacher_that_does_not_fit_the_budget_is_refused_before_it_is_trained(store, tmp_path):
    made = pipeline()
    room = store.get_or_compute(made.dataset("one")).manifest.bytes + 10_000
    small = Store(tmp_path, max_bytes=room)
    with pytest.raises(UserError, match=r"no space left for teacher one .*needs 1\.5 MB"):
        small.get_or_compute(made.teacher("one"))
