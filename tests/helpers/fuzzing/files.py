"""Sound files of binary formats to be damaged, where it matters inside of what is deflated."""

from __future__ import annotations

import argparse
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from scipy.io import savemat

from tests.helpers.fuzzing.documents import Samples, damaged

__all__ = [
    "arrow_file",
    "mat_file",
    "old_torch_files",
    "parquet_file",
    "picture_files",
    "safetensors_file",
    "sound_pickles",
    "torch_file",
]

MAT_HEADER = 128  # bytes


def mat_file() -> st.SearchStrategy[bytes]:
    """Make MATLAB files: arrays damaged and deflated anew, so that their checksums are right."""
    sound = []
    for values in (
        np.arange(36, dtype=np.uint8)[None] % 3 + 1,
        np.ones((1, 36)),
        np.array([["text"]], dtype=object),
        {"a": 1},
        np.array([[1 + 2j]]),
    ):
        buffer = io.BytesIO()
        savemat(buffer, {"labels": values})
        sound.append(buffer.getvalue())
    header = sound[0][:MAT_HEADER]

    def whole(array: bytes, deflate: bool) -> bytes:
        if not deflate:
            return header + array
        packed = zlib.compress(array)
        return header + struct.pack("<II", 15, len(packed)) + packed

    arrays = damaged(Samples(one[MAT_HEADER:] for one in sound), most=6)
    return st.builds(whole, arrays, st.booleans())


def sound_pickles(meta: bytes) -> Samples:
    """Return pickles: a published one, and what else Python and NumPy write."""
    content: Any = {
        b"label_names": [b"a", "b", 3],
        "data": np.zeros((2, 3072), np.uint8),
        (1, (2, (3,))): {1, 2},
        "big": 10**30,
        "float": 1.5,
    }
    return Samples(
        [meta, *(pickle.dumps(content, protocol) for protocol in range(5)), b"(lp0\nI1\na."]
    )


@cache
def _table() -> pa.Table:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(picture, "PNG")
    images = [{"bytes": picture.getvalue(), "path": f"{row}.png"} for row in range(12)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    table = pa.table(
        {
            "image": pa.array(images, kind),
            "label": pa.array([row % 2 for row in range(12)], pa.int64()),
            "text": pa.array(["é" * row for row in range(12)]),
        }
    )
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def arrow_file() -> st.SearchStrategy[bytes]:
    """Make Arrow streams as `save_to_disk` writes them, damaged."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, _table().schema) as writer:
        writer.write_table(_table(), max_chunksize=5)
    return damaged(Samples([sink.getvalue()]))


def parquet_file() -> st.SearchStrategy[bytes]:
    """Make Parquet files, deflated and not, damaged."""
    sound = Samples()
    for compression in ("none", "snappy"):
        sink = io.BytesIO()
        pq.write_table(_table(), sink, compression=compression, row_group_size=5)
        sound.append(sink.getvalue())
    return damaged(sound)


def _state(weights: dict[str, torch.Tensor]) -> list[Any]:
    return [
        OrderedDict(weights),
        {"state_dict": weights, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        {"model": {f"module.{name}": value for name, value in weights.items()}},
    ]


@st.composite
def torch_file(draw: st.DrawFn, weights: dict[str, torch.Tensor]) -> bytes:
    """Make checkpoints of ``torch.save``: damaged as a whole, or the pickle in the archive."""
    buffer = io.BytesIO()
    torch.save(draw(st.sampled_from(Samples(_state(weights)))), buffer)
    if draw(st.booleans()):
        return draw(damaged(Samples([buffer.getvalue()])))
    out = io.BytesIO()
    deflated = draw(st.integers(0, 9)) == 0
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(out, "w") as written:
        for entry in archive.infolist():
            content = archive.read(entry)
            if entry.filename.endswith(".pkl"):
                content = draw(damaged(Samples([content]), most=3))
            kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            written.writestr(entry.filename, content, compress_type=kind)
    return out.getvalue()


def old_torch_files(weights: dict[str, torch.Tensor]) -> Samples:
    """Return checkpoints as torch wrote them before 1.6."""
    found = Samples()
    for state in _state(weights):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=False)
        found.append(buffer.getvalue())
    return found


@st.composite
def safetensors_file(draw: st.DrawFn, weights: dict[str, torch.Tensor]) -> bytes:
    """Make safetensors files: damaged, or with a header that says something else."""
    content = save(weights, metadata={"format": "pt"})
    if draw(st.booleans()):
        return draw(damaged(Samples([content])))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(header)))
        entry = header[name]
        key = draw(st.sampled_from(sorted(entry)))
        entry[key] = draw(
            st.sampled_from(
                ("F64", "I64", "BOOL", "F8_E4M3", "C64", "", [0, 2**63], [8, 0], [], [0])
            )
            | st.lists(st.integers(-1, 2**64), max_size=3)
        )
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def picture_files() -> Samples:
    """Return small pictures in the formats that people keep datasets in, and in stranger ones."""
    grid = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    picture = Image.fromarray(grid)
    found = Samples()
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (picture, "PNG", {}),
        (picture.convert("P"), "PNG", {"transparency": 3}),
        (Image.fromarray(grid[..., 0].astype(np.uint16) * 300), "PNG", {}),
        (picture, "JPEG", {"exif": _exif(6)}),
        (picture.convert("CMYK"), "JPEG", {}),
        (picture, "GIF", {"save_all": True, "append_images": [picture.rotate(90)]}),
        (picture, "WEBP", {"save_all": True, "append_images": [picture.rotate(90)]}),
        (picture, "TIFF", {"compression": "tiff_lzw"}),
        (picture.convert("F"), "TIFF", {}),
        (picture, "BMP", {}),
        (picture, "PPM", {}),
        (picture, "TGA", {"compression": "tga_rle"}),
        (picture, "ICO", {}),
        (picture, "JPEG2000", {}),
        (picture, "PCX", {}),
        (picture, "SGI", {}),
        (picture, "DDS", {}),
        (picture, "EPS", {}),
        (picture.convert("1"), "XBM", {}),
        (picture, "AVIF", {}),
        (picture, "QOI", {}),
    ]
    for image, name, options in kinds:
        buffer = io.BytesIO()
        try:
            image.save(buffer, name, **options)
        except (KeyError, OSError, ValueError):  # Pillow was built without it
            continue
        found.append(buffer.getvalue())
    return found


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
