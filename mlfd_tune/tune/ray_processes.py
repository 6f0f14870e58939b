"""The processes and files of one local Ray: whether they live, and cleaning up what they leave.

Ray's daemons die with the driver that started them. Its agents outlive a driver that is killed by
up to two minutes, workers by the time they need to notice, and the folder of its logs and sockets
stays until somebody removes it, even after an orderly end.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

__all__ = ["clear_session", "dead_one", "own_daemons", "session_processes", "watched"]

_DAEMONS = {"raylet": "Ray's node manager (raylet)", "gcs_server": "Ray's GCS server"}
_LOOK_EVERY_S = 0.5
_KILLED_WITHIN_S = 5.0
_LINK_TO_LATEST = "session_latest"


def own_daemons() -> dict[str, psutil.Process]:
    """Return the daemons of Ray that this process has started, by what people call them."""
    found = {}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.name() in _DAEMONS:
                found[_DAEMONS[child.name()]] = child
    return found


def dead_one(daemons: Mapping[str, psutil.Process]) -> str | None:
    """Return the name of a daemon that has died, if one has."""
    return next((name for name, process in daemons.items() if not _lives(process)), None)


@contextmanager
def watched(daemons: Mapping[str, psutil.Process], lose: Callable[[str], None]) -> Iterator[None]:
    """Look in the block whether daemons live, and tell once which of them has died.

    Ray itself notices the death of its node manager after many seconds, and then waits for another
    node to come; without its GCS server it ends the driver after a minute, in the middle of
    whatever that does.

    Args:
        daemons: See `own_daemons`.
        lose: Called from another thread with the name of the one that died.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_EVERY_S):
            dead = dead_one(daemons)
            if dead is not None:
                lose(dead)
                return

    thread = threading.Thread(target=look, name="mlfd-ray-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def session_processes(folder: Path) -> list[psutil.Process]:
    """Return the living processes of the Ray session with this folder.

    They are known by the files in it that they hold open, since Ray renames its processes, and by
    being Ray's, since a person may look at a log.
    """
    below = f"{folder}/"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if _is_rays(process) and _holds(process, below) and _lives(process):
                found.append(process)
    return found


def clear_session(folder: Path, patience_s: float = 5.0) -> None:
    """End what is left of a Ray session and remove its folder. There need not be any of it.

    Args:
        folder: The session's, as Ray names it when it starts.
        patience_s: How long processes may take to end by themselves, in seconds.
    """
    if not folder.is_dir():
        return
    until = time.monotonic() + patience_s
    while (left := session_processes(folder)) and time.monotonic() < until:
        time.sleep(0.05)
    _kill(left)
    shutil.rmtree(folder, ignore_errors=True)
    link = folder.parent / _LINK_TO_LATEST
    with contextlib.suppress(OSError):
        if link.is_symlink() and not link.exists():
            link.unlink()


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=_KILLED_WITHIN_S)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _is_rays(process: psutil.Process) -> bool:
    line = process.cmdline()
    return any(part.startswith("ray::") or "/ray/" in part for part in line[:4])


def _holds(process: psutil.Process, below: str) -> bool:
    links = Path(f"/proc/{process.pid}/fd").iterdir()
    return any(str(link.readlink()).startswith(below) for link in links)
