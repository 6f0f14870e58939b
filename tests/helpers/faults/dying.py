"""Points at which a process of a real driver dies, by SIGKILL, always at the same place.

Nothing of this is in the product: Python imports `site/sitecustomize.py` in every process of the
driver, since the folder is put on its path, and that waits for the point.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["CHECKPOINT_EVERY_EPOCH", "Point"]

_SITE = Path(__file__).parent / "site"

CHECKPOINT_EVERY_EPOCH = {"mlfd_tune.core.training.trainer:CHECKPOINT_EVERY_S": 0.0}
"""Constants with which a training is saved after each of its epochs, however short they are."""


@dataclass(frozen=True)
class Point:
    """A moment in the life of a driver or of one of its workers.

    Attributes:
        name: When it is, as it stands in the table of faults.
        process: Whose code gets there.
        call: Function whose call is the moment, as ``package.module:Class.function``; else
        event: ``open`` for writing, or ``os.rename``, of
        file: a path in which this regular expression is found.
        count: The how manieth time it is.
        after: Whether it is the return from the function, and not the call.
        dies: ``driver`` alone, as by a `kill -9`; the ``worker`` that gets there; ``all``, as by
            the death of the machine; or nobody, but the ``terminal`` sends a signal, which goes to
            the driver and all that it has started.
        number: The signal.
        stays_s: How long the process then stays where it is, if it lives, as in a long epoch.
        tears: Whether half of the file that is to be renamed is missing, as if the process had died
            while it wrote it.
        constants: Values of the product's constants, by ``package.module:NAME``.
    """

    name: str
    process: Literal["driver", "worker"]
    call: str = ""
    event: Literal["open", "os.rename"] = "os.rename"
    file: str = ""
    count: int = 1
    after: bool = False
    dies: Literal["driver", "worker", "all", "terminal"] = "driver"
    number: int = signal.SIGKILL
    stays_s: float = 0.0
    tears: bool = False
    constants: Mapping[str, Any] = field(default_factory=dict)

    def marker(self, folder: Path) -> Path:
        """Return the file that is there once it has happened."""
        return folder / "died"

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables with which a driver is to be started in `folder`."""
        plan = asdict(self) | {"marker": str(self.marker(folder)), "number": int(self.number)}
        paths = [str(_SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"MLFD_TESTED_DEATH": json.dumps(plan), "PYTHONPATH": os.pathsep.join(paths)}
