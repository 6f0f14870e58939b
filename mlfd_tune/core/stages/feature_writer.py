"""Writing features: one memory-mapped file a split, filled while the device goes on computing."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from mlfd_tune.core.stages.feature_formats import (
    FeaturesDtype,
    encode,
    features_file,
    quantise,
)

__all__ = ["FeatureWriter"]

_WAITING = 4  # batches on their way from a GPU to the file; bounds pinned memory


class FeatureWriter:
    """Writes one split's features in order, in the format of `feature_formats`.

    From a GPU, batches go to pinned memory and a thread puts them into the file when they are
    there, so that no batch waits for the one before.

    Use it as a context manager: the files are whole when the block ends.

    Args:
        out: The folder to write to.
        scratch: Where `int8` has its values as float16 until every channel's range is known.
        split: ``train`` or ``val``.
        dtype: How they are kept.
        shape: (N, C) or (N, C, H, W), of all images.
    """

    def __init__(
        self, out: Path, scratch: Path, split: str, dtype: FeaturesDtype, shape: tuple[int, ...]
    ) -> None:
        self._out, self._split = out, split
        self._final: FeaturesDtype = dtype
        self._dtype: FeaturesDtype = "float16" if dtype == "int8" else dtype
        self._file = features_file(scratch if dtype == "int8" else out, split, self._dtype)
        kept = np.uint16 if dtype == "bfloat16" else np.float16
        self._array = np.lib.format.open_memmap(self._file, mode="w+", dtype=kept, shape=shape)
        self._waiting: deque[Future[None]] = deque()
        self.written = 0

    def __enter__(self) -> FeatureWriter:
        self._thread = ThreadPoolExecutor(max_workers=1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
        if kind is not None:
            return
        for stored in self._waiting:
            stored.result()
        self._array.flush()
        if self._final == "int8":
            quantise(self._array, self._out, self._split)
            self._file.unlink()

    def write(self, values: Tensor) -> None:
        """Write the next images' features (n, C) or (n, C, H, W) of any float type."""
        coded = encode(values, self._dtype)
        first, self.written = self.written, self.written + len(coded)
        if not coded.is_cuda:
            self._store(coded, first)
            return
        host = torch.empty(coded.shape, dtype=coded.dtype, pin_memory=True)
        host.copy_(coded, non_blocking=True)
        arrived = torch.cuda.current_stream(coded.device).record_event()
        self._waiting.append(self._thread.submit(self._store_when, arrived, host, first))
        if len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def _store_when(self, arrived: torch.cuda.Event, host: Tensor, first: int) -> None:
        arrived.synchronize()
        self._store(host, first)

    def _store(self, host: Tensor, first: int) -> None:
        self._array[first : first + len(host)] = host.numpy().view(self._array.dtype)
