"""Disks that are full, and what lies on them from moment to moment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["SmallDisk", "Watch", "small_disk", "watched"]

_KEY = re.compile(r"[0-9a-f]{64}")
_STUDENTS = ("student", "baseline")


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs: a folder with a disk of its own.

    Attributes:
        path: Where it is.
    """

    path: Path

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def free(self) -> int:
        """Return the free bytes."""
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Write until no more than `leave` bytes are free."""
        with self._filler.open("ab") as file:
            while (more := self.free() - leave) > 0:
                try:
                    file.write(b"\0" * min(more, 1 << 20))
                    file.flush()
                except OSError:  # somebody else took the rest
                    return

    def empty(self) -> None:
        """Give the space back."""
        self._filler.unlink()

    def grow(self, size: str) -> None:
        """Make the disk larger, such as ``64m``, and give back what `fill` took."""
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True)
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a tmpfs of a size such as ``8m``; skip the test where that is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() != 0:
        pytest.skip("a small disk is mounted, which needs root")
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@dataclass(frozen=True)
class Watch:
    """What was on disk of each stage of a store, from moment to moment."""

    _file: Path
    _store: Path

    def most_of_students(self) -> int:
        """Return the most bytes that students and their checkpoints ever took together."""
        others = {
            path.name
            for path in self._store.glob("artifacts/*/*")
            if path.parent.name not in _STUDENTS
        }
        return max(
            sum(size for key, size in sizes.items() if key not in others)
            for sizes in map(json.loads, self._file.read_text().splitlines())
        )

    def moments(self) -> int:
        """Return how many different states were seen."""
        return len(self._file.read_text().splitlines())


@contextmanager
def watched(store: Path, notes: Path) -> Iterator[Watch]:
    """Look at a store all the time, from a process of its own, while the block runs.

    Args:
        store: The store's folder.
        notes: A file to write down what was seen.
    """
    notes.write_text("{}\n")
    process = subprocess.Popen([sys.executable, __file__, str(store), str(notes)])
    try:
        yield Watch(notes, store)
    finally:
        process.terminate()
        process.wait()


def _look(store: Path, notes: Path) -> None:
    """Write a line of bytes by key whenever they change.

    A look takes a while, and what goes meanwhile must not be added to what comes. So a file counts
    when two looks in a row see it, with the smaller of its sizes: all these bytes were there at the
    moment between the two.
    """
    before: dict[int, tuple[str, int]] = {}
    told: dict[str, int] = {}
    with notes.open("a") as out:
        while True:
            now = dict(_files(store))
            sizes: dict[str, int] = {}
            for inode in before.keys() & now.keys():
                key, size = now[inode]
                sizes[key] = sizes.get(key, 0) + min(size, before[inode][1])
            if sizes != told:
                told = sizes
                out.write(json.dumps(sizes) + "\n")
                out.flush()
            before = now
            time.sleep(0.001)


def _files(store: Path) -> Iterator[tuple[int, tuple[str, int]]]:
    for part in ("work", "damaged", "artifacts"):
        for folder, _, names in os.walk(store / part):
            found = _KEY.search(folder)
            if found is None:
                continue
            for name in names:
                try:
                    stat = Path(folder, name).stat()
                except OSError:  # gone meanwhile
                    continue
                yield stat.st_ino, (found[0], stat.st_size)


if __name__ == "__main__":
    _look(Path(sys.argv[1]), Path(sys.argv[2]))
