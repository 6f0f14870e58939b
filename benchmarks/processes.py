"""What a program costs: wall seconds, and CPU seconds of all processes it leaves behind.

Ray's daemons are not children of the program that starts them, so the usual accounting misses them:
a subreaper becomes their parent when theirs is gone. Nor does anybody account for Ray's workers,
whose parent lets the kernel bury them: they are looked at while they run.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cost", "cost_of"]

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_EVERY_S = 0.2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and CPU seconds (user and system) of every process.

    The last fifth of a second of a worker, and helpers that live no longer, may be missing.
    """

    wall: float
    cpu: float


def cost_of(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Cost:
    """Run a program to its end, and all that it started, and return what that cost. Linux only.

    Call it from a process that has no other children.

    Args:
        command: The program and its arguments.
        log: Where its output goes.
        environment: Variables beside this process's own.

    Raises:
        RuntimeError: It failed; the end of its output is in the message.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    meter = _Meter()
    begin = time.perf_counter()
    with log.open("wb") as file:
        program = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **(environment or {})}
        )
        meter.start()
        wall, status = 0.0, 1
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                break
            assert ended is not None
            meter.look()  # its time can be read until it is waited for
            _, code = os.waitpid(ended.si_pid, 0)
            if ended.si_pid == program.pid:
                wall, status = time.perf_counter() - begin, os.waitstatus_to_exitcode(code)
                program.returncode = status
        meter.stop()
    if status:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} failed with {status}:\n{tail}")
    return Cost(wall, meter.cpu)


class _Meter(threading.Thread):
    """Looks at all processes below this one, again and again, and remembers their CPU time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._used: dict[tuple[int, int], float] = {}
        self._over = threading.Event()

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes that were seen."""
        return sum(self._used.values())

    def run(self) -> None:
        """Look until stopped."""
        while not self._over.wait(_LOOK_EVERY_S):
            self.look()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        self.join()

    def look(self) -> None:
        """Note what every process below this one has used by now."""
        found: dict[int, tuple[int, int, float]] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it ended meanwhile
                parent, user, system, started = (int(fields[place]) for place in (1, 11, 12, 19))
                found[int(folder.name)] = (parent, started, (user + system) / _TICKS_PER_S)
        below = {os.getpid()}
        for pid in sorted(found, key=lambda pid: found[pid][1]):  # parents are older
            parent, started, cpu = found[pid]
            if parent in below:
                below.add(pid)
                self._used[pid, started] = max(cpu, self._used.get((pid, started), 0.0))
