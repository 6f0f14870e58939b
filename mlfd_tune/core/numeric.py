"""What decides a result's last digits beside the seed: threads and precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

__all__ = ["Precision", "autocast", "fixed_threads", "resolve_precision"]

Precision = Literal["fp32", "fp16", "bf16"]


def resolve_precision(setting: Literal["auto", "fp32", "fp16", "bf16"]) -> Precision:
    """Turn ``auto`` into what this machine trains in: fp32 without a GPU, else bf16 or fp16.

    Resolved once, where the stages are planned, and then part of their specs.
    """
    if setting != "auto":
        return setting
    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the autocast context of a precision; a no-op for fp32."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Compute with `count` intra-op threads inside the block.

    On CPU the order of a sum depends on the number of threads, so the number is a setting and not
    whatever the machine has.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
