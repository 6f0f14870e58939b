"""Variables out of MATLAB 5 files, damaged ones told apart."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_variables"]

HEADER = 128  # bytes before the first element; the last two tell the byte order
ORDERS = {b"IM": "<", b"MI": ">"}
COMPRESSED = 15  # the type of an element that holds another one, deflated


def read_variables(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return those of the named variables that the file has.

    Raises:
        ValueError: The file is damaged or of another format.
    """
    from scipy.io import loadmat  # slow to import, and few sources need it

    try:
        _verify(path.read_bytes())
        content = loadmat(path, variable_names=list(names))
    except Exception as error:  # the reader raises nearly anything on damaged bytes
        raise ValueError(str(error)) from error
    return {name: np.asarray(content[name]) for name in names if name in content}


def _verify(content: bytes) -> None:
    """Raise where an element is cut short or fails its checksum.

    SciPy checks neither: it returns wrong numbers or crashes the process.
    """
    order = ORDERS.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise ValueError("it does not begin as one")
    start = HEADER
    while start < len(content):
        tag = content[start : start + 8]
        if len(tag) < 8:
            raise ValueError("it is cut short")
        kind, size = struct.unpack(f"{order}II", tag)
        start += 8
        if start + size > len(content):
            raise ValueError("it is cut short")
        if kind == COMPRESSED:
            zlib.decompress(content[start : start + size])
        start += size
