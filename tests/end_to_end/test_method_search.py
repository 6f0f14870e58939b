"""The method itself is searched, confirmed beside baselines and controls, exported and repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_sweep

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("methods")]

METHODS = ["kd", "fitnet", "unic", "self_distillation"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    search = {
        "trials": len(METHODS),
        "sampler": "grid",
        "scheduler": "none",
        "space": {"method": {"choice": METHODS}},
    }
    content = tiny_sweep(
        search=search,
        targets=["digits"],
        confirm={"top_k": 1, "seeds": 2, "compare": ["multi_head", "joint_head"]},
        unic={"hidden": 16, "last_hidden": 32},
    )
    write_yaml(folder / "methods.yaml", content)
    plan = mlfd_tune("run", "methods.yaml", "--dry-run", cwd=folder).stdout
    assert "4 search, 10 confirmation" in plan
    mlfd_tune("run", "methods.yaml", cwd=folder)
    return folder


def rows(folder: Path, *options: str) -> list[dict[str, object]]:
    shown = mlfd_tune("leaderboard", "methods", "--format", "json", *options, cwd=folder)
    return json.loads(shown.stdout)


def test_every_method_has_its_trial_and_the_best_is_confirmed_beside_all_others(folder: Path):
    provisional = {row["method"] for row in rows(folder, "--status", "provisional")}
    confirmed = {row["method"]: row for row in rows(folder, "--status", "confirmed")}
    best = set(confirmed) - {"none", "own_teacher", "multi_head", "joint_head"}
    assert len(best) == 1
    assert provisional | best == set(METHODS)
    assert {row["n_seeds"] for row in confirmed.values()} == {2}
    assert confirmed[best.pop()]["gain"] is not None


def test_what_is_exported_is_a_method_and_trains_again_to_the_same_accuracy(folder: Path):
    mlfd_tune("export", "methods", "-o", "best", cwd=folder)
    exported = yaml.safe_load((folder / "best" / "digits.yaml").read_text())
    assert exported["method"] in {"kd", "fitnet", "unic"}, "controls are no candidates"
    again = mlfd_tune("train", "best/digits.yaml", "--json", cwd=folder)
    assert json.loads(again.stdout)["reproduced"] is True
