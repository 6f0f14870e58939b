"""What a program costs: wall seconds, and CPU seconds of all processes it leaves behind.

Ray's daemons and workers are not children of the program that starts them, so the usual accounting
misses them. A subreaper becomes their parent when theirs is gone, and is told what they used.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cost", "cost_of"]

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and CPU seconds (user and system) of every process."""

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
    begin = time.perf_counter()
    with log.open("wb") as file:
        program = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **(environment or {})}
        )
        cpu, wall, status = 0.0, 0.0, 1
        while True:
            try:
                pid, ended, used = os.wait4(-1, 0)
            except ChildProcessError:
                break
            cpu += used.ru_utime + used.ru_stime
            if pid == program.pid:
                wall, status = time.perf_counter() - begin, os.waitstatus_to_exitcode(ended)
                program.returncode = status
    if status:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} failed with {status}:\n{tail}")
    return Cost(wall, cpu)
