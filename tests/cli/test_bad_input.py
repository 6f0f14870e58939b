"""Every kind of bad input gives clear lines, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mlfd_tune.cli import main
from mlfd_tune.config import assign
from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.folders import write_folder_dataset

SWEEP: dict[str, Any] = {
    "kind": "sweep",
    "datasets": {
        "digits": {"source": "digits", "train_size": 60},
        "mine": {"source": "folder", "path": "pictures"},
    },
    "teacher": {"arch": "test_resnet", "train": {"epochs": 1}},
    "student": {"train": {"epochs": 1}},
    "joint_teacher": {"levels": "L2", "width": 16, "train": {"epochs": 1}},
    "search": {"trials": 2, "space": {"distillation.alpha": {"float": [0.1, 2.0]}}},
}
ABLATION: dict[str, Any] = {key: SWEEP[key] for key in SWEEP if key != "search"} | {
    "kind": "ablation",
    "design": {"factors": {"distillation.alpha": [0.0, 0.6]}},
}
TRAIN: dict[str, Any] = {key: SWEEP[key] for key in SWEEP if key != "search"} | {
    "kind": "train",
    "target": "digits",
}

Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Mistake:
    """A mistake and what its message must say.

    Attributes:
        name: Of the test.
        says: Parts of the message.
        set: Keys to set in the file.
        file: What the file is before.
        arguments: The command line.
        edit: What to do to the folder that the command is called in.
        lines: How many lines there are to be.
    """

    name: str
    says: tuple[str, ...]
    set: dict[str, Any] | None = None
    file: dict[str, Any] | None = None
    arguments: tuple[str, ...] = ("run", "exp.yaml")
    edit: Edit | None = None
    lines: int = 1


def text(content: str, name: str = "exp.yaml") -> Edit:
    return lambda folder: void((folder / name).write_text(content))


def void(_: object) -> None:
    """Make an expression a statement."""


def empty_class(folder: Path) -> None:
    (folder / "pictures" / "train" / "none").mkdir()


def one_class(folder: Path) -> None:
    (folder / "pictures" / "train" / "1").rename(folder / "elsewhere")


def no_image(folder: Path) -> None:
    (folder / "pictures" / "train" / "0" / "0001.png").write_text("this is no picture")


def damaged_image(folder: Path) -> None:
    file = folder / "pictures" / "train" / "0" / "0001.png"
    file.write_bytes(file.read_bytes()[:60])


def no_folder(folder: Path) -> None:
    (folder / "pictures").rename(folder / "picture")


def include_cycle(folder: Path) -> None:
    (folder / "exp.yaml").write_text("include: other.yaml\nkind: sweep\n")
    (folder / "other.yaml").write_text("include: exp.yaml\n")


def a_database_of_text(folder: Path) -> None:
    (folder / "mlflow.db").write_text("this is not a database" * 10)


SPACE = "search.space"

MISTAKES = [
    Mistake(
        "unknown key",
        ("exp.yaml: distillation.alfa: unknown key", "alpha, ", "did you mean 'alpha'?"),
        {"distillation.alfa": 1},
    ),
    Mistake(
        "unknown key deep inside",
        ("exp.yaml: student.train.epoch: unknown key", "did you mean 'epochs'?"),
        {"student.train.epoch": 3},
    ),
    Mistake(
        "unknown key of the file",
        ("exp.yaml: serach: unknown key", "did you mean 'search'?"),
        {"serach": {}},
    ),
    Mistake(
        "wrong type",
        ("exp.yaml: teacher.train.epochs: must be a whole number (got 'many')",),
        {"teacher.train.epochs": "many"},
    ),
    Mistake(
        "a value in place of a section",
        ("exp.yaml: joint_teacher: must be a mapping of keys to values (got 'L2')",),
        {"joint_teacher": "L2"},
    ),
    Mistake(
        "number that is not finite",
        ("exp.yaml: distillation.alpha: must be a finite number (got inf)",),
        {"distillation.alpha": float("inf")},
    ),
    Mistake(
        "missing key",
        ("exp.yaml: search.trials: this key is needed",),
        {"search": {"space": SWEEP["search"]["space"]}},
    ),
    Mistake(
        "unknown dataset source",
        ("exp.yaml: datasets.digits.source: unknown dataset source 'digit'", "mean 'digits'?"),
        {"datasets.digits.source": "digit"},
    ),
    Mistake(
        "folder without a path",
        ("exp.yaml: datasets.mine: path is needed when source is 'folder'",),
        {"datasets.mine": {"source": "folder"}},
    ),
    Mistake(
        "unknown target dataset",
        ("exp.yaml: targets: unknown dataset 'digit'", "digits, mine", "did you mean 'digits'?"),
        {"targets": ["digit"]},
    ),
    Mistake(
        "unknown dataset among the teachers",
        ("exp.yaml: teachers", "unknown dataset 'digitz'", "did you mean 'digits'?"),
        {"teachers": {"digitz": {"arch": "test_resnet"}}},
    ),
    Mistake(
        "unknown architecture",
        ("exp.yaml: teacher.arch: unknown architecture 'test_resnt'", "mean 'test_resnet'?"),
        {"teacher.arch": "test_resnt"},
    ),
    Mistake(
        "unknown level",
        ("exp.yaml: joint_teacher.levels: unknown level 'stride23'", "did you mean 'stride32'?"),
        {"joint_teacher.levels": ["embedding", "stride23"]},
    ),
    Mistake(
        "unknown level of beta",
        ("exp.yaml: distillation.beta: unknown level 'stride23'", "did you mean 'stride32'?"),
        {"distillation.beta": {"stride23": 1}},
    ),
    Mistake(
        "level the architecture does not have",
        (
            "exp.yaml: ",
            "teachers.mine.arch: architecture 'levit_128s' has no level 'stride8'",
            "it has: embedding, stride",
        ),
        {
            "joint_teacher.levels": "L4",
            "teachers": {"mine": {"arch": "levit_128s"}},
            "students": {"mine": {"arch": "test_resnet"}},
        },
    ),
    Mistake(
        "unknown adaptor",
        ("exp.yaml: joint_teacher.adaptor: unknown adaptor 'pointwize'", "mean 'pointwise'?"),
        {"joint_teacher.adaptor": "pointwize"},
    ),
    Mistake(
        "adaptor of maps on vectors",
        ("exp.yaml: ", "joint_teacher.adaptor: adaptor 'conv3x3' works on maps only", "linear"),
        {"joint_teacher.levels": "L1", "joint_teacher.adaptor": "conv3x3"},
    ),
    Mistake(
        "unknown augmentation",
        ("exp.yaml: student.train.augment: unknown augmentation 'lite'", "did you mean 'light'?"),
        {"student.train.augment": "lite"},
    ),
    Mistake("zero trials", ("exp.yaml: search.trials: must be", "1 (got 0)"), {"search.trials": 0}),
    Mistake(
        "negative beta",
        ("exp.yaml: distillation.beta.stride32: must be greater than or equal to 0 (got -0.5)",),
        {"distillation.beta": {"stride32": -0.5}},
    ),
    Mistake(
        "temperature zero",
        ("exp.yaml: distillation.temperature: must be greater than 0 (got 0)",),
        {"distillation.temperature": 0},
    ),
    Mistake(
        "unknown sampler",
        ("exp.yaml: search.sampler: unknown value 'tpee'", "did you mean 'tpe'?"),
        {"search.sampler": "tpee"},
    ),
    Mistake(
        "unknown key in the search space",
        ("exp.yaml: search.space.distillation.alfa: unknown key", "did you mean 'alpha'?"),
        {f"{SPACE}.distillation.alfa": {"float": [0.1, 2.0]}},
    ),
    Mistake(
        "range that a key cannot take",
        ("exp.yaml: search.space.distillation.temperature: cannot be 0.0: must be greater than 0",),
        {f"{SPACE}.distillation.temperature": {"float": [0, 4]}},
    ),
    Mistake(
        "choice that a key cannot take",
        ("exp.yaml: search.space.joint_teacher.norm: cannot be 'instance'", "batch, group"),
        {f"{SPACE}.joint_teacher.norm": {"choice": ["batch", "instance"]}},
    ),
    Mistake(
        "malformed range",
        ("exp.yaml: search.space.distillation.alpha", "first bound must be below the second"),
        {f"{SPACE}.distillation.alpha": {"float": [2, 1]}},
    ),
    Mistake(
        "unknown kind of distribution",
        ("exp.yaml: search.space.distillation.alpha: expected one of {float: [low, high]}",),
        {f"{SPACE}.distillation.alpha": {"uniform": [0, 1]}},
    ),
    Mistake(
        "first point outside the space",
        ("exp.yaml: search", "first_points[0]: distillation.alpha cannot be 3", "0.1 to 2"),
        {"search.first_points": [{"distillation.alpha": 3}]},
    ),
    Mistake(
        "unknown factor of an ablation",
        ("exp.yaml: design.factors.distillation.alfa: unknown key", "did you mean 'alpha'?"),
        {"design.factors.distillation.alfa": [0.0, 0.6]},
        file=ABLATION,
    ),
    Mistake(
        "factor's value that a key cannot take",
        ("exp.yaml: design.factors.joint_teacher.levels: cannot be 'L7': unknown level 'L7'",),
        {"design.factors.joint_teacher.levels": ["L1", "L7"]},
        file=ABLATION,
    ),
    Mistake(
        "no space in the store's budget",
        ("exp.yaml: store.max_bytes: no space left for the shared stages", "raise store.max"),
        {"store.max_bytes": "1KB"},
    ),
    Mistake(
        "no space, found in a dry run",
        ("exp.yaml: store.max_bytes: no space left",),
        {"store.max_bytes": "1KB"},
        arguments=("run", "exp.yaml", "--dry-run"),
    ),
    Mistake(
        "malformed size",
        ("exp.yaml: store.max_bytes: 'lots' is not a size", "20GB"),
        {"store.max_bytes": "lots"},
    ),
    Mistake(
        "unknown kind",
        ("exp.yaml: kind: unknown kind 'sweeep'", "ablation, sweep, train", "mean 'sweep'?"),
        {"kind": "sweeep"},
    ),
    Mistake(
        "tracking in a plain folder",
        ("exp.yaml: tracking.uri: 'mlruns' is a folder", "sqlite:///mlflow.db"),
        {"tracking.uri": "mlruns"},
    ),
    Mistake(
        "unknown scheme of the tracking URI",
        ("exp.yaml: tracking.uri: unknown scheme 'sqlit'", "did you mean 'sqlite'?"),
        {"tracking.uri": "sqlit:///mlflow.db"},
    ),
    Mistake(
        "store below a file",
        ("exp.yaml: store.path: cannot make", "exp.yaml is a file"),
        {"store.path": "exp.yaml/store"},
    ),
    Mistake(
        "more training images than there are",
        ("exp.yaml: datasets.digits: ", "train_size"),
        {"datasets.digits.train_size": 1_000_000},
    ),
    Mistake(
        "empty class folder",
        ("exp.yaml: datasets.mine: train/none in dataset folder", "is empty"),
        edit=empty_class,
    ),
    Mistake(
        "dataset of one class",
        ("exp.yaml: datasets.mine: train in dataset folder", "one class only ('0')"),
        edit=one_class,
    ),
    Mistake(
        "missing dataset folder",
        ("exp.yaml: datasets.mine: dataset folder", "does not exist", "did you mean", "picture'"),
        edit=no_folder,
    ),
    Mistake(
        "file that is no image",
        ("exp.yaml: datasets.mine: train/0/0001.png in dataset folder", "not an image"),
        edit=no_image,
    ),
    Mistake(
        "damaged image",
        ("exp.yaml: datasets.mine: train/0/0001.png in dataset folder", "image"),
        edit=damaged_image,
    ),
    Mistake(
        "damaged image in a training",
        ("exp.yaml: datasets.mine: train/0/0001.png in dataset folder", "image"),
        file=TRAIN,
        arguments=("train", "exp.yaml"),
        edit=damaged_image,
    ),
    Mistake(
        "missing file",
        ("no such file: epx.yaml", "did you mean 'exp.yaml'?"),
        arguments=("run", "epx.yaml"),
    ),
    Mistake(
        "folder in place of a file",
        ("pictures is a folder, not a YAML file",),
        arguments=("run", "pictures"),
    ),
    Mistake(
        "missing include",
        ("exp.yaml: include: no such file: lineup.yaml",),
        edit=text("include: lineup.yaml\nkind: sweep\n"),
    ),
    Mistake(
        "include cycle",
        ("other.yaml: include: exp.yaml includes itself", "exp.yaml -> other.yaml -> exp.yaml"),
        edit=include_cycle,
    ),
    Mistake(
        "include that is no path",
        ("exp.yaml: include: must be a path or a list of paths (got 3)",),
        edit=text("include: 3\nkind: sweep\n"),
    ),
    Mistake(
        "key that stands twice",
        ("exp.yaml, line 3: not valid YAML: key 'seed' stands twice",),
        edit=text("kind: sweep\nseed: 1\nseed: 2\n"),
    ),
    Mistake(
        "broken YAML",
        ("exp.yaml, line 3: not valid YAML: expected ','", "that begins in line 2"),
        edit=text("kind: sweep\nseed: [1\n"),
    ),
    Mistake(
        "empty file",
        ("exp.yaml: must hold keys and values (found nothing)",),
        edit=text(""),
    ),
    Mistake(
        "file that is no text",
        ("exp.yaml is not a text file in UTF-8",),
        edit=lambda folder: void((folder / "exp.yaml").write_bytes(b"\xff\xfe\x00\x81")),
    ),
    Mistake(
        "--set without a value",
        ("--set search.trials: expected key=value",),
        arguments=("run", "exp.yaml", "--set", "search.trials"),
    ),
    Mistake(
        "--set of an unknown key",
        ("--set: search.trails: unknown key", "did you mean 'trials'?"),
        arguments=("run", "exp.yaml", "--set", "search.trails=3"),
    ),
    Mistake(
        "--set of a wrong value",
        ("--set: search.trials: must be a whole number (got 'few')",),
        arguments=("run", "exp.yaml", "--set", "search.trials=few"),
    ),
    Mistake(
        "--set of broken YAML",
        ("--set targets=[digits", "not valid YAML"),
        arguments=("run", "exp.yaml", "--set", "targets=[digits"),
    ),
    Mistake(
        "nothing to resume",
        ("--resume: exp has no unfinished run", "run it without --resume"),
        arguments=("run", "exp.yaml", "--resume"),
    ),
    Mistake(
        "train on a sweep",
        ("exp.yaml: kind: `mlfd-tune train` does not take a sweep; use `mlfd-tune run exp.yaml`",),
        arguments=("train", "exp.yaml"),
    ),
    Mistake(
        "run on a training",
        ("exp.yaml: kind: `mlfd-tune run` does not take a train; use `mlfd-tune train exp.yaml`",),
        file=TRAIN,
    ),
    Mistake(
        "unknown target of a training",
        ("exp.yaml: target: unknown dataset 'digit'", "did you mean 'digits'?"),
        {"target": "digit"},
        file=TRAIN,
        arguments=("train", "exp.yaml"),
    ),
    Mistake(
        "no space for a training",
        ("exp.yaml: store.max_bytes: no space left for the student",),
        {"store.max_bytes": "1KB"},
        file=TRAIN,
        arguments=("train", "exp.yaml"),
    ),
    Mistake(
        "unknown device",
        ("--device cdua: there is no such device here", "allowed: cpu"),
        file=TRAIN,
        arguments=("train", "exp.yaml", "--device", "cdua"),
    ),
    Mistake(
        "leaderboard without a database",
        ("tracking uri: there is no database", "run a sweep first"),
        arguments=("leaderboard", "exp"),
    ),
    Mistake(
        "leaderboard of a file that is no database",
        ("mlflow.db is not a SQLite database",),
        arguments=("leaderboard", "exp"),
        edit=a_database_of_text,
    ),
    Mistake(
        "leaderboard of an unknown status",
        ("status: unknown 'confirmd'", "did you mean 'confirmed'?"),
        arguments=("leaderboard", "exp", "--status", "confirmd"),
    ),
    Mistake(
        "export without a database",
        ("tracking uri: there is no database",),
        arguments=("export", "exp"),
    ),
    Mistake(
        "interface without a database",
        ("--uri: there is no database",),
        arguments=("ui",),
    ),
    Mistake(
        "missing store",
        ("--store elsewhere: there is no artifact store",),
        arguments=("store", "ls", "--store", "elsewhere"),
    ),
    Mistake(
        "malformed age",
        ("--older-than: 'old' is not a time", "30d"),
        arguments=("store", "gc", "--store", ".", "--older-than", "old"),
        edit=lambda folder: (folder / "artifacts").mkdir(),
    ),
    Mistake(
        "unknown architecture on the command line",
        ("unknown architecture 'test_resnt'", "did you mean 'test_resnet'?"),
        arguments=("models", "levels", "test_resnt"),
    ),
    Mistake(
        "unknown dataset on the command line",
        ("digit: no such folder, CSV file, experiment file or source", "did you mean 'digits'?"),
        arguments=("data", "check", "digit"),
    ),
]


def call(*arguments: str) -> tuple[int, list[str], str]:
    """Return the exit code, the lines of problems, and everything printed."""
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return result.exit_code, lines, result.output


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder_dataset(tmp_path_factory.mktemp("data") / "pictures", "digits", 2, 5)


@pytest.fixture
def folder(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a dataset, which is the current one."""
    for image in sorted(pictures.rglob("*.png")):
        copied = tmp_path / "pictures" / image.relative_to(pictures)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(image.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing_behind(
    mistake: Mistake, folder: Path
) -> None:
    content = copy.deepcopy(mistake.file or SWEEP)
    for key, value in (mistake.set or {}).items():
        assign(content, key, value)
    write_yaml(folder / "exp.yaml", content)
    if mistake.edit:
        mistake.edit(folder)
    before = sorted(folder.rglob("*"))

    code, lines, output = call(*mistake.arguments)

    assert code == 2, output
    assert len(lines) == mistake.lines, output
    for part in mistake.says:
        assert part in " ".join(lines)
    assert "Traceback" not in output
    assert output.splitlines() == lines, "nothing else is printed"
    assert sorted(folder.rglob("*")) == before


def test_each_kind_is_tested_once() -> None:
    names = [mistake.name for mistake in MISTAKES]
    assert len(set(names)) == len(names) >= 22


def test_the_files_without_mistakes_are_in_order(folder: Path) -> None:
    for name, content in (("sweep", SWEEP), ("ablation", ABLATION)):
        write_yaml(folder / f"{name}.yaml", content)
        code, lines, output = call("run", f"{name}.yaml", "--dry-run", "--json")
        assert (code, lines) == (0, [])
        assert json.loads(output)["experiment"] == name
    assert not (folder / ".mlfd").exists(), "a dry run computes nothing"


def test_all_mistakes_of_a_file_are_told_at_once(folder: Path) -> None:
    content = copy.deepcopy(SWEEP)
    mistakes: dict[str, tuple[Any, str]] = {
        "teacher.arch": ("test_resnt", "teacher.arch: unknown architecture"),
        "distillation.alfa": (1, "distillation.alfa: unknown key"),
        "distillation.beta": ({"stride23": 1}, "distillation.beta: unknown level 'stride23'"),
        "search.trials": (0, "search.trials: must be greater than or equal to 1"),
        "targets": (["digit"], "targets: unknown dataset 'digit'"),
        "students": ({"digitz": {}}, "students: unknown dataset 'digitz'"),
        "datasets.mine": ({"source": "folder"}, "datasets.mine: path is needed"),
        f"{SPACE}.joint_teacher.widht": ({"int": [8, 16]}, "joint_teacher.widht: unknown key"),
    }
    for key, (value, _) in mistakes.items():
        assign(content, key, value)
    write_yaml(folder / "exp.yaml", content)

    code, lines, output = call("run", "exp.yaml", "--set", "confirm.seeds=1")

    assert code == 2
    for _, message in mistakes.values():
        assert sum(f"exp.yaml: {message}" in line or message in line for line in lines) == 1, output
    assert sum("--set: confirm.seeds: must be" in line for line in lines) == 1
    assert len(lines) == len(mistakes) + 1


def test_problems_of_several_datasets_are_told_at_once(folder: Path) -> None:
    no_image(folder)
    content = copy.deepcopy(SWEEP)
    content["datasets"]["other"] = {"source": "folder", "path": "nowhere"}
    content["tracking"] = {"uri": "mlruns"}
    write_yaml(folder / "exp.yaml", content)

    code, lines, _ = call("run", "exp.yaml")

    assert code == 2
    assert [line.split(": ")[2] for line in lines] == [
        "tracking.uri",
        "datasets.mine",
        "datasets.other",
    ]


def test_the_message_names_the_included_file_that_holds_the_mistake(folder: Path) -> None:
    (folder / "lineup.yaml").write_text("teacher: {arch: test_resnt}\n")
    write_yaml(folder / "exp.yaml", SWEEP)
    content = yaml.safe_load((folder / "exp.yaml").read_text())
    del content["teacher"]
    write_yaml(folder / "exp.yaml", {"include": "lineup.yaml", **content})

    _, lines, _ = call("run", "exp.yaml")

    assert len(lines) == 1
    assert lines[0].startswith("error: lineup.yaml: teacher.arch: unknown architecture")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lederboard",), "unknown command 'lederboard' (allowed: data, doctor, "),
        (("lederboard",), "did you mean 'leaderboard'?"),
        (("store", "lss"), "unknown command 'lss' (allowed: gc, ls, verify; did you mean 'ls'?)"),
        (("run", "exp.yaml", "--dryrun"), "--dry-run"),
        (("leaderboard", "--format", "jsn"), "'json'"),
        (("run",), "Missing argument 'FILE'"),
        (("models", "levels", "test_vit", "--image-size", "0"), "8<=x<=1024"),
    ],
)
def test_a_mistyped_command_line_says_what_there_is(
    arguments: tuple[str, ...], message: str
) -> None:
    code, _, output = call(*arguments)

    assert code == 2
    assert message in output
    assert "Traceback" not in output


def test_the_installed_command_does_the_same_in_a_process_of_its_own(folder: Path) -> None:
    content = copy.deepcopy(SWEEP)
    assign(content, "search.space.distillation.alfa", {"float": [0, 1]})
    write_yaml(folder / "exp.yaml", content)
    before = sorted(folder.rglob("*"))

    done = mlfd_tune("run", "exp.yaml", cwd=folder, expect=2)

    assert done.stdout == ""
    assert done.stderr.startswith("error: exp.yaml: search.space.distillation.alfa: unknown key")
    assert done.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_a_damaged_image_found_by_a_worker_is_one_line_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a large folder only packing, in a process of Ray's, opens every image."""
    monkeypatch.setattr("mlfd_tune.cli.checks._FEW_IMAGES", 0)
    damaged_image(folder)
    content = copy.deepcopy(SWEEP)
    del content["datasets"]["digits"]
    write_yaml(folder / "exp.yaml", content)

    code, lines, output = call("run", "exp.yaml")

    assert code == 2, output
    assert len(lines) == 1
    assert "exp.yaml: train/0/0001.png in dataset folder" in lines[0]
    assert "Traceback" not in output
