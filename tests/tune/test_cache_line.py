"""What of features and targets a run would store, before it runs."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mlfd_tune.config import load_experiment
from mlfd_tune.tune import Sweep
from mlfd_tune.tune.dry_run import Plan, describe_plan, print_plan
from tests.helpers.command import write_yaml
from tests.helpers.experiments import tiny_sweep


def planned(folder: Path, **store: Any) -> Plan:
    content = tiny_sweep(targets=["digits"])
    content["store"] = {"path": str(folder / "store"), **store}
    return describe_plan(Sweep.of(load_experiment(write_yaml(folder / "sweep.yaml", content))))


def printed(plan: Plan) -> str:
    out = StringIO()
    print_plan(plan, Console(file=out, width=200))
    return out.getvalue()


@pytest.mark.parametrize(
    ("cache", "left_out"),
    [("targets", set()), ("features", {"targets"}), ("none", {"features", "targets"})],
)
def test_a_plan_shows_what_is_stored_and_what_it_takes(tmp_path, cache, left_out):
    everything, plan = planned(tmp_path, cache="targets"), planned(tmp_path, cache=cache)
    missing = [p for p in everything.stages if p.stage.stage_name in left_out]
    assert {p.stage.stage_name for p in missing} == left_out
    kept = [p.stage.key for p in everything.stages if p not in missing]
    assert [p.stage.key for p in plan.stages] == kept
    assert plan.bytes_needed == everything.bytes_needed - sum(p.bytes for p in missing)
    assert f"cache: {cache} (as set)" in printed(plan)
    assert plan.as_json()["cache"] == {"plan": cache, "reason": "as set"}


def test_a_budget_that_has_no_room_for_targets_is_met_without_them(tmp_path):
    everything = planned(tmp_path)
    assert everything.caching.plan == "targets"
    assert " left)" in printed(everything)
    plan = planned(tmp_path, max_bytes=everything.bytes_needed - 1)
    assert plan.caching.plan in ("features", "none")
    assert plan.bytes_needed < everything.bytes_needed
    assert "with targets" in printed(plan)


def test_without_features_the_joint_teacher_is_who_reads_the_teachers(tmp_path):
    plan = planned(tmp_path, cache="none")
    of_teachers = [p.used_by for p in plan.stages if p.stage.stage_name == "teacher"]
    assert len(of_teachers) == 2
    assert all(label.startswith("joint teacher") for used in of_teachers for label in used)
    assert all(len(used) == len(set(used)) == 2 for used in of_teachers)
