"""A store that may only be read: what is there is used, and what is not is refused in a line."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Store, collect_garbage
from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import FILE, NAME, Driver, prepare
from tests.helpers.small_stages import NoteStage

TRAIN = {
    "kind": "train",
    "name": "one",
    "target": "digits",
    "method": "none",
    "image_size": 32,
    "datasets": {"digits": {"source": "digits", "train_size": 80}},
    "teacher": {"arch": "test_vit", "train": {"epochs": 1, "batch_size": 32}},
    "student": {"train": {"epochs": 1, "batch_size": 32}},
}
ReadOnly = Callable[[Path], None]


def can_mount() -> bool:
    return os.geteuid() == 0 and Path("/usr/bin/mount").exists()


@pytest.fixture
def read_only() -> Iterator[ReadOnly]:
    """Make folders read-only until the end of the test: by a mount for root, who may do all."""
    with contextlib.ExitStack() as stack:

        def apply(folder: Path) -> None:
            if os.geteuid() != 0:
                folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
                for path in folders:
                    path.chmod(0o555)
                    stack.callback(path.chmod, 0o755)
                return
            bound = subprocess.run(["mount", "--bind", folder, folder], capture_output=True)
            if bound.returncode != 0:
                pytest.skip("a read-only folder for root needs the right to mount")
            stack.callback(subprocess.run, ["umount", "-l", folder], check=True)
            subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)

        yield apply


def all_files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def test_what_is_in_the_store_is_read_and_what_is_not_is_refused(
    tmp_path: Path, read_only: ReadOnly, held: Held
) -> None:
    held.fault = "store read-only"
    root = tmp_path / "store"
    there, missing = NoteStage("there"), NoteStage("missing", below={"x": NoteStage("there")})
    made = Store(root).get_or_compute(there)
    read_only(root)
    before = all_files(root)
    store = Store(root)
    with held("goes on"), store.pin():
        assert store.get(there) == made
        assert store.get_or_compute(there) == made
        with store.claim(there) as claim:
            assert claim.artifact == made
    with held("told"):
        for attempt in (store.get_or_compute, store.claim):
            with pytest.raises(UserError) as caught:
                attempt(missing)
            assert str(caught.value) == (
                f"store.path: {root} may only be read, and note missing would have to be computed "
                "into it (allowed: a folder that can be written to, or one that has all that is "
                "needed)"
            )
        with pytest.raises(UserError, match="may only be read, so nothing can be removed"):
            collect_garbage(store, max_bytes=0)
        assert collect_garbage(store, max_bytes=0, dry_run=True).removed
    with held("artifacts", "leaks"):
        assert all_files(root) == before


def test_a_damaged_artifact_of_a_read_only_store_is_not_used(
    tmp_path: Path, read_only: ReadOnly, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    held.fault = "store read-only, an artifact damaged"
    root, stage = tmp_path / "store", NoteStage("a")
    (Store(root).get_or_compute(stage).path / "note.txt").write_text("b")
    read_only(root)
    with held("artifacts"), caplog.at_level(logging.WARNING):
        assert Store(root).get(stage) is None
    with held("told"):
        assert "is damaged (note.txt has a wrong checksum) and not used" in caplog.text
        assert "Read-only file system" in caplog.text or "Permission denied" in caplog.text


def one_line_of(error: str) -> str:
    (line,) = [line for line in error.splitlines() if line.strip()]
    return line


@pytest.mark.whole_matrix
@pytest.mark.slow
def test_commands_use_a_read_only_store_and_refuse_to_compute_into_it(
    tmp_path: Path, read_only: ReadOnly, held: Held
) -> None:
    held.fault = "store read-only, the command `train`"
    write_yaml(tmp_path / "one.yaml", TRAIN)
    first = json.loads(
        mlfd_tune("train", "one.yaml", "--device", "cpu", "--json", cwd=tmp_path).stdout
    )
    evaluate = ("evaluate", "one.yaml", "--with", "none", "--no-log", "--device", "cpu", "--json")
    mlfd_tune(*evaluate, cwd=tmp_path)
    store = tmp_path / ".mlfd" / "store"
    read_only(store)
    before = all_files(store)
    with held("goes on"):
        assert json.loads(mlfd_tune(*evaluate, cwd=tmp_path).stdout)["computed_stages"] == 0
        again = mlfd_tune("train", "one.yaml", "--device", "cpu", "--json", cwd=tmp_path)
        assert json.loads(again.stdout)["metrics"] == first["metrics"]
        mlfd_tune("store", "verify", cwd=tmp_path)
    with held("told"):
        refused = mlfd_tune(
            *("train", "one.yaml", "--device", "cpu", "--set", "seed=9"), cwd=tmp_path, expect=2
        )
        assert "may only be read" in one_line_of(refused.stderr)
        assert "Traceback" not in refused.stderr
        refused = mlfd_tune("store", "gc", "--max-bytes", "1B", cwd=tmp_path, expect=2)
        assert "may only be read" in one_line_of(refused.stderr)
    with held("artifacts"):
        assert all_files(store) == before


def hold_refused(held: Held, folder: Path, *options: str) -> None:
    """Hold that the sweep in a folder is refused in a line, and nothing is made, such as a run."""
    before = all_files(folder)
    refused = mlfd_tune("run", FILE, *options, cwd=folder, expect=2)
    with held("told"):
        line = one_line_of(refused.stderr)
        assert line.startswith(f"{FILE}: store.path: ") or line.startswith("error: ")
        assert "may only be read" in line
        assert "Traceback" not in refused.stderr
    with held("artifacts", "leaks"):
        assert all_files(folder) == before


@pytest.mark.slow
def test_a_sweep_is_refused_before_anything_starts(
    tmp_path: Path, read_only: ReadOnly, empty_database: Path, held: Held
) -> None:
    held.fault = "store read-only, a sweep started"
    folder = prepare(tmp_path / "sweep", empty_database)
    store = folder / ".mlfd" / "store"
    Store(store).get_or_compute(NoteStage("a"))
    read_only(store)
    hold_refused(held, folder)


@pytest.mark.whole_matrix
@pytest.mark.slow
def test_a_sweep_is_not_resumed_before_its_store_can_be_written_to(
    tmp_path: Path, read_only: ReadOnly, empty_database: Path, held: Held
) -> None:
    held.fault = "store read-only, a sweep resumed"
    folder = prepare(tmp_path / "sweep", empty_database)
    with Driver(folder, "run", FILE) as driver:
        driver.wait_until(lambda: any(folder.glob("runs/*/*/tracking/journal.jsonl")))
        driver.interrupt(signal.SIGINT)
        assert driver.wait() == 130, driver.output
    read_only(folder / ".mlfd" / "store")
    hold_refused(held, folder, "--resume")


@pytest.mark.whole_matrix
@pytest.mark.slow
def test_what_a_finished_sweep_left_can_be_looked_at_and_exported(
    tmp_path: Path, read_only: ReadOnly, empty_database: Path, held: Held
) -> None:
    held.fault = "store read-only, a finished sweep"
    folder = prepare(tmp_path / "sweep", empty_database)
    mlfd_tune("run", FILE, cwd=folder)
    store = folder / ".mlfd" / "store"
    read_only(store)
    before = all_files(store)
    with held("goes on"):
        assert json.loads(mlfd_tune("leaderboard", NAME, "--json", cwd=folder).stdout)
        mlfd_tune("export", NAME, "--output", "best", cwd=folder)
        assert list((folder / "best").glob("*.safetensors"))
        mlfd_tune("report", NAME, cwd=folder)
        mlfd_tune("store", "ls", cwd=folder)
    with held("artifacts"):
        assert all_files(store) == before
