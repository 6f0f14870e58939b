"""Arrays of numbers out of MATLAB 5 files, damaged ones told apart.

SciPy's reader believes what a file says of its own sizes: on damaged ones it returns wrong numbers
or ends the process. The format is simple where an array holds numbers, so it is read here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_variables"]

MOST_BYTES = 1 << 19  # of a file, and of what it inflates to; the published ones have some 20 KB

HEADER = 128  # bytes before the first element; the last two tell the byte order
ORDERS = {b"IM": "<", b"MI": ">"}
COMPRESSED, MATRIX = 15, 14  # types of elements: one that holds another one deflated; an array
INTEGERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 12: "i8", 13: "u8"}
NUMBERS = INTEGERS | {7: "f4", 9: "f8"}
NUMERIC = range(6, 16)  # classes of arrays that hold numbers; others hold text, cells and objects
COMPLEX = 0x0800


class _Element(NamedTuple):
    kind: int
    data: bytes


def read_variables(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return those of the named variables that the file has; of what holds no numbers, an object.

    Raises:
        ValueError: The file is damaged or of another format.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    order = ORDERS.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise ValueError("it does not begin as one")
    try:
        found = dict(_arrays(content[HEADER:], order))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError("the parts of an array are not what they should be") from error
    return {name: found[name] for name in names if name in found}


def _arrays(content: bytes, order: str) -> Iterator[tuple[str, NDArray[Any]]]:
    for element in _elements(content, order):
        inner = _elements(_inflated(element.data), order) if element.kind == COMPRESSED else ()
        for array in inner or (element,):
            if array.kind == MATRIX:
                yield _array(array.data, order)


def _elements(content: bytes, order: str) -> Iterator[_Element]:
    """Yield what stands in a file or in an array, one after the other."""
    start = 0
    while start < len(content):
        kind, size = struct.unpack(f"{order}II", _cut(content, start, 8))
        begin, place = start + 8, size
        if kind >> 16:  # up to four bytes stand in the place of their number
            kind, size = kind & 0xFFFF, kind >> 16
            begin, place = start + 4, 4
        elif kind != COMPRESSED:
            place = -(-size // 8) * 8
        if size > place:
            raise ValueError("an element is larger than its place")
        yield _Element(kind, _cut(content, begin, size))
        start = begin + place


def _cut(content: bytes, start: int, size: int) -> bytes:
    part = content[start : start + size]
    if len(part) < size:
        raise ValueError("it is cut short")
    return part


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it inflates to more than {MOST_BYTES:,} bytes")
    if not stream.eof:
        raise ValueError("it is cut short")
    return content


def _array(data: bytes, order: str) -> tuple[str, NDArray[Any]]:
    """Return the name and the numbers of an array."""
    flags, sides, name, *rest = _elements(data, order)
    (word,) = struct.unpack(f"{order}I", flags.data[:4])
    title = name.data.decode("latin-1")
    if word & 0xFF not in NUMERIC or word & COMPLEX:
        return title, np.array(None)
    shape = np.frombuffer(sides.data, f"{order}i4").tolist()
    values = np.frombuffer(rest[0].data, f"{order}{NUMBERS[rest[0].kind]}")
    if min(shape) < 0 or prod(shape) != len(values):
        raise ValueError(f"an array of shape {tuple(shape)} has {len(values):,} values")
    return title, values.reshape(shape, order="F")
