"""Tables in Arrow and Parquet files, read a piece at a time and never as a whole."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.paths import not_a_file

__all__ = ["ArrowTable"]

_KEPT = 8  # pieces; the threads that pack a dataset read side by side
_LFS = b"version https://git-lfs"


class _Piece(NamedTuple):
    """Some rows: how many, and what reads a column of them."""

    rows: int
    read: Callable[[str], Any]


class ArrowTable:
    """The rows of one split, whose files are parts of one table.

    Its pieces are the record batches of Arrow streams, mapped from disk, and the row groups of
    Parquet files, each read when a row of it is asked for. Safe to read from several threads.

    Args:
        files: Files ending in ``.arrow`` or ``.parquet``, in the order of their rows.
        where: The folder as messages name it.

    Raises:
        UserError: A file is missing or damaged, or has other columns than the first.
    """

    def __init__(self, files: Sequence[Path], where: str) -> None:
        self._pieces: list[_Piece] = []
        self._kept: OrderedDict[tuple[int, str], Any] = OrderedDict()
        self._lock = threading.Lock()
        self.schema: Any = None
        for file in files:
            schema, pieces = _opened(file, where)
            if self.schema is None:
                self.schema = schema
            elif not self.schema.equals(schema):
                raise UserError(
                    f"{file.name} in {where} has other columns than {files[0].name}: "
                    f"{', '.join(schema.names)} instead of {', '.join(self.schema.names)}"
                )
            self._pieces += pieces
        self._ends = np.cumsum([piece.rows for piece in self._pieces], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """What the library `datasets` has written of the columns: by name, its ``_type`` and more.

        Empty where another program wrote the files, or what is there is not what it writes.
        """
        written = (self.schema.metadata or {}).get(b"huggingface")
        try:
            features = json.loads(written)["info"]["features"] if written else {}
            return {name: one for name, one in features.items() if isinstance(one, dict)}
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return {}

    def column(self, name: str) -> Iterator[Any]:
        """Yield the values of a column, None where there is none; one piece at a time is read."""
        for piece in self._pieces:
            yield from piece.read(name).to_pylist()

    def value(self, name: str, row: int) -> Any:
        """Return one value of a column."""
        piece = int(np.searchsorted(self._ends, row, side="right"))
        start = int(self._ends[piece - 1]) if piece else 0
        return self._piece(piece, name)[row - start].as_py()

    def _piece(self, piece: int, name: str) -> Any:
        with self._lock:  # a Parquet file is not to be read by two threads at once
            key = (piece, name)
            if key not in self._kept:
                self._kept[key] = self._pieces[piece].read(name)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


@contextmanager
def _damage_told(file: Path, where: str) -> Iterator[None]:
    """Name the file in what goes wrong with reading it."""
    import pyarrow as pa

    try:
        yield
    # LookupError: two columns of one name. ValueError: what is written of it is no text.
    except (pa.ArrowException, OSError, LookupError, ValueError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(f"{file.name} in {where} is damaged: {reason}") from error


def _opened(file: Path, where: str) -> tuple[Any, list[_Piece]]:
    """Return a file's schema and its pieces."""
    wrong = not_a_file(file)
    if wrong:
        told = "is missing" if wrong == "does not exist" else wrong
        raise UserError(f"{file.name} in {where} {told}")
    with _damage_told(file, where):
        with file.open("rb") as start:
            pointer = start.read(len(_LFS)) == _LFS
        if pointer:
            raise UserError(
                f"{file.name} in {where} is only a pointer to the data: run git lfs pull there"
            )
        schema, pieces = _parquet(file) if file.suffix == ".parquet" else _arrow(file)
    return schema, [_Piece(piece.rows, _checked(piece, file, where)) for piece in pieces]


def _checked(piece: _Piece, file: Path, where: str) -> Callable[[str], Any]:
    """Read as a piece reads, and look at what comes: Arrow itself would follow it anywhere."""

    def read(name: str) -> Any:
        with _damage_told(file, where):
            found = piece.read(name)
            found.validate(full=True)
            if len(found) != piece.rows:
                raise ValueError(f"{len(found):,} values of {name} in {piece.rows:,} rows")
            return found

    return read


def _arrow(file: Path) -> tuple[Any, list[_Piece]]:
    import pyarrow as pa

    table = pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
    batches = table.to_batches()
    return table.schema, [_Piece(batch.num_rows, batch.column) for batch in batches]


def _parquet(file: Path) -> tuple[Any, list[_Piece]]:
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(file)

    def reader(group: int) -> Callable[[str], Any]:
        def read(name: str) -> Any:
            found = opened.read_row_group(group, columns=[name], use_threads=False)
            return found.column(name).combine_chunks()

        return read

    groups = range(opened.metadata.num_row_groups)
    lengths = [opened.metadata.row_group(group).num_rows for group in groups]
    pieces = [_Piece(length, reader(group)) for group, length in enumerate(lengths)]
    return opened.schema_arrow, pieces
