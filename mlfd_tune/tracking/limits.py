"""MLflow's limits on names, values and batch sizes, kept by shortening rather than by failing."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

__all__ = [
    "MAX_DIGEST_LENGTH",
    "MAX_LONG_VALUES",
    "MAX_METRICS",
    "MAX_PARAMS_OR_TAGS",
    "MAX_PARAM_LENGTH",
    "MAX_RUN_NAME_LENGTH",
    "MAX_TAG_LENGTH",
    "entries_per_request",
    "shortened",
    "valid_name",
]

MAX_METRICS: Final = 1000
"""Metrics in one request."""
MAX_PARAMS_OR_TAGS: Final = 100
"""Params, or tags, in one request."""
MAX_LONG_VALUES: Final = 20
"""Likewise when some are long: a request may have 1 MB, and a character take 6 bytes of it."""
MAX_PARAM_LENGTH: Final = 6000
MAX_TAG_LENGTH: Final = 5000
"""Characters of a tag's value; newer versions take 8000, older ones 5000."""
MAX_DIGEST_LENGTH: Final = 36
MAX_RUN_NAME_LENGTH: Final = 250
_MAX_NAME_LENGTH: Final = 250

_FORBIDDEN = re.compile(r"[^/\w.\- :]")


@lru_cache(maxsize=4096)
def valid_name(name: str) -> str:
    """Return `name` as MLflow accepts it for a metric, param or tag.

    Forbidden characters become underscores, and what would make a file path resolve to another
    (``..``, doubled or outer slashes) is removed. Ordinary names come back unchanged.
    """
    plain = _FORBIDDEN.sub("_", name)[:_MAX_NAME_LENGTH]
    return posixpath.normpath(plain).lstrip("./") or "unnamed"


def entries_per_request(values: Iterable[str]) -> int:
    """Return how many params or tags with such values go into one request."""
    return MAX_LONG_VALUES if any(len(value) > 1000 for value in values) else MAX_PARAMS_OR_TAGS


def shortened(text: str, length: int) -> str:
    """Return `text`, cut to `length` characters with an ellipsis when it is longer.

    PostgreSQL takes no zero characters, so that they are replaced.
    """
    text = text.replace("\0", "\ufffd")
    return text if len(text) <= length else text[: length - 3] + "..."
