"""A clock that can be set while processes run, without being allowed to set the machine's.

Times of files are the machine's all the same: for them the processes are on another computer than
the disk, as on a shared filesystem.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

__all__ = ["Clock", "can_be_set"]

_SOURCE = Path(__file__).with_name("clock.c")


def can_be_set() -> bool:
    """Tell whether there is a compiler, which the clock needs."""
    return shutil.which("cc") is not None


class Clock:
    """The time of day that Python sees in the processes which are started with it.

    Args:
        folder: Where its files are put.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._offset = folder / "offset"
        self._library = folder / "clock.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", self._library, _SOURCE, "-ldl"], check=True
        )
        self._offset.write_bytes(struct.pack("q", 0))

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a process is to be started."""
        return {"LD_PRELOAD": str(self._library), "MLFD_TESTED_CLOCK": str(self._offset)}

    def differs_by(self, hours: float) -> None:
        """Set it to so many hours ahead of the machine's, or behind it."""
        with self._offset.open("r+b") as file:  # in place: processes have it mapped
            file.write(struct.pack("q", int(hours * 3600)))
