"""The cap on what a run's students and checkpoints take holds at every moment, under load too."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mlfd_tune.config import load_experiment
from mlfd_tune.core.stages import StudentStage
from mlfd_tune.core.training.checkpoint_file import NoRoomError
from mlfd_tune.tune import TrialContext, TrialRequestConfig, trial_context
from mlfd_tune.tune.disk_budget import DiskBudget, student_bytes
from mlfd_tune.tune.doomed import remove
from mlfd_tune.tune.spent_checkpoints import discard_checkpoint
from mlfd_tune.tune.study_students import Member, worst_first
from mlfd_tune.tune.timeline import CLOCK
from mlfd_tune.tune.trial import student_of
from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.disks import watched
from tests.helpers.experiments import tiny_sweep
from tests.helpers.faults.checks import check_artifacts, check_best, check_metrics, check_states
from tests.helpers.faults.record import Held
from tests.helpers.faults.sweep import FILE, Driver, fault_sweep, prepare, undisturbed

KEEP = 2


def searched(number: int, dataset: str = "digits") -> Member:
    return Member(f"{dataset}{number}", "student", dataset, number)


def test_who_stands_furthest_down_in_its_own_study_goes_first() -> None:
    digits = [(searched(n), value) for n, value in enumerate([70.0, 90.0, 80.0, 60.0])]
    photos = [(searched(n, "photos"), value) for n, value in enumerate([10.0, 30.0, 20.0])]
    order = [member.key for member in worst_first([*digits, *photos], keep=1)]
    assert order == ["digits3", "photos0", "digits0", "photos2", "digits2"]


def test_of_equal_students_the_earlier_is_kept_as_it_is_the_one_that_is_confirmed() -> None:
    equal = [(searched(n), 50.0) for n in (3, 1, 2)]
    assert [member.number for member in worst_first(equal, keep=1)] == [3, 2]


def test_what_is_not_searched_never_goes() -> None:
    confirmed = Member("c", "student", "digits", None)
    assert list(worst_first([(confirmed, 0.0), (searched(0), 1.0)], keep=1)) == []


def context_of(folder: Path) -> TrialContext:
    """Return what students of some seeds share that learn the labels of a few digits alone."""
    content = tiny_sweep(
        method="none",
        datasets={"digits": {"source": "digits", "train_size": 80}},
        teachers={},
        student={"arch": "test_resnet", "train": {"epochs": 2}},
        store={"path": str(folder / "store")},
    )
    context = trial_context(load_experiment(write_yaml(folder / "tiny.yaml", content)))
    context.store.get_or_compute(student(context, 0).data)
    return context


def student(context: TrialContext, number: int) -> StudentStage:
    request = TrialRequestConfig(f"trial/digits/{number}", "digits", {}, seed=number)
    stage = student_of(context, request)
    assert isinstance(stage, StudentStage)
    return stage


def value_of(number: int) -> float:
    return random.Random(number).uniform(0, 100)


def write(context: TrialContext, budget: DiskBudget, numbers: Sequence[int]) -> None:
    """Do with the files of some students what a worker does; accuracies are drawn."""
    for number in numbers:
        stage = student(context, number)
        with context.store.claim(stage) as claim:
            trainer = stage.open(claim.context("cpu"))
            room = budget.room_for(stage, f"trial/digits/{number}")
            trainer.room = room.checkpoint
            while not trainer.done:
                trainer.train_epoch()
                trainer.save(claim.work)
            trainer.history[-1]["val/acc1"] = value_of(number)
            with room.artifact(trainer.history[-1]) as fits:
                if fits:
                    claim.publish(stage.finish(trainer, claim.work / "out"))
                else:
                    remove(context.store.root, context.store.work_path(stage))


def there(context: TrialContext, numbers: Sequence[int]) -> set[int]:
    return {number for number in numbers if context.store.has(student(context, number))}


@pytest.mark.slow
@pytest.mark.whole_matrix
def test_the_cap_holds_while_many_students_are_written_at_once(tmp_path: Path, held: Held) -> None:
    held.fault = "disk budget: workers write several times what the cap allows"
    context = context_of(tmp_path)
    root, students = context.store.root, range(16)
    cap = 7 * student_bytes(student(context, 0))
    budget = DiskBudget(tmp_path / "run" / "students", root, cap, KEEP)
    with watched(root, tmp_path / "seen") as watch:
        workers = [
            multiprocessing.get_context("spawn").Process(
                target=write, args=(context, budget, students[first::3])
            )
            for first in range(3)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    with held("artifacts"):
        assert [worker.exitcode for worker in workers] == [0] * 3
        assert 0.6 * cap < watch.most_of_students() <= cap
    with held("best"):
        assert there(context, students) >= set(sorted(students, key=value_of)[-KEEP:])
    with held("leaks"):
        assert not list((root / "work").iterdir())
        assert not list((root / "damaged").iterdir())


@pytest.mark.slow
def test_students_go_by_rank_and_the_best_never(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    one = student_bytes(student(context, 0))
    wide = DiskBudget(tmp_path / "run" / "students", context.store.root, 100 * one, KEEP)
    numbers = range(5)
    write(context, wide, numbers)
    assert there(context, numbers) == set(numbers)
    ranked = sorted(numbers, key=value_of)

    new = student(context, 9)
    for allowed, stay in ((5, ranked[1:]), (4, ranked[2:]), (3, ranked[3:])):
        tight = replace(wide, max_bytes=allowed * one)
        with tight.room_for(new, "trial/digits/9").checkpoint(one):
            assert there(context, numbers) == set(stay)
    with (
        pytest.raises(NoRoomError, match="study_max_bytes"),
        replace(wide, max_bytes=2 * one).room_for(new, "trial/digits/9").checkpoint(one),
    ):
        pass
    assert there(context, numbers) == set(ranked[3:])


@pytest.mark.slow
@pytest.mark.parametrize("holder", ["its worker", "nobody", "another run"])
def test_the_checkpoint_of_a_trial_that_is_over_goes_unless_another_run_trains_the_student(
    holder: str, tmp_path: Path
) -> None:
    context = context_of(tmp_path)
    store, stage = context.store, student(context, 0)
    request = TrialRequestConfig("trial/digits/0", "digits", {}, seed=0)
    claim = store.claim(stage)
    trainer = stage.open(claim.context("cpu"))
    trainer.train_epoch()
    trainer.save(claim.work)
    if holder == "nobody":
        claim.release()
    pid = os.getpid() if holder == "its worker" else 1
    discard_checkpoint(context, request, {CLOCK: {"pid": pid, "host": socket.gethostname()}})
    stays = holder == "another run"
    assert store.work_path(stage).exists() == stays
    assert claim.held == stays
    if holder == "its worker":
        with store.claim(stage) as next_one:  # who does not have to wait for the worker
            trainer.save(claim.work)
            claim.release()
            assert next_one.held
            assert stage.open(next_one.context("cpu")).epoch == 0


@pytest.mark.slow
def test_the_worst_student_of_all_is_not_even_written(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    one = student_bytes(student(context, 0))
    numbers = sorted(range(KEEP + 1), key=value_of)
    budget = DiskBudget(tmp_path / "run" / "students", context.store.root, KEEP * one, KEEP)
    write(context, budget, numbers[::-1])
    assert there(context, numbers) == set(numbers[1:])
    assert not list((context.store.root / "work").iterdir())


@pytest.mark.slow
def test_a_finished_students_own_checkpoint_makes_room_before_any_student_goes(
    tmp_path: Path,
) -> None:
    context = context_of(tmp_path)
    numbers, new = range(KEEP + 1), student(context, 9)
    one = student_bytes(new)
    wide = DiskBudget(tmp_path / "run" / "students", context.store.root, 100 * one, KEEP)
    write(context, wide, numbers)
    cap = wide.used_bytes() + one + 10_000  # for what lies beside its checkpoint, which is larger
    with context.store.claim(new) as claim:
        room = replace(wide, max_bytes=cap).room_for(new, "trial/digits/9")
        trainer = new.open(claim.context("cpu"))
        trainer.train_epoch()
        trainer.save(claim.work)
        with room.artifact({"val/acc1": 100.0}) as fits:
            assert fits
            assert there(context, numbers) == set(numbers)
            assert wide.used_bytes() + one <= cap


def test_a_cap_that_is_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_yaml(tmp_path / "tiny.yaml", tiny_sweep(store={"study_max_bytes": "2MB"}))
    done = mlfd_tune("run", "tiny.yaml", cwd=tmp_path, expect=2)
    (line,) = done.stderr.splitlines()
    assert "store.study_max_bytes: 2.0 MB are too few for the students that are to be kept" in line
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.whole_matrix
@pytest.mark.slow
def test_a_real_sweep_keeps_to_its_cap(tmp_path: Path, empty_database: Path, held: Held) -> None:
    """The cap is what the students to be kept may take, and not a byte more than that."""
    held.fault = "disk budget: a sweep whose students do not fit into the cap"
    cap = least_cap(tmp_path)
    store = {"path": ".mlfd/store", "study_max_bytes": cap}
    folder = prepare(tmp_path / "capped", empty_database, fault_sweep(store=store))
    (folder / ".mlfd" / "store").mkdir(parents=True)
    with watched(folder / ".mlfd" / "store", tmp_path / "seen") as watch, Driver(folder) as driver:
        assert driver.wait() == 0, driver.output
    with held("artifacts"):
        assert 0.7 * cap < watch.most_of_students() <= cap
        check_artifacts(folder)
    with held("leaks"):
        assert not list((folder / ".mlfd" / "store" / "work").iterdir())
    with held("states"):
        check_states(folder)
    with held("metrics"):
        check_metrics(folder)
    with held("best"):
        check_best(folder, undisturbed(empty_database))
    with held("told"):
        exported = mlfd_tune("export", "tiny", cwd=folder)
        assert "no longer in the store" not in exported.stdout
        shutil.rmtree(folder / ".mlfd" / "store" / "artifacts" / "student")
        exported = mlfd_tune("export", "tiny", cwd=folder)
        assert "`mlfd-tune train exports/digits.yaml` trains them again" in exported.stdout


def least_cap(folder: Path) -> int:
    """Return the smallest cap that the sweep is not refused with."""
    folder.mkdir(exist_ok=True)
    write_yaml(folder / FILE, fault_sweep(store={"study_max_bytes": 1}))
    done = mlfd_tune("run", FILE, cwd=folder, expect=2)
    found = re.search(r"take up to ([\d.]+) MB", done.stderr)
    assert found is not None
    return int((float(found[1]) + 0.1) * 1e6)
