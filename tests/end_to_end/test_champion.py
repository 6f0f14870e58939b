"""From a sweep to a picture's class: the champion scores a PNG in a process that knows nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mlflow import MlflowClient
from PIL import Image

from mlfd_tune.cli.registering import register
from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.stages.images import ImageBatches
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Artifact
from tests.helpers.command import ENVIRONMENT, mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_sweep

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("champion")]

CPU = torch.device("cpu")
PICTURES = 4

# What docs/leaderboard.md tells somebody to type who has nothing but a name and pictures.
PAGE = (Path(__file__).parents[2] / "docs" / "leaderboard.md").read_text(encoding="utf-8")
LOAD = PAGE.split("```python\n")[1].split("```")[0].replace("quickstart.", "champions.")
SCORE = """
import json, sys
named = [name_of(path) for path in sys.argv[1:]]
imported = [name for name in ("mlfd_tune", "timm", "ray") if name in sys.modules]
print(json.dumps({"named": named, "imported": imported}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a small sweep was run and its best model registered."""
    folder = tmp_path_factory.mktemp("champion")
    sweep = tiny_sweep(targets=["digits"], resources={"workers": 1})
    sweep["search"] |= {"trials": 2}
    write_yaml(folder / "champions.yaml", sweep)
    mlfd_tune("run", "champions.yaml", cwd=folder)
    (found,) = register_again(folder)
    assert (found["uri"], found["version"]) == ("models:/champions.digits@champion", "1")
    return folder


def register_again(folder: Path) -> list[dict[str, object]]:
    arguments = ["champions", "--uri", f"sqlite:///{folder}/mlflow.db", "--json"]
    arguments += ["--store", str(folder / ".mlfd" / "store")]
    result = CliRunner().invoke(register, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return list(json.loads(result.stdout))


def test_a_fresh_process_names_pictures_as_the_stored_student_does(folder: Path) -> None:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    version = client.get_model_version_by_alias("champions.digits", "champion")
    store = folder / ".mlfd" / "store" / "artifacts"
    student = Artifact.open(store / "student" / version.tags["mlfd.artifact_key"])
    data = PackedDataset(store / "dataset" / student.manifest.inputs["dataset"])
    with torch.inference_mode():
        images, _ = next(ImageBatches(data, "test", CPU).clean())
        logits, _ = load_backbone(student.path, CPU)(images[:PICTURES])
    expected = [data.classes[index] for index in logits.argmax(dim=1).tolist()]

    names = [f"{number}.png" for number in range(PICTURES)]
    for name, pixels in zip(names, data.images("test"), strict=False):
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(folder / name)
    done = subprocess.run(
        [sys.executable, "-c", LOAD + SCORE, *names],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"named": expected, "imported": []}


def test_registering_again_changes_nothing(folder: Path) -> None:
    (again,) = register_again(folder)
    assert (again["version"], again["is_new"], again["is_champion"]) == ("1", False, True)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    assert len(client.search_model_versions("name = 'champions.digits'")) == 1
