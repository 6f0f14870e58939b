"""A disk that is full or read-only ends a run with one line, and the run can be resumed.

That is nobody's failure: a trial that met it is not over, and its configuration not to blame. So it
must not be written down as failed, as anything else that a trial raises is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.no_space import NoSpaceError

__all__ = ["disk_trouble", "told_in_a_line"]

_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "the disk is read-only",
}
# What is written by others than Python raises errors of its own kinds, with the same words.
_TEXTS = {
    "No space left on device": _ERRORS[errno.ENOSPC],
    "Disk quota exceeded": _ERRORS[errno.EDQUOT],
    "Read-only file system": _ERRORS[errno.EROFS],
}
_RESUME = "free space and go on with --resume"


def disk_trouble(error: BaseException, place: Path) -> NoSpaceError | None:
    """Return in a line what is wrong with a disk, or None where an error is of another kind.

    Args:
        error: What was raised, with its causes.
        place: What was written to, where the error does not say.
    """
    chain = list(_chain(error))
    found = next((one for one in chain if isinstance(one, NoSpaceError)), None)
    if found is not None:
        return found
    for one in chain:
        reason = _reason(one)
        if reason is None:
            continue
        told = _user_error(error)
        if told is not None:
            return NoSpaceError(*told.problems)
        where = getattr(one, "filename", None) or place
        return NoSpaceError(f"{where}: {reason}; {_RESUME}")
    return None


@contextmanager
def told_in_a_line(place: Path) -> Iterator[None]:
    """Raise a `UserError` for what a user can mend, however deep below another error it is.

    Ray wraps what its callbacks raise into errors of its own, with the traceback as their text.

    Args:
        place: What is written to in the block.

    Raises:
        NoSpaceError: A disk is full or read-only.
        UserError: Whatever was wrong otherwise.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = disk_trouble(error, place) or _user_error(error)
        if told is None:
            raise
        raise told from error


def _reason(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _ERRORS:
        return _ERRORS[error.errno]
    return next((told for text, told in _TEXTS.items() if text in str(error)), None)


def _user_error(error: BaseException) -> UserError | None:
    return next((one for one in _chain(error) if isinstance(one, UserError)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
