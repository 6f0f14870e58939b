"""An ablation: every arm on the same seeds, compared with the reference arm."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mlfd_tune.tune.timeline import read_timeline
from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ablation")]


def test_arms_are_paired_by_seed_and_compared_with_the_reference(tmp_path: Path) -> None:
    content = {
        "kind": "ablation",
        **tiny_pipeline(targets=["digits"]),
        "design": {
            "kind": "one_at_a_time",
            "factors": {"method": ["none", "own_teacher"], "distillation.alpha": [0.0]},
        },
        "seeds": 2,
    }
    write_yaml(tmp_path / "arms.yaml", content)

    done = mlfd_tune("run", "arms.yaml", cwd=tmp_path)

    rows = json.loads(mlfd_tune("leaderboard", "arms", "--format", "json", cwd=tmp_path).stdout)
    by_arm = {row["arm"]: row for row in rows}
    assert set(by_arm) == {"base", "method=none", "method=own_teacher", "alpha=0.0"}
    assert {row["n_seeds"] for row in rows} == {2}
    assert {row["test/acc1"] for row in rows} == {None}
    printed = re.search(r"method=none +([\d.]+) .* ([+-][\d.]+) \[", done.stdout)
    assert printed is not None, done.stdout
    difference = by_arm["method=none"]["val/acc1"] - by_arm["base"]["val/acc1"]
    assert float(printed[1]) == pytest.approx(by_arm["method=none"]["val/acc1"], abs=0.005)
    assert float(printed[2]) == pytest.approx(difference, abs=0.01)
    # The leaderboard pairs an arm with those that differ from it in the method, and in what is
    # nothing to the other method: alpha has no part in learning from labels alone.
    assert by_arm["base"]["gain"] == pytest.approx(-difference, abs=0.01)
    assert by_arm["base"]["gain_over_own_teacher"] is not None
    assert by_arm["alpha=0.0"]["gain"] is not None
    assert by_arm["alpha=0.0"]["gain_over_own_teacher"] is None


def test_named_arms_may_be_methods_and_the_joint_teacher_itself(tmp_path: Path) -> None:
    content = {
        "kind": "ablation",
        **tiny_pipeline(),
        "design": {
            "kind": "compare",
            "arms": {
                "dataset-specific": {"method": "none"},
                "student L1": {"method": "mlfd", "joint_teacher.levels": "L1"},
                "joint teacher L1": {"method": "joint_teacher", "joint_teacher.levels": "L1"},
            },
        },
        "seeds": 2,
        "metric": "test/acc1",
    }
    write_yaml(tmp_path / "named.yaml", content)

    done = mlfd_tune("run", "named.yaml", "--json", cwd=tmp_path)

    rows = json.loads(done.stdout)["rows"]
    arms = ["dataset-specific", "student L1", "joint teacher L1"]
    assert [(row["dataset"], row["arm"]) for row in rows] == [
        (dataset, arm) for dataset in ("digits", "photos") for arm in arms
    ]
    assert all(len(row["values"]) == 2 for row in rows)
    board = json.loads(mlfd_tune("leaderboard", "named", "--format", "json", cwd=tmp_path).stdout)
    with_gain = {row["arm"] for row in board if row["gain"] is not None}
    assert with_gain == {"student L1"}


def test_arms_that_train_the_same_student_train_it_once(tmp_path: Path) -> None:
    content = {
        "kind": "ablation",
        **tiny_pipeline(targets=["digits"], method="none"),
        "design": {
            "kind": "compare",
            "arms": {"one": {"distillation.alpha": 0.5}, "other": {"distillation.alpha": 1.0}},
        },
        "seeds": 2,
        "resources": {"workers": 2},
    }
    write_yaml(tmp_path / "twins.yaml", content)

    mlfd_tune("run", "twins.yaml", cwd=tmp_path)

    (session,) = read_timeline(next(tmp_path.glob("runs/twins/*")))
    arms = [span for span in session.spans if span.is_trial]
    assert sorted(span.reused for span in arms) == [False, False, True, True]
    assert not any(span.waited for span in arms), "for another worker to train the same"
