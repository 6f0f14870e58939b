"""A sweep over a user's own folders of images, by a YAML file alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_sweep
from tests.helpers.folders import write_folder_dataset

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("folders")]


def test_three_folders_of_unequal_size_classes_and_format(tmp_path: Path) -> None:
    write_folder_dataset(tmp_path / "numbers", "digits", 4, 30, 8, ".png")
    write_folder_dataset(tmp_path / "scripts", "letters", 6, 20, 5, ".jpg")
    write_folder_dataset(tmp_path / "scenes", "photos", 3, 12, 0, ".webp")
    content = tiny_sweep(
        datasets={
            name: {"source": "folder", "path": name} for name in ("numbers", "scripts", "scenes")
        },
        teachers={"scripts": {"arch": "test_convnext"}},
    )
    content["joint_teacher"]["heads"] = "shared"
    content["search"]["trials"] = 2
    content["student"] = {"train": {"epochs": 2, "lr": 3.0e-3}}
    write_yaml(tmp_path / "folders.yaml", content)

    mlfd_tune("run", "folders.yaml", cwd=tmp_path)

    rows = json.loads(mlfd_tune("leaderboard", "folders", "--format", "json", cwd=tmp_path).stdout)
    confirmed = {(row["dataset"], row["method"]) for row in rows if row["status"] == "confirmed"}
    assert confirmed == {
        (dataset, method)
        for dataset in ("numbers", "scripts", "scenes")
        for method in ("mlfd", "own_teacher", "none")
    }
