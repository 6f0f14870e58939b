"""An artifact of every kind, damaged in every way: found out, set aside, computed anew."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mlfd_tune.core import stages as stage_kinds
from mlfd_tune.core.store import Artifact, Stage, Store, list_artifacts, verify_store
from tests.conftest import PROJECT
from tests.helpers.every_stage import compute_all, every_stage
from tests.helpers.faults.record import Held
from tests.helpers.pipelines import files

Damage = Callable[[Path, np.random.Generator], None]
MANIFEST = "manifest.json"


def some_file(path: Path, rng: np.random.Generator) -> Path:
    found = sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size)
    return found[rng.integers(len(found))]


def flip_a_bit(path: Path, rng: np.random.Generator) -> None:
    file = some_file(path, rng)
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    file.write_bytes(content)


def flip_a_bit_of_the_manifest(path: Path, rng: np.random.Generator) -> None:
    content = bytearray((path / MANIFEST).read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    (path / MANIFEST).write_bytes(content)


def truncate(path: Path, rng: np.random.Generator) -> None:
    file = some_file(path, rng)
    os.truncate(file, int(rng.integers(file.stat().st_size)))


def lengthen(path: Path, rng: np.random.Generator) -> None:
    with some_file(path, rng).open("ab") as file:
        file.write(bytes(rng.integers(0, 256, 3, dtype=np.uint8)))


def empty(path: Path, rng: np.random.Generator) -> None:
    some_file(path, rng).write_bytes(b"")


def remove(path: Path, rng: np.random.Generator) -> None:
    some_file(path, rng).unlink()


def remove_all(path: Path, rng: np.random.Generator) -> None:
    for file in path.iterdir():
        file.unlink()


def add_a_file(path: Path, rng: np.random.Generator) -> None:
    name = ["extra.npy", ".hidden", "model.safetensors.bak", "new\nline", "deep/er/file"]
    file = path / name[rng.integers(len(name))]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"more")


def add_a_link(path: Path, rng: np.random.Generator) -> None:
    (path / "link").symlink_to(["..", "nowhere", MANIFEST][rng.integers(3)])


def put_a_folder_in_place(path: Path, rng: np.random.Generator) -> None:
    file = some_file(path, rng)
    file.unlink()
    file.mkdir()


def put_a_link_in_place(path: Path, rng: np.random.Generator) -> None:
    file = some_file(path, rng)
    moved = path.parents[2] / f"moved-{file.name}"
    shutil.move(file, moved)
    file.symlink_to(moved)


def put_a_pipe_in_place(path: Path, rng: np.random.Generator) -> None:
    file = some_file(path, rng)
    file.unlink()
    os.mkfifo(file)


def put_a_link_in_the_folders_place(path: Path, rng: np.random.Generator) -> None:
    moved = path.parents[2] / "moved"
    shutil.move(path, moved)
    path.symlink_to(moved)


def put_a_dangling_link_in_the_folders_place(path: Path, rng: np.random.Generator) -> None:
    shutil.rmtree(path)
    path.symlink_to("nowhere")


def put_a_file_in_the_folders_place(path: Path, rng: np.random.Generator) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"")


def swap_two_files(path: Path, rng: np.random.Generator) -> None:
    file = some_file(path, rng)
    others = [other for other in path.iterdir() if other.read_bytes() != file.read_bytes()]
    other = others[rng.integers(len(others))]
    first, second = file.read_bytes(), other.read_bytes()
    file.write_bytes(second)
    other.write_bytes(first)


def put_anothers_manifest_in_place(path: Path, rng: np.random.Generator) -> None:
    others = [other for other in path.parents[1].glob("*/*/manifest.json") if other.parent != path]
    shutil.copy(others[rng.integers(len(others))], path / MANIFEST)


def write_garbage_as_the_manifest(path: Path, rng: np.random.Generator) -> None:
    garbage = [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"NaN",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        rng.bytes(200),
    ]
    (path / MANIFEST).write_bytes(garbage[rng.integers(len(garbage))])


def change_the_manifest(path: Path, rng: np.random.Generator) -> None:
    """Change one thing that a program would read, in otherwise sound JSON."""
    content = json.loads((path / MANIFEST).read_text())
    entry = content["files"][min(content["files"])]
    changes: list[tuple[dict, str, object]] = [
        (content, "key", "0" * 64),
        (content, "stage", "other"),
        (content, "seconds", content["seconds"] + 1),
        (content, "seconds", float("nan")),
        (content, "version", content["version"] + 1),
        (content, "inputs", {"x": "0" * 64}),
        (content, "metrics", {**content["metrics"], "val/acc1": 100.0}),
        (content, "history", [{"val/acc1": float("nan")}]),
        (content, "spec", {}),
        (content, "new", 1),
        (content, "files", {**content["files"], "../../escaped": entry}),
        (content, "files", {**content["files"], "/etc/passwd": entry}),
        (content, "files", {**content["files"], "": entry}),
        (content, "files", {}),
        (entry, "bytes", -1),
        (entry, "bytes", 10**30),
        (entry, "bytes", float("nan")),
        (entry, "bytes", float("inf")),
        (entry, "bytes", "many"),
        (entry, "sha256", "0" * 64),
        (entry, "sha256", None),
    ]
    where, name, value = changes[rng.integers(len(changes))]
    where[name] = value
    (path / MANIFEST).write_text(json.dumps(content, indent=1))


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (
        flip_a_bit,
        flip_a_bit_of_the_manifest,
        truncate,
        lengthen,
        empty,
        remove,
        remove_all,
        add_a_file,
        add_a_link,
        put_a_folder_in_place,
        put_a_link_in_place,
        put_a_pipe_in_place,
        put_a_link_in_the_folders_place,
        put_a_dangling_link_in_the_folders_place,
        put_a_file_in_the_folders_place,
        swap_two_files,
        put_anothers_manifest_in_place,
        write_garbage_as_the_manifest,
        change_the_manifest,
    )
}
OF_THE_FOLDER = {name for name in DAMAGES if "folders_place" in name}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the store that has every kind; it is not to be changed."""
    folder = tmp_path_factory.mktemp("every")
    compute_all(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def damage_again_and_again(
    folder: Path, made: Path, damage: Damage, seeds: range
) -> Iterator[tuple[Stage, Store]]:
    """Yield every stage with its artifact damaged, once for each seed; mend it afterwards."""
    for number, stage in enumerate(every_stage(folder).values()):
        path = Store(folder / "store").artifact_path(stage)
        for seed in seeds:
            damage(path, np.random.default_rng([seed, number]))
            yield stage, Store(folder / "store")  # as a new process has it
            for leftover in (folder / "store").glob("moved*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            if path.is_symlink() or path.is_file():
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(Store(made / "store").artifact_path(stage), path)


def check_found(folder: Path, made: Path, damage: Damage, seeds: range) -> int:
    tried = 0
    for stage, store in damage_again_and_again(folder, made, damage, seeds):
        path = store.artifact_path(stage)
        found = verify_store(store)
        assert [key.rpartition("/")[2] for key in found] == [stage.key], (stage.label, found)
        assert found.keys() <= {stage.key, f"artifacts/{stage.stage_name}/{stage.key}"}
        assert all(text.isprintable() for text in found.values())
        assert store.get(stage) is None, f"{stage.label} was used"
        assert not os.path.lexists(path)
        assert len(list((store.root / "damaged").iterdir())) == 1
        shutil.rmtree(store.root / "damaged")
        tried += 1
    return tried


def test_the_store_of_these_tests_has_every_kind_of_stage(made: Path) -> None:
    kinds = {type(stage).__name__ for stage in every_stage(made).values()}
    shipped = {
        name
        for name, kind in inspect.getmembers(stage_kinds, inspect.isclass)
        if issubclass(kind, Stage) and not inspect.isabstract(kind)
    }
    assert shipped <= kinds
    store = Store(made / "store")
    assert verify_store(store) == {}
    assert all(store.get(stage) is not None for stage in every_stage(made).values())


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_out_and_set_aside_in_every_kind_of_artifact(
    name: str, folder: Path, made: Path, held: Held
) -> None:
    held.fault = f"artifact damaged: {name.replace('_', ' ')}"
    with held("artifacts"):
        assert check_found(folder, made, DAMAGES[name], range(1)) >= 15


@pytest.mark.whole_matrix
@pytest.mark.parametrize("name", DAMAGES)
def test_many_random_damages_are_found_out(name: str, folder: Path, made: Path, held: Held) -> None:
    held.fault = f"artifact damaged: {name.replace('_', ' ')}"
    seeds = range(1, 6 if name in OF_THE_FOLDER else 25)
    with held("artifacts"):
        check_found(folder, made, DAMAGES[name], seeds)


RECOMPUTE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.helpers.every_stage import compute_all
compute_all(Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_new_process_computes_what_was_damaged_anew_with_equal_content(
    folder: Path, made: Path, held: Held
) -> None:
    held.fault = "all artifacts damaged at once"
    store = Store(folder / "store")
    kinds = every_stage(folder)
    before = {name: files(get(Store(made / "store"), stage)) for name, stage in kinds.items()}
    names = sorted(DAMAGES)
    for number, stage in enumerate(kinds.values()):
        rng = np.random.default_rng(number)
        DAMAGES[names[number % len(names)]](store.artifact_path(stage), rng)
    damaged = verify_store(store)
    done = subprocess.run(
        [sys.executable, "-c", RECOMPUTE, PROJECT, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
        check=False,
    )
    with held("artifacts", "goes on"):
        assert done.returncode == 0, done.stderr
        assert len(damaged) == len(kinds)
        after = {name: files(get(store, stage)) for name, stage in every_stage(folder).items()}
        assert after == before
        assert verify_store(store) == {}
        assert len(list((store.root / "damaged").iterdir())) == len(kinds)
    with held("told"):
        told = [line for line in done.stderr.splitlines() if "is damaged" in line]
        assert len(told) == len(kinds)
        assert all("set aside in" in line for line in told)
    with held("leaks"):
        assert not list((store.root / "work").iterdir())
        assert not list((store.root / "locks").glob("*.lock"))


def test_a_manifest_of_an_earlier_version_is_read_and_its_files_are_checked(
    folder: Path,
) -> None:
    store = Store(folder / "store")
    artifact = list_artifacts(store)[0]
    old = json.loads((artifact.path / MANIFEST).read_text())
    del old["sha256"]
    (artifact.path / MANIFEST).write_text(json.dumps(old, indent=1, sort_keys=True))
    assert verify_store(Store(folder / "store")) == {}
    assert Artifact.open(artifact.path) == artifact
    flip_a_bit(artifact.path, np.random.default_rng(1))
    assert list(verify_store(Store(folder / "store"))) == [artifact.key]


def get(store: Store, stage: Stage) -> Artifact:
    artifact = store.get(stage)
    assert artifact is not None
    return artifact
