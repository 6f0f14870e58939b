from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from mlfd_tune.core.store import HeartbeatLock, locks, owners
from mlfd_tune.core.store.locks import LockOwner, read_owner


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "locks" / "a.lock"


@pytest.fixture
def me(tmp_path) -> LockOwner:
    """Return this process as it signs its locks."""
    lock = HeartbeatLock(tmp_path / "mine.lock")
    lock.acquire()
    owner = read_owner(lock.path)
    lock.release()
    assert owner is not None
    return owner


@pytest.fixture
def dead_child() -> Iterator[subprocess.Popen]:
    """Yield a killed process that nobody has waited for yet: a zombie."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child.kill()
    yield child
    child.wait()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen]:
    """Yield a process that lives until the end of the test."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def owner_of(child: subprocess.Popen) -> LockOwner:
    """Return how a process would sign its locks."""
    here = LockOwner.this_process()
    started = psutil.Process(child.pid).create_time()
    return LockOwner(here.host, child.pid, started, "theirs")


def wait_until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def write_lock(path: Path, owner: LockOwner) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(owner)))


def acquired_within(lock: HeartbeatLock, seconds: float) -> threading.Thread | None:
    """Return None if the lock was acquired in time, else the thread that is still waiting."""
    thread = threading.Thread(target=lock.acquire, daemon=True)
    thread.start()
    thread.join(seconds)
    return thread if thread.is_alive() else None


def test_a_lock_is_held_from_acquire_to_release(path):
    lock = HeartbeatLock(path)
    assert not lock.held
    lock.acquire()
    assert lock.held
    assert read_owner(path).pid == os.getpid()
    lock.release()
    assert not lock.held
    assert not path.exists()
    lock.release()


def test_only_one_at_a_time_holds_it(path):
    inside, most, entered = 0, 0, []

    def work(number: int) -> None:
        nonlocal inside, most
        lock = HeartbeatLock(path)
        lock.acquire()
        inside += 1
        most = max(most, inside)
        time.sleep(0.02)
        entered.append(number)
        inside -= 1
        lock.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(entered) == list(range(6))
    assert most == 1


def test_a_waiter_is_told_whom_it_waits_for(path):
    holder = HeartbeatLock(path)
    holder.acquire()
    told = []

    def tell(owner: LockOwner | None) -> None:
        told.append(owner)
        holder.release()

    waiter = HeartbeatLock(path)
    waiter.acquire(tell)
    assert [owner.pid for owner in told] == [os.getpid()]
    waiter.release()


def test_another_hosts_lock_is_taken_over_once_its_heartbeat_has_stopped(path, me):
    write_lock(path, dataclasses.replace(me, host="elsewhere", token="theirs"))
    lock = HeartbeatLock(path, dead_after=0.5)
    started = time.monotonic()
    lock.acquire()
    assert 0.5 <= time.monotonic() - started < 3
    assert lock.held
    lock.release()


@pytest.mark.parametrize("clock_differs_s", [0.0, -18_000.0, 18_000.0])
def test_another_hosts_lock_is_respected_as_long_as_its_heart_beats(path, me, clock_differs_s):
    write_lock(path, dataclasses.replace(me, host="elsewhere", token="theirs"))
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.05):
            now = time.time() + clock_differs_s
            os.utime(path, (now, now))

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    lock = HeartbeatLock(path, dead_after=0.5)
    waiting = acquired_within(lock, 1.5)
    assert waiting is not None
    assert read_owner(path).token == "theirs"
    stop.set()
    waiting.join(5)
    assert lock.held, "once its heartbeat has stopped"
    lock.release()


def test_a_lock_without_a_readable_owner_is_taken_over_after_a_while(path):
    path.parent.mkdir()
    path.write_text("")  # its owner was killed between making it and signing it
    lock = HeartbeatLock(path, dead_after=0.3)
    assert acquired_within(lock, 5) is None
    lock.release()


def test_a_dead_process_of_this_host_is_found_out_at_once_zombie_or_not(path, me, dead_child):
    owner = dataclasses.replace(me, pid=dead_child.pid, started=time.time(), token="theirs")
    deadline = time.monotonic() + 5
    while not owner.is_dead() and time.monotonic() < deadline:
        time.sleep(0.01)  # until the kill has arrived
    for _ in range(2):
        assert owner.is_dead()
        write_lock(path, owner)
        lock = HeartbeatLock(path, dead_after=600)
        assert acquired_within(lock, 3) is None
        lock.release()
        dead_child.wait()


