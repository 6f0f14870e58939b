"""A full disk below the store: one line that says so, and nothing half-written."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import StageContext, StageResult, Store, verify_store
from mlfd_tune.core.store.files import write_atomically
from tests.helpers.faults.record import Held
from tests.helpers.small_stages import NoteStage

MB = 1_000_000


class BigStage(NoteStage):
    """Writes some megabytes in one of the ways that stages write."""

    name = "big"
    megabytes = 3

    def run(self, context: StageContext) -> StageResult:
        data = np.random.default_rng(0).bytes(self.megabytes * MB)
        file = context.out / "data"
        match self.spec.text:
            case "bytes":
                file.write_bytes(data)
            case "numpy":
                np.save(file, np.frombuffer(data, np.uint8))
            case "safetensors":
                save_file({"x": torch.frombuffer(bytearray(data), dtype=torch.uint8)}, file)
            case "torch":
                torch.save(torch.frombuffer(bytearray(data), dtype=torch.uint8), file)
        return StageResult()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with 2 MiB of disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small disk needs the right to mount")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder])
    if mounted.returncode != 0:
        pytest.skip("a small disk needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("way", ["bytes", "numpy", "safetensors", "torch"])
def test_a_stage_that_the_disk_has_no_room_for_is_told_in_a_line_and_leaves_nothing(
    way: str, small_disk: Path, held: Held
) -> None:
    held.fault = f"disk full while a stage writes ({way})"
    store, stage = Store(small_disk / "store"), BigStage(way)
    sound = store.get_or_compute(NoteStage("sound"))
    with held("told"):
        with pytest.raises(UserError) as caught:
            store.get_or_compute(stage)
        (line,) = caught.value.problems
        assert line.startswith(
            f"store.path: no space left on the disk of {store.root} for note {way}: "
        )
        assert " are free; make room, as with `mlfd-tune store gc`" in line
    with held("artifacts"):
        assert not store.has(stage)
        assert Store(store.root).get(NoteStage("sound")) == sound
        assert verify_store(store) == {}
    with held("leaks"):
        assert not names(store.root) & {"data", "data.npy"}
        assert not list((store.root / "locks").glob("*.lock"))
        assert not list(store.root.rglob("*.tmp"))
    del caught  # it holds the file that torch has not closed
    gc.collect()
    with held("goes on"):
        stage.megabytes = 1
        assert store.get_or_compute(stage).damage() is None


def test_what_surely_does_not_fit_is_refused_before_it_is_computed(
    small_disk: Path, tmp_path: Path, held: Held
) -> None:
    held.fault = "disk too small for a stage"
    store, diary = Store(small_disk / "store"), tmp_path / "diary.txt"
    with held("told"), pytest.raises(UserError, match=r"it needs 3\.0 MB, \d\.\d MB are free"):
        store.get_or_compute(NoteStage("a", estimate=3 * MB, diary=diary))
    with held("artifacts", "leaks"):
        assert not diary.exists()
        assert not list(store.root.glob("work/*"))


def test_a_full_disk_when_the_manifest_is_written_publishes_nothing(
    small_disk: Path, held: Held
) -> None:
    held.fault = "disk full while a stage is published"
    store, stage = Store(small_disk / "store"), NoteStage("a")
    with store.claim(stage) as claim:
        result = stage.run(claim.context("cpu"))
        filler = fill(small_disk)
        with held("told"), pytest.raises(UserError, match="no space left"):
            claim.publish(result)
    with held("artifacts", "leaks"):
        assert not store.has(stage)
        assert not list(store.root.rglob("*.tmp"))
        assert not list(store.root.rglob("manifest.json"))
        assert not list((store.root / "locks").glob("*.lock"))
    filler.unlink()
    with held("goes on"):
        assert store.get_or_compute(stage).damage() is None


def test_a_lock_on_a_full_disk_is_refused_in_a_line(small_disk: Path, held: Held) -> None:
    held.fault = "disk full when a stage is begun"
    store = Store(small_disk / "store")
    store.get_or_compute(NoteStage("sound"))
    filler = fill(small_disk)
    with held("told"), pytest.raises(UserError, match="no space left"):
        store.claim(NoteStage("a"))
    filler.unlink()
    with held("leaks"):
        assert not list((store.root / "locks").glob("*.lock"))


def test_a_file_keeps_its_old_content_where_the_new_does_not_fit(
    small_disk: Path, held: Held
) -> None:
    held.fault = "disk full while a file is replaced"
    file = small_disk / "file"
    write_atomically(file, b"old")
    with held("artifacts", "leaks"):
        with pytest.raises(OSError, match="No space left"):
            write_atomically(file, bytes(3 * MB))
        assert file.read_bytes() == b"old"
        assert names(small_disk) == {"file"}


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler
