"""Signals, and a death of Ray's own processes, turned into an orderly end of a run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["QUICK_S", "RunStopped", "Stopping"]

QUICK_S = 15.0
"""How long a run may take to finish after SIGTERM, in seconds; clusters kill after about 30."""


_STUCK_S = 10.0


class RunStopped(KeyboardInterrupt):
    """A run that can be resumed was stopped before its end.

    Attributes:
        lost: What of Ray died; None where a person or the cluster stopped the run.
    """

    def __init__(self, lost: str | None) -> None:
        super().__init__(lost or "interrupted")
        self.lost = lost


class Stopping:
    """Whether the run is to end before its work is done, and how soon.

    The first SIGINT (Ctrl-C) or SIGTERM asks to finish: `asked` is true from then on, and whoever
    hands out work begins nothing new. The second one raises KeyboardInterrupt in the main thread,
    wherever that is. After SIGTERM the run gets `QUICK_S` seconds, and then the second one comes by
    itself.

    Args:
        when_stuck: Called from another thread with what would be raised, where Ray has died and the
            main thread hangs in a call to it, in which it hears no signal. It has to end the
            process: what a driver that is killed leaves can be resumed.

    Attributes:
        asked: Whether to finish.
        lost: What of Ray died, so that nothing can be finished; None while it lives.
    """

    def __init__(self, when_stuck: Callable[[RunStopped], object] | None = None) -> None:
        self.asked = False
        self.lost: str | None = None
        self._when_stuck = when_stuck
        self._heard = threading.Event()
        self._over = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals in the block. In another thread than the main one nothing is done.

        Entered after Ray has started, which sets a handler of its own. A SIGINT that the process
        was started to ignore, as shells do for what runs in their background, stays ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's alone
            return
        numbers = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            numbers.append(signal.SIGINT)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            self._over.set()
            for number, handler in before.items():
                signal.signal(number, handler)

    def lose(self, what: str) -> None:
        """Stop now, because a part of Ray has died. Called by another thread than the main one."""
        if self._over.is_set():
            return
        if not self.asked:  # else the signal has gone to Ray, too, as where a service is stopped
            self.lost = what
        self.asked = True
        self._stop_now()
        if self._when_stuck is not None and not self._heard.wait(_STUCK_S):
            self._when_stuck(RunStopped(self.lost))

    def _on_signal(self, number: int, frame: object) -> None:
        if self.asked:
            self._heard.set()
            raise KeyboardInterrupt
        self.asked = True
        if number == signal.SIGTERM:
            threading.Thread(target=self._stop_soon, name="mlfd-stop", daemon=True).start()

    def _stop_soon(self) -> None:
        if not self._over.wait(QUICK_S):
            self._stop_now()

    def _stop_now(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
