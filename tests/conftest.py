"""Makes `tests.helpers` importable from every test, wherever pytest is started."""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = str(Path(__file__).parents[1])

if PROJECT not in sys.path:
    sys.path.insert(0, PROJECT)
