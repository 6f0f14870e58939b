"""The background thread that empties the journal into MLflow."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

from mlfd_tune.tracking.client import reachable, shown_uri
from mlfd_tune.tracking.delivery import Delivery
from mlfd_tune.tracking.outbox import Outbox
from mlfd_tune.tracking.session import first_line

__all__ = ["Sender"]

_log = logging.getLogger(__name__)

_LONGEST_DELAY_S = 60.0
_PROBE_S = 3.0
_AWAY_S = 15.0  # a server that refuses connections is not waited for as long as one that is slow
# A request costs much and a line in it little: the dearer sending is, the longer it is put off.
_BUSY_SHARE = 0.01
_MOST_LINGERS = 20


class Sender(threading.Thread):
    """Sends the outbox's lines in order, and goes on trying while MLflow is away.

    Args:
        uri: An URI that passed `check_uri`.
        experiment: The experiment's name.
        outbox: Where the lines lie.
        linger_s: How long to gather lines before sending them together, in seconds; up to
            twenty times as long where sending would else use over a hundredth of a processor.
        first_retry_s: Wait after the first failure; it doubles up to a minute.
    """

    def __init__(
        self, uri: str, experiment: str, outbox: Outbox, linger_s: float, first_retry_s: float
    ) -> None:
        super().__init__(name="mlfd-tracking", daemon=True)
        self._uri = uri
        self._outbox = outbox
        self._delivery = Delivery(uri, experiment, outbox)
        self._linger_s = linger_s
        self._gathering_s = linger_s
        self._first_retry_s = first_retry_s
        self._away = False
        self._fails_at_once = False
        self._changed = threading.Condition()
        self._flushing = 0
        self._stopping = False

    @property
    def unsent(self) -> int:
        """Number of records in the outbox that have not been sent."""
        return self._delivery.unsent

    def notify(self) -> None:
        """Say that there are new lines."""
        with self._changed:
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was written so far is sent.

        Args:
            timeout_s: How long to wait after the last record that was sent, in seconds; at most
                fifteen while MLflow turns connections down at once.

        Returns:
            Whether all is sent.
        """
        goal = self._outbox.journal.lines
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                progressed = time.monotonic()
                left = self.unsent
                while self._outbox.ledger.sent.lines < goal or self._outbox.ledger.postponed:
                    if self.unsent < left:
                        progressed = time.monotonic()
                    left = self.unsent
                    refused = self._fails_at_once and not self._delivery.is_connected
                    patience_s = min(timeout_s, _AWAY_S) if refused else timeout_s
                    remaining_s = progressed + patience_s - time.monotonic()
                    if remaining_s <= 0:
                        return False
                    self._changed.wait(min(remaining_s, _AWAY_S))
                return True
            finally:
                self._flushing -= 1

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end after the request it is in; return whether it did in time.

        Args:
            timeout_s: How long to wait, in seconds.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self.join(timeout_s)
        return not self.is_alive()

    def run(self) -> None:
        """Wait for lines and send them, until stopped."""
        delay = self._first_retry_s
        while self._wait_for_work():
            left, began = self.unsent, time.monotonic()
            try:
                self._drain()
            except Exception as error:
                self._fails_at_once = time.monotonic() - began < _PROBE_S
                self._say_away(error)
                if self.unsent < left:
                    delay = self._first_retry_s
                self._pause(delay)
                delay = min(2 * delay, _LONGEST_DELAY_S)
            else:
                delay = self._first_retry_s
                self._say_back()
        with contextlib.suppress(Exception):  # away again: the next one on this outbox does it
            self._delivery.finish()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._has_work())
            self._changed.wait_for(lambda: self._stopping or self._flushing > 0, self._gathering_s)
            return not self._stopping

    def _has_work(self) -> bool:
        return self._delivery.lines_unsent > 0 or (self._flushing > 0 and self.unsent > 0)

    def _pause(self, delay: float) -> None:
        """Wait after a failure; somebody who waits for a flush is not made to wait long."""
        end = time.monotonic() + delay
        with self._changed:
            while not self._stopping and time.monotonic() < end:
                self._changed.wait(min(self._first_retry_s, max(0.0, end - time.monotonic())))
                if self._flushing:
                    return

    def _drain(self) -> None:
        began_s = time.thread_time()
        while not self._stopping and self._delivery.lines_unsent > 0:
            self._delivery.send_lines()
            self.notify()
        if self._flushing or self._delivery.postponed_are_due:
            self._delivery.send_postponed()
            self.notify()
        idle_s = (time.thread_time() - began_s) / _BUSY_SHARE
        self._gathering_s = min(max(idle_s, self._linger_s), _MOST_LINGERS * self._linger_s)

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            where = shown_uri(self._uri)
            _log.warning(
                "MLflow cannot be reached (%s); the run goes on, %d records wait in %s",
                reachable(self._uri, _PROBE_S) or f"{where}: {first_line(error)}",
                self.unsent,
                self._outbox.folder,
            )

    def _say_back(self) -> None:
        if self._away and not self._stopping:
            self._away = False
            _log.info("MLflow at %s is back: all that waited is sent", shown_uri(self._uri))
