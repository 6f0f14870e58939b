"""Reading pickled files that come from outside, without running anything in them.

A pickle is a program: an ordinary unpickler imports and calls whatever it names. This one gives
plain containers, numbers, texts and arrays of bytes, and nothing else. What NumPy's own pickles
call is not NumPy's either but a stand-in that only takes the bytes.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.pickle_limits import check_pickle

__all__ = ["ByteArray", "read_pickle"]


class ByteArray:
    """An array of bytes as it stood in a pickle.

    Attributes:
        values: The array, uint8 of any shape, read-only.
    """

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], object, bool, bytes]) -> None:
        _, shape, kind, columns_first, data = state
        if not isinstance(kind, _ByteType):
            raise pickle.UnpicklingError("an array is not of bytes")
        flat = np.frombuffer(data, dtype=np.uint8)
        self.values = flat.reshape(shape, order="F" if columns_first else "C")


def read_pickle(path: Path, shown: str) -> Any:
    """Return what a pickled file holds; texts that Python 2 wrote come as bytes.

    Args:
        path: The file.
        shown: The file as error messages name it.

    Raises:
        UserError: It is damaged, or needs more than an array of bytes does.
    """
    try:
        content = path.read_bytes()
        check_pickle(content)
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _ForbiddenError as error:
        raise UserError(
            f"{shown} asks for {error}, which the published file does not; nothing of it was run. "
            "Do not trust it, download it again"
        ) from error
    except Exception as error:  # damaged bytes raise nearly anything
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{shown} is no pickle that can be read ({reason}); unpack its archive again"
        ) from error


class _ForbiddenError(Exception):
    """A pickle named something that is not allowed."""


class _ByteType:
    """Stands for NumPy's type of a byte; what a pickle says of it further is nothing new."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


# A pickle may set attributes of what it is given. These are objects without any, not functions.
class _Array:
    __slots__ = ()

    def __call__(self, *_: object) -> ByteArray:
        return ByteArray()


class _Type:
    __slots__ = ()

    def __call__(self, code: object, *_: object) -> _ByteType:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError("an array is not of bytes")
        return _ByteType()


class _Encode:
    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes are written as {encoding!r}")
        return text.encode("latin1")


_ALLOWED = {
    "numpy.core.multiarray._reconstruct": _Array(),
    "numpy._core.multiarray._reconstruct": _Array(),  # as NumPy 2 writes it
    "numpy.ndarray": _Array(),
    "numpy.dtype": _Type(),
    "_codecs.encode": _Encode(),  # how Python 3 writes bytes in the words of Python 2
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get(f"{module}.{name}")
        if found is None:
            raise _ForbiddenError(f"{module}.{name}")
        return found
