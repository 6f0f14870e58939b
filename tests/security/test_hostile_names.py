"""Names that would lead out of a folder or steer a terminal, through the real command."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mlfd_tune.cli import main
from mlfd_tune.core.data.prepare import paths_checked
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.names import LONGEST_NAME, file_stem, problem_with_name
from tests.helpers.folders import write_folder_dataset

SWEEP: dict[str, Any] = {
    "kind": "sweep",
    "datasets": {"digits": {"source": "digits", "train_size": 60}},
    "teacher": {"arch": "test_resnet", "train": {"epochs": 1}},
    "student": {"train": {"epochs": 1}},
    "joint_teacher": {"levels": "L1", "width": 16, "train": {"epochs": 1}},
    "search": {"trials": 1, "space": {"distillation.alpha": {"float": [0.1, 2.0]}}},
}

PROVENANCE: dict[str, Any] = {
    "experiment": "exp",
    "run_id": "0",
    "tracking_uri": "sqlite:///mlflow.db",
    "versions": {},
    "data": {},
    "artifacts": {},
    "seed": 0,
    "status": "confirmed",
    "expected": {"val/acc1": 50.0},
}

HOSTILE = [
    "../out",
    "..",
    ".",
    "",
    "/tmp/out",
    "a/b",
    "a\\b",
    "C:out",
    "-rf",
    ".hidden",
    "nul",
    "COM1",
    "a\0b",
    "a\nb",
    "a\x1b[31mb",
    "a\u202eb",
    "a b*",
    "x" * (LONGEST_NAME + 1),
    "犬" * 90,
]


def identify(name: str) -> str:
    return ascii(name[:12])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to call the command in; nothing may appear beside it either."""
    inside = tmp_path / "above" / "inside"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    before = sorted(tmp_path.rglob("*"))
    files = {file.relative_to(tmp_path) for file in before}
    yield inside
    left = {file.relative_to(tmp_path) for file in tmp_path.rglob("*")} - files
    assert {path for path in left if path.parts[:2] != ("above", "inside")} == set()


def refused(folder: Path, content: Any, file: str = "exp.yaml", command: str = "run") -> str:
    """Call the command, which must refuse in lines without anything that a terminal obeys."""
    path = folder / file
    path.write_text(yaml.safe_dump(content, allow_unicode=False), encoding="utf-8")
    result = CliRunner().invoke(main, [command, "--", file])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for line in result.stderr.splitlines():
        assert line.startswith("error: "), result.stderr
        assert line.isprintable(), ascii(line)
    assert sorted(folder.iterdir()) == [path]
    return result.stderr


@pytest.mark.parametrize("name", HOSTILE, ids=identify)
def test_a_dataset_cannot_be_called_so(folder: Path, name: str) -> None:
    content = copy.deepcopy(SWEEP)
    content["datasets"] = {name: {"source": "digits"}}

    told = refused(folder, content)

    assert ("is no name for a dataset" in told) or ("NUL character" in told)
    assert told.count("\n") == 1


@pytest.mark.parametrize("name", HOSTILE, ids=identify)
def test_an_experiment_cannot_be_called_so(folder: Path, name: str) -> None:
    told = refused(folder, SWEEP | {"name": name})

    assert told.startswith("error: exp.yaml: name: ") or "NUL character" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("file", ["...yaml", "..yaml", "-x.yaml", "a\x1b[31m.yaml", "a\nb.yaml"])
def test_an_experiment_is_not_called_after_every_file(folder: Path, file: str) -> None:
    told = refused(folder, SWEEP, file)

    assert "name: this key is needed" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("section", ["teachers", "students"])
def test_unknown_names_are_quoted_harmlessly(folder: Path, section: str) -> None:
    refused(folder, SWEEP | {section: {"\x1b]0;owned\x07": {"arch": "test_resnet"}}})


def test_keys_and_values_are_quoted_harmlessly(folder: Path) -> None:
    hostile = "\x1b[2J\u202e[red]x[/red]\n"
    content = SWEEP | {hostile: 1, "method": hostile, "search": SWEEP["search"] | {hostile: {}}}

    told = refused(folder, content)

    assert "\\x1b[2J" in told
    assert "[red]x[/red]" in told


@pytest.mark.parametrize("name", ["../planted", "/etc/passwd", "a\nb", ".."])
def test_an_export_names_files_beside_it_only(folder: Path, name: str) -> None:
    content = {key: SWEEP[key] for key in SWEEP if key != "search"}
    content |= {
        "kind": "train",
        "target": "digits",
        "provenance": PROVENANCE | {"files": {name: ""}},
    }

    told = refused(folder, content, command="reproduce")

    assert "provenance" in told


def test_class_names_are_shown_harmlessly(folder: Path) -> None:
    write_folder_dataset(folder / "pictures", "digits", 2, 12)
    old = folder / "pictures" / "train" / "0"
    old.rename(old.with_name("\x1b]8;;http:evil\x07[red]\u202e"))

    result = CliRunner().invoke(main, ["data", "check", "pictures"])

    shown = result.output.replace("\n", "")
    assert shown.isprintable(), ascii(result.output)


@pytest.mark.parametrize("name", HOSTILE, ids=identify)
def test_no_name_from_a_server_becomes_a_files(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a file's name") as caught:
        file_stem(name, "the dataset")

    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["digits", "my data", "犬", "a.b-c_d", "x" * LONGEST_NAME, "console"]
)
def test_ordinary_names_are_taken(name: str) -> None:
    assert problem_with_name(name) is None
    assert file_stem(name, "the dataset") == name


def test_archives_are_unpacked_in_their_folder_only(folder: Path) -> None:
    import io
    import tarfile

    archive = folder / "data.tar"
    with tarfile.open(archive, "w") as file:
        member = tarfile.TarInfo("../../planted")
        member.size = 3
        file.addfile(member, io.BytesIO(b"bad"))

    with paths_checked(), pytest.raises(tarfile.FilterError), tarfile.open(archive) as file:
        file.extractall(folder / "unpacked")  # as one that asks for no checks
