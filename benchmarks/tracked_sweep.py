"""``python -m benchmarks.tracked_sweep EXPERIMENT FILE``: a sweep that notes what logging costs.

It runs an experiment as `mlfd-tune run` does, with a clock around what is there for MLflow alone:
the thread that sends, and every call of the driver's that logs. Writes seconds as JSON to FILE.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from mlfd_tune.config import load_experiment
from mlfd_tune.tracking.sender import Sender
from mlfd_tune.tracking.session import Session
from mlfd_tune.tracking.tracker import Tracker
from mlfd_tune.tune import Progress, Sweep
from mlfd_tune.tune.run_log import RunLog


class Clock(threading.local):
    """Seconds inside the outermost of nested calls, of each thread apart."""

    def __init__(self) -> None:
        self.depth = 0
        self.wall = self.cpu = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call` with the clock running while it does."""

        @functools.wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.depth += 1
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.wall += time.perf_counter() - wall
                    self.cpu += time.thread_time() - cpu

        return timed


def main() -> None:
    """Run the sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("file", type=Path)
    chosen = parser.parse_args()

    clock = Clock()
    for kind in (RunLog, Tracker):
        for name, call in inspect.getmembers(kind, inspect.isfunction):
            setattr(kind, name, clock.around(call))
    opening = Clock()
    opening_s, sender_s = [], []
    Session.__init__ = opening.around(Session.__init__)  # type: ignore[method-assign]
    send = Sender.run

    def timed_send(self: Sender) -> None:
        try:
            send(self)
        finally:
            opening_s.append(opening.cpu)
            sender_s.append(time.thread_time())

    Sender.run = timed_send  # type: ignore[method-assign]
    Sweep.of(load_experiment(chosen.experiment)).run(Progress(Console(stderr=True)))
    seconds = {
        "blocked": clock.wall,
        "driver": clock.cpu,
        "sender": sum(sender_s),
        "opening": sum(opening_s),
    }
    chosen.file.write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
