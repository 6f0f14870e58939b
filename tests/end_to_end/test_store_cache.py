"""`store.cache`: what is stored changes bytes and time, and no number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_pipeline


@pytest.mark.slow
def test_an_experiment_has_the_same_numbers_whatever_is_stored(tmp_path: Path) -> None:
    design = {"kind": "grid", "factors": {"method": ["mlfd", "own_teacher"]}}
    content = {"kind": "ablation", **tiny_pipeline(targets=["digits"]), "design": design}
    values, kinds = {}, {}
    for plan in ("targets", "none"):
        (tmp_path / plan).mkdir()
        write_yaml(tmp_path / plan / "arms.yaml", content | {"seeds": 1, "store": {"cache": plan}})
        done = mlfd_tune("run", "arms.yaml", "--json", cwd=tmp_path / plan)
        values[plan] = [row["values"] for row in json.loads(done.stdout)["rows"]]
        folders = (tmp_path / plan / ".mlfd" / "store" / "artifacts").iterdir()
        kinds[plan] = {folder.name for folder in folders}
        assert ("cache:" in done.stderr) == (plan != "targets")
    assert values["none"] == values["targets"]
    assert kinds["targets"] - kinds["none"] == {"targets", "features"}
