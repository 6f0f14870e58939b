"""Sizes as people write them."""

from __future__ import annotations

__all__ = ["size_text"]


def size_text(count: int) -> str:
    """Return a number of bytes as people write it, such as ``20.0 GB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