def test_a_living_process_of_this_host_keeps_its_lock_though_its_heartbeat_is_held_up(path, me):
    write_lock(path, dataclasses.replace(me, token="theirs"))  # nobody beats for it
    lock = HeartbeatLock(path, dead_after=0.2)
    waiting = acquired_within(lock, 1.0)
    assert waiting is not None
    path.unlink()
    waiting.join(5)
    lock.release()


def test_a_living_process_loses_its_lock_after_much_longer_without_a_heartbeat(path, me):
    write_lock(path, dataclasses.replace(me, token="theirs"))
    lock = HeartbeatLock(path, dead_after=0.1, frozen_after=1.0)
    started = time.monotonic()
    assert acquired_within(lock, 10) is None
    assert time.monotonic() - started >= 1.0
    lock.release()
    assert owners.HEARTBEAT_S * 10 < locks.DEAD_AFTER_S
    assert locks.DEAD_AFTER_S * 10 < locks.FROZEN_AFTER_S


def test_a_stopped_process_keeps_its_lock_for_a_while_and_then_loses_it(path, sleeper):
    owner = owner_of(sleeper)
    assert owner.fate() == "alive"
    sleeper.send_signal(signal.SIGSTOP)
    wait_until(lambda: owner.fate() == "frozen")
    assert owner.is_alive()
    write_lock(path, owner)
    lock = HeartbeatLock(path, dead_after=1.0, frozen_after=600)
    started = time.monotonic()
    assert acquired_within(lock, 10) is None
    assert time.monotonic() - started >= 1.0
    lock.release()


def test_a_lock_that_cannot_be_signed_is_not_left_behind(path, monkeypatch):
    def full(self, descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LockOwner, "sign", full)
    with pytest.raises(OSError, match="No space left"):
        HeartbeatLock(path).acquire()
    assert not path.exists()


def test_a_waiter_is_not_held_up_for_ever_by_who_was_stopped_while_deciding(
    path, me, dead_child, monkeypatch
):
    monkeypatch.setattr(locks, "_GUARD_S", 0.3)
    dead_child.wait()
    write_lock(path, dataclasses.replace(me, pid=dead_child.pid, token="theirs"))
    with FileLock(f"{path}.guard"):  # as a stopped process holds it
        lock = HeartbeatLock(path)
        assert acquired_within(lock, 10) is None
        lock.release()


def test_a_process_id_that_was_given_out_again_is_left_to_the_heartbeat(path, me):
    owner = dataclasses.replace(me, started=me.started - 100, token="theirs")
    assert not owner.is_dead()
    assert not owner.is_alive()
    write_lock(path, owner)
    lock = HeartbeatLock(path, dead_after=0.3)
    assert acquired_within(lock, 5) is None
    lock.release()


def test_of_another_host_nothing_certain_is_known(me):
    owner = dataclasses.replace(me, host="elsewhere")
    assert not owner.is_dead()
    assert not owner.is_alive()


def test_a_dead_lock_is_taken_over_by_one_of_many_waiters(path, me, dead_child):
    dead_child.wait()
    write_lock(path, dataclasses.replace(me, pid=dead_child.pid, token="theirs"))
    test_only_one_at_a_time_holds_it(path)


def test_a_holder_touches_its_lock_until_it_releases_it(path, monkeypatch):
    monkeypatch.setattr(owners, "HEARTBEAT_S", 0.02)
    lock = HeartbeatLock(path)
    lock.acquire()
    os.utime(path, (0, 0))
    deadline = time.monotonic() + 5
    while path.stat().st_mtime == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.stat().st_mtime > 0
    lock.release()
    path.write_text("")
    os.utime(path, (0, 0))
    time.sleep(0.1)
    assert path.stat().st_mtime == 0


def test_who_has_lost_a_lock_neither_removes_it_nor_keeps_it_alive(path, me, monkeypatch):
    monkeypatch.setattr(owners, "HEARTBEAT_S", 0.02)
    lock = HeartbeatLock(path)
    lock.acquire()
    write_lock(path, dataclasses.replace(me, host="elsewhere", token="theirs"))
    assert not lock.held
    time.sleep(0.1)  # for a beat that was under way
    os.utime(path, (0, 0))
    time.sleep(0.1)
    assert path.stat().st_mtime == 0
    lock.release()
    assert read_owner(path).token == "theirs"
