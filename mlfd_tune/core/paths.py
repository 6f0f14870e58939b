"""Paths that people and files give: they may lead anywhere, to anything, or be no paths at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["expanded", "is_folder", "not_a_file"]

_KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a named pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
}


def expanded(text: str | Path) -> Path:
    """Return a path with ``~`` as the home folder; of a user who is not known it stays as it is."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 (Path.expanduser raises there)


def is_folder(path: Path) -> bool:
    """Return whether there is a folder that can be seen; unlike `Path.is_dir` it never raises."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def not_a_file(path: Path) -> str | None:
    """Return why a path is no regular file, links followed; None where it is one.

    Opening anything else may wait for ever, as for a named pipe that nobody writes to, or never
    end, as for a device.

    Returns:
        What follows the path in a message: ``does not exist``, ``is a folder``.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link that leads nowhere" if path.is_symlink() else "does not exist"
    except OSError as error:  # no right to look, a loop of links, a name that is too long
        return f"cannot be read: {error.strerror}"
    except ValueError:
        return "is no path: it holds a character that no path can hold"
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "is not a file")
