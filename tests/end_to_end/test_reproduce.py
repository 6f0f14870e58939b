"""A tiny sweep is exported, trained again from nothing, and tampered with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mlfd_tune.cli import main
from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_sweep

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("reproduce")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a confirmed sweep on one dataset, exported to ``best``."""
    folder = tmp_path_factory.mktemp("reproduce")
    sweep = tiny_sweep(resources={"workers": 1}, targets=["digits"])
    sweep["search"] |= {"trials": 1, "scheduler": "none"}
    write_yaml(folder / "tiny.yaml", sweep)
    mlfd_tune("run", "tiny.yaml", cwd=folder)
    mlfd_tune("export", "tiny", "-o", "best", "--format", "yaml,json,safetensors", cwd=folder)
    return folder


def reproduce(*arguments: str | Path, expect: int) -> str:
    """Run the command in this process and return what it prints."""
    done = CliRunner().invoke(main, ["reproduce", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == expect, done.output
    return done.output


def tampered(home: Path, folder: Path, **expected: float) -> Path:
    """Return a copy of the bundle with other expected values (``val/acc1`` as ``val_acc1``)."""
    shutil.copytree(home / "best", folder / "best")
    file = folder / "best" / "digits.yaml"
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    content["provenance"]["expected"] |= {
        name.replace("_", "/"): value for name, value in expected.items()
    }
    write_yaml(file, content)
    return file


def test_every_seed_is_trained_again_from_nothing_to_the_same_accuracy(home: Path) -> None:
    done = mlfd_tune("reproduce", "best", "--seeds", "all", "--json", cwd=home)

    (told,) = json.loads(done.stdout)
    assert told["reproduced"]
    assert told["status"] == "confirmed"
    assert told["differences"] == []
    assert told["reused_stages"] == 0
    assert [finding["metric"] for finding in told["findings"]] == ["val/acc1", "test/acc1"]
    expected = yaml.safe_load((home / "best/digits.yaml").read_text())["provenance"]["expected"]
    for finding in told["findings"]:
        assert finding["exact"]
        assert len(finding["found"]) == 2
        for seed, value in finding["found"].items():
            assert value == expected[f"{finding['metric']} seed {seed}"]


def test_what_an_existing_store_has_is_reused_and_said(home: Path) -> None:
    out = reproduce(home / "best/digits.json", "--store", home / ".mlfd/store", expect=0)

    assert "digits: reproduced: val/acc1 of seed" in out
    assert "found exactly that" in out
    assert "stages were in the store and not trained again" in out


def test_another_expected_value_is_not_reproduced(home: Path, tmp_path: Path) -> None:
    file = tampered(home, tmp_path, val_acc1=99.5)

    out = reproduce(file, "--store", home / ".mlfd/store", expect=1)

    (line,) = [line for line in out.splitlines() if line.startswith("digits: ")]
    assert line.startswith("digits: NOT reproduced: val/acc1 of seed ")
    assert "expected 99.5000" in line
    assert "found " in line


def test_another_stated_mean_is_not_reproduced(home: Path, tmp_path: Path) -> None:
    file = tampered(home, tmp_path, **{"test_acc1 mean": 99.5})

    out = reproduce(file, "--store", home / ".mlfd/store", expect=1)

    assert "the stated mean 99.5000 is not that of the recorded seeds" in out


def test_other_weights_are_refused_before_anything_is_trained(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "best", tmp_path / "best")
    weights = tmp_path / "best" / "digits.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")

    out = reproduce(tmp_path / "best", expect=2)

    assert "digits.safetensors is not the file that was exported with it" in out
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere",), "no such file or folder: nowhere"),
        (("tiny.yaml",), "kind: 'sweep' is no exported configuration (allowed: train)"),
        (("best", "--seeds", "9"), "--seeds 9: "),
        (("best", "--seeds", "some"), "--seeds some: must be a number of seeds from 1 up, or all"),
        (("best", "--set", "method=kd"), "--set method=kd: only where data and weights lie"),
        (("best", "--device", "tpu"), "--device tpu: there is no such device here"),
    ],
    ids=["missing", "sweep", "too many", "no number", "settings", "device"],
)
def test_bad_input_is_told_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(home)

    (line,) = reproduce(*arguments, expect=2).splitlines()

    assert line.startswith("error: ")
    assert told in line


def test_other_data_than_the_exports_is_refused(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "best", tmp_path / "best")
    file = tmp_path / "best" / "digits.yaml"
    content = yaml.safe_load(file.read_text())
    content["datasets"]["photos"]["split_seed"] = 1
    write_yaml(file, content)

    out = reproduce(file, expect=2)

    assert "datasets.photos: is not the data of the export" in out
