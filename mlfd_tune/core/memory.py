"""How much memory is free."""

from __future__ import annotations

from pathlib import Path

__all__ = ["free_memory_bytes"]

_CGROUP = Path("/sys/fs/cgroup")


def free_memory_bytes() -> int:
    """Return the memory that is free on this machine, or in this container; 0 if unknown."""
    free = _meminfo("MemAvailable")
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            used = int((_CGROUP / "memory.current").read_text())
            free = min(free, max(int(limit) - used, 0))
    except (OSError, ValueError):  # no such limit here
        pass
    return free


def _meminfo(name: str) -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return 0
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else 0
