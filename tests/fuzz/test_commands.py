"""The worst of it, given to the command itself: exit code 2, lines for people, nothing written."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from mlfd_tune.cli import main
from tests.helpers.fuzzing import attempt

SWEEP: dict[str, Any] = {
    "kind": "sweep",
    "datasets": {"one": {"source": "folder", "path": "set"}, "two": {"source": "digits"}},
    "teacher": {"arch": "test_resnet", "epochs": 1},
    "student": {"arch": "test_vit", "epochs": 1},
    "image_size": 32,
    "search": {"trials": 2, "space": {"distillation.alpha": {"float": [0.1, 2.0]}}},
}


def dataset(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / "set/train" / name).mkdir(parents=True)
        for number in range(6):
            image = Image.new("RGB", (8, 8), (number * 40, ord(name), 9))
            image.save(folder / f"set/train/{name}/{number}.png")
    lines = [f"train/{name}/{number}.png,{name}" for name in "ab" for number in range(6)]
    (folder / "set/list.csv").write_text("\n".join(["path,label", *lines]))


def huge_picture() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def text(content: str) -> Callable[[Path], None]:
    """Put text in place of the experiment."""
    return lambda folder: (folder / "exp.yaml").write_bytes(
        content.encode("utf-8", "surrogateescape")
    )  # type: ignore[return-value]


def changed(**values: Any) -> Callable[[Path], None]:
    """Change keys of the experiment."""
    return lambda folder: (folder / "exp.yaml").write_text(yaml.safe_dump({**SWEEP, **values}))  # type: ignore[return-value]


def file(name: str, content: bytes) -> Callable[[Path], None]:
    """Put a file somewhere."""
    return lambda folder: (folder / name).write_bytes(content)  # type: ignore[return-value]


def weights(content: Any) -> Callable[[Path], None]:
    """Give the teachers weights."""

    def put(folder: Path) -> None:
        if isinstance(content, bytes):
            (folder / "w.pth").write_bytes(content)
        else:
            torch.save(content, folder / "w.pth")
        changed(teacher={"arch": "test_resnet", "weights": "w.pth"})(folder)

    return put


class Runs:
    """Pickles as a command."""

    def __reduce__(self) -> Any:
        return os.system, ("touch it_ran",)


LAUGHS = "a0: &a0 [x]\n" + "\n".join(
    f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 20)
)
RUN = ("run", "exp.yaml", "--dry-run")
CHECK = ("data", "check", "set")
LIST = ("data", "check", "set/list.csv")
NASTY: dict[str, tuple[tuple[str, ...], Callable[[Path], None]]] = {
    "a billion laughs": (RUN, text(LAUGHS)),
    "brackets without end": (RUN, text("[" * 5000)),
    "an object": (RUN, text("kind: !!python/object/apply:os.system ['touch it_ran']")),
    "bytes": (RUN, text("\udcff\udcfe\0\0")),
    "nothing": (RUN, text("")),
    "itself": (RUN, text("include: exp.yaml")),
    "a pipe to include": (
        RUN,
        lambda folder: (os.mkfifo(folder / "p.yaml"), text("include: p.yaml")(folder))[1],
    ),
    "a device to include": (RUN, text("include: /dev/zero")),
    "a date that is none": (RUN, text("kind: 2024-99-99")),
    "a key of a mapping": (RUN, text("? {a: b}\n: c\n")),
    "a name that leaves": (RUN, changed(name="../../elsewhere")),
    "a name that steers": (RUN, changed(name="a\x1b[2J\nerror: none")),
    "no number": (RUN, changed(seed=float("nan"))),
    "a number without end": (RUN, text("kind: sweep\nseed: 0x" + "f" * 9000)),
    "a folder of nobody": (
        RUN,
        changed(datasets={"one": {"source": "folder", "path": "~nobody-x/y"}}),
    ),
    "a folder that is a device": (
        RUN,
        changed(datasets={"one": {"source": "folder", "path": "/dev/zero"}}),
    ),
    "a path with a NUL": (RUN, changed(datasets={"one": {"source": "csv", "path": "a\0b"}})),
    "a path without end": (RUN, changed(datasets={"one": {"source": "csv", "path": "a/" * 4000}})),
    "--set of a cycle": ((*RUN, "--set", "teacher=&a {b: *a}"), changed()),
    "--set of many parts": ((*RUN, "--set", ".".join("a" * 2000) + "=1"), changed()),
    "--set without a key": ((*RUN, "--set", "=1"), changed()),
    "--set with keys of numbers": ((*RUN, "--set", "datasets={1: 2, x: 3}"), changed()),
    "a range without end": (
        RUN,
        changed(search={"trials": 1, "space": {"seed": {"int": [0, 10**30]}}}),
    ),
    "a pickle that runs": (RUN, weights({"state_dict": Runs()})),
    "weights of zeros": (RUN, weights(bytes(1000))),
    "no weights": (RUN, weights({"epoch": 3})),
    "a mapping in itself": (RUN, weights((lambda loop: loop.update(model=loop) or loop)({}))),
    "a huge picture to train on": (RUN, file("set/train/a/x.png", huge_picture())),
    "a huge picture": (CHECK, file("set/train/a/x.png", huge_picture())),
    "an empty picture": (CHECK, file("set/train/a/x.png", b"")),
    "a name of two lines": (CHECK, file("set/train/a/x\nerror: y.png", b"")),
    "a pipe as a picture": (CHECK, lambda folder: os.mkfifo(folder / "set/train/a/x.png")),
    "a picture of a device": (
        CHECK,
        lambda folder: (folder / "set/train/a/x.png").symlink_to("/dev/zero"),
    ),
    "a list of bytes": (LIST, file("set/list.csv", b"path,label\n\xff,\0\n")),
    "a list that leaves": (LIST, file("set/list.csv", b"path,label\n../../etc/passwd,a\n")),
    "a list that is a pipe": (
        LIST,
        lambda folder: ((folder / "set/list.csv").unlink(), os.mkfifo(folder / "set/list.csv"))[1],
    ),
    "a bundle that is none": (("reproduce", "bundle.json"), file("bundle.json", b"[" * 90_000)),
}


@pytest.mark.parametrize("name", NASTY)
def test_the_command_says_what_is_wrong_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    arguments, prepare = NASTY[name]
    monkeypatch.chdir(tmp_path)
    dataset(tmp_path)
    changed()(tmp_path)
    prepare(tmp_path)
    ended: list[Any] = []

    attempt(lambda: ended.append(CliRunner().invoke(main, list(arguments))), tmp_path, seconds=60)

    (result,) = ended
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == 2, result.output
    told = [line for line in result.output.splitlines() if line.strip().startswith("error: ")]
    assert told
    assert "Traceback" not in result.output
    assert not (tmp_path / "it_ran").exists()
    if arguments[0] != "data":
        assert len(told) == len(result.output.splitlines()), "more than lines for people"
