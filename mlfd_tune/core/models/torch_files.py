"""What a file of ``torch.save`` may not be, found out before torch reads it.

It is a zip archive that holds a pickle and one file a tensor, none of them deflated; before torch
1.6 it was some pickles, one after the other, with the tensors behind them.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from mlfd_tune.core.pickle_limits import check_pickle

__all__ = ["check_container"]

_LARGEST_PICKLE = 1 << 26  # bytes; it holds names and shapes, and that of a large network has 1 MB
_OLD_PICKLES = 5  # magic number, protocol, machine, content, keys
_ZIP = b"PK"


def check_container(path: Path) -> None:
    """Check a file before it is given to ``torch.load``.

    Raises:
        ValueError: It would ask for more memory than it has bytes, or for what crashes a reader.
        zipfile.BadZipFile: It is a damaged archive.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
        if start != _ZIP:
            file.seek(0)
            _check_old(file.read(_LARGEST_PICKLE))
            return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > entry.compress_size:
                raise ValueError(f"{entry.filename[:80]} in it is deflated, which torch never does")
            if entry.filename.endswith(".pkl"):
                if entry.file_size > _LARGEST_PICKLE:
                    raise ValueError(f"its pickle has more than {_LARGEST_PICKLE:,} bytes")
                check_pickle(archive.read(entry))


def _check_old(content: bytes) -> None:
    for _ in range(_OLD_PICKLES):
        content = content[check_pickle(content) :]
        if not content:
            break
