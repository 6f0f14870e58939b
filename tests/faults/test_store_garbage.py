"""Garbage collection beside those who use the store at the same moment."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlfd_tune.cli import main
from mlfd_tune.core.store import Store, collect_garbage, list_artifacts, verify_store
from tests.helpers.faults.checks import check_states
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import Driver, prepare
from tests.helpers.small_stages import FailingStage, NoteStage, lines

SPAWN = multiprocessing.get_context("spawn")
STAGES = 6


def stages(diary: Path | None = None) -> list[NoteStage]:
    below = [NoteStage(f"below {number}", diary=diary) for number in range(STAGES)]
    return [NoteStage(f"top {n}", below={"x": one}, diary=diary) for n, one in enumerate(below)]


def run_with_pins(root: Path, rounds: int, results) -> None:
    """Do as a sweep does, and say how often something was gone that it had found."""
    lost = 0
    for _ in range(rounds):
        store = Store(root)
        with store.pin():
            found = [store.get_or_compute(stage) for stage in stages()]
            for _ in range(3):
                time.sleep(0.01)
                lost += sum(not (one.path / "note.txt").is_file() for one in found)
    results.put(lost)


def compute_without_pins(root: Path, rounds: int, results) -> None:
    """Do as a short command does: nothing keeps what it has found, and it must not fail."""
    texts = set()
    for _ in range(rounds):
        texts |= {store_text(root, stage) for stage in stages()}
    results.put(texts)


def store_text(root: Path, stage: NoteStage) -> str:
    return f"{stage.spec.text} {Store(root).get_or_compute(stage).manifest.metrics['length']}"


def check_race(folder: Path, workers: int, rounds: int, held: Held) -> None:
    """Collect garbage beside those who use a store, until some was removed and some was needed."""
    removed = needed = 0
    for attempt in range(20):
        more_removed, more_needed = race(folder / str(attempt), workers, rounds, held)
        removed += more_removed
        needed += more_needed
        if removed and needed:
            return
    raise AssertionError("there was no race")


def race(root: Path, workers: int, rounds: int, held: Held) -> tuple[int, int]:
    """Return how many artifacts were removed, and how many were left because they were needed."""
    pinned, others = SPAWN.Queue(), SPAWN.Queue()
    running = [
        SPAWN.Process(target=run_with_pins, args=(root, rounds, pinned)) for _ in range(workers)
    ]
    running += [
        SPAWN.Process(target=compute_without_pins, args=(root, rounds, others))
        for _ in range(workers)
    ]
    for process in running:
        process.start()
    removed = needed = 0
    while any(process.is_alive() for process in running):
        collected = collect_garbage(Store(root), max_bytes=0)
        removed += len(collected.removed)
        needed += len(collected.needed)
    with held("goes on"):
        assert [process.exitcode for process in running] == [0] * len(running)
        texts = [others.get(timeout=10) for _ in range(workers)]
        assert all(one == {f"top {n} {length(n)}" for n in range(STAGES)} for one in texts)
    with held("artifacts"):
        assert [pinned.get(timeout=10) for _ in range(workers)] == [0] * workers
        assert verify_store(Store(root)) == {}
    with held("leaks"):
        assert not list((root / "locks").glob("*.lock"))
        assert not list((root / "pins").glob("*.pin"))
        assert not list((root / "work").iterdir())
    return removed, needed


def length(number: int) -> float:
    return float(len(f"below {number}top {number}"))


def test_garbage_is_collected_beside_those_who_use_the_store(tmp_path: Path, held: Held) -> None:
    held.fault = "store gc beside those who use the store"
    check_race(tmp_path, 1, 5, held)


@pytest.mark.whole_matrix
def test_garbage_is_collected_beside_many_who_use_the_store(tmp_path: Path, held: Held) -> None:
    held.fault = "store gc beside those who use the store"
    check_race(tmp_path, 4, 100, held)


@pytest.mark.slow
@pytest.mark.whole_matrix
def test_a_running_sweep_keeps_all_that_it_has_found_or_computed(
    tmp_path: Path, empty_database: Path, held: Held
) -> None:
    held.fault = "store gc --max-bytes 0 all through a sweep"
    folder = prepare(tmp_path / "sweep", empty_database)
    store = Store(folder / ".mlfd" / "store")
    foreign = NoteStage("of nobody")
    store.get_or_compute(foreign)
    created: dict[str, float] = {}
    needed = 0
    with Driver(folder) as driver:
        driver.wait_until(lambda: list(store.root.glob("pins/*.pin")))
        while True:
            there = list_artifacts(store)
            if not list(store.root.glob("pins/*.pin")):
                break  # the run is over: what was collected since is not needed
            with held("artifacts"):
                assert created.keys() <= {artifact.key for artifact in there}, "it was removed"
                for artifact in there:
                    if artifact.manifest.stage != foreign.name:
                        first = created.setdefault(artifact.key, artifact.manifest.created)
                        assert first == artifact.manifest.created, "it was computed again"
            needed = max(needed, len(collect_garbage(Store(store.root), max_bytes=0).needed))
            time.sleep(0.5)
        with held("goes on"):
            assert driver.wait() == 0, driver.output
    with held("artifacts"):
        assert needed > 8
        assert not store.has(foreign), "what it does not need goes"
        assert verify_store(store) == {}
    with held("states"):
        check_states(folder)
    with held("leaks"):
        assert not list((store.root / "pins").glob("*.pin"))
    collect_garbage(store, max_bytes=0)
    assert list_artifacts(store) == [], "the run is over"


def test_the_command_tells_what_a_running_sweep_needs(tmp_path: Path, held: Held) -> None:
    held.fault = "store gc --max-bytes 0 all through a sweep"
    store, diary = Store(tmp_path / "store"), tmp_path / "diary.txt"
    with store.pin():
        store.get_or_compute(NoteStage("a", diary=diary))
        Store(store.root).get_or_compute(NoteStage("b"))
        called = CliRunner().invoke(
            main, ["store", "gc", "--store", str(store.root), "--max-bytes", "1B"]
        )
        with held("told"):
            assert called.exit_code == 0
            assert "least recently used, over the size asked for" in called.output
            assert "freed 0.0 MB\n1 artifacts, 2 B, are needed by a running sweep: left" in (
                called.output
            )
        with held("artifacts"):
            store.get_or_compute(NoteStage("a", diary=diary))
            assert lines(diary) == ["a"]


def test_verify_tells_all_that_is_wrong_and_what_to_do(tmp_path: Path, held: Held) -> None:
    held.fault = "a store with everything wrong"
    store = Store(tmp_path / "store")
    torn, extra, aside = (store.get_or_compute(NoteStage(text)) for text in ("to", "ex", "as"))
    store.get_or_compute(NoteStage("sound"))
    (aside.path / "note.txt").unlink()
    assert Store(store.root).get(NoteStage("as")) is None
    with pytest.raises(RuntimeError):
        store.get_or_compute(FailingStage("unfinished"))
    (torn.path / "note.txt").write_text("t0")
    (extra.path / "extra.bin").write_text("x")
    (store.root / "artifacts" / "note" / "notes.txt").write_text("mine")
    called = CliRunner().invoke(main, ["store", "verify", "--store", str(store.root)])
    with held("told"):
        assert called.exit_code == 1
        assert f"{torn.key[:12]}: note.txt has a wrong checksum\n" in called.output
        assert f"{extra.key[:12]}: extra.bin does not belong to it\n" in called.output
        assert "artifacts/note/notes.txt: it does not belong to the store\n" in called.output
        assert "1 artifacts in order, 3 damaged\n" in called.output
        assert "sets it aside and computes it anew" in called.output
        assert "1 unfinished stages, " in called.output
        assert "1 artifacts set aside as damaged, " in called.output
        assert "`mlfd-tune store gc` removes them" in called.output
    with held("artifacts"):
        for text in ("to", "ex", "as"):
            assert Store(store.root).get_or_compute(NoteStage(text)).damage() is None
