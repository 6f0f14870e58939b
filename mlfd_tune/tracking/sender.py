"""The background thread that empties the journal into MLflow."""

from __future__ import annotations

import logging
import threading
import time

from mlfd_tune.tracking.apply import Applier
from mlfd_tune.tracking.client import shown_uri
from mlfd_tune.tracking.ledger import Sent
from mlfd_tune.tracking.outbox import Outbox
from mlfd_tune.tracking.session import Session

__all__ = ["Sender"]

_log = logging.getLogger(__name__)

_BYTES_AT_ONCE = 1 << 20
_LONGEST_DELAY_S = 60.0
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
        self._experiment = experiment
        self._outbox = outbox
        self._linger_s = linger_s
        self._gathering_s = linger_s
        self._first_retry_s = first_retry_s
        self._applier: Applier | None = None
        self._away = False
        self._changed = threading.Condition()
        self._flushing = 0
        self._stopping = False

    @property
    def unsent(self) -> int:
        """Number of lines in the journal that have not been sent."""
        return self._outbox.journal.lines - self._outbox.ledger.sent.lines

    def notify(self) -> None:
        """Say that there are new lines."""
        with self._changed:
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all lines written so far are sent; return False when time runs out."""
        goal = self._outbox.journal.lines
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(
                    lambda: self._outbox.ledger.sent.lines >= goal, timeout_s
                )
            finally:
                self._flushing -= 1

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end after the request it is in; return whether it did in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self.join(timeout_s)
        return not self.is_alive()

    def run(self) -> None:
        """Wait for lines and send them, until stopped."""
        delay = self._first_retry_s
        while self._wait_for_lines():
            try:
                if self._applier is None:
                    self._applier = self._connect()
                self._drain(self._applier)
            except Exception as error:
                self._applier = None  # the next attempt opens a new session
                self._say_away(error)
                self._pause(delay)
                delay = min(2 * delay, _LONGEST_DELAY_S)
            else:
                delay = self._first_retry_s
                self._say_back()

    def _wait_for_lines(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self.unsent > 0)
            self._changed.wait_for(lambda: self._stopping or self._flushing > 0, self._gathering_s)
            return not self._stopping

    def _pause(self, delay: float) -> None:
        """Wait after a failure; somebody who waits for a flush is not made to wait long."""
        end = time.monotonic() + delay
        with self._changed:
            while not self._stopping and time.monotonic() < end:
                self._changed.wait(min(self._first_retry_s, max(0.0, end - time.monotonic())))
                if self._flushing:
                    return

    def _drain(self, applier: Applier) -> None:
        journal, ledger = self._outbox.journal, self._outbox.ledger
        began_s = time.thread_time()
        while not self._stopping and self.unsent > 0:
            begin = max(ledger.sent.position, journal.start)
            lines, position = journal.read(begin, _BYTES_AT_ONCE)
            applier.apply(lines, begin)
            journal.sync()  # never remember more than what a power cut leaves in the journal
            ledger.remember_sent(Sent(position, ledger.sent.lines + len(lines)))
            applier.forget_sent_copies()
            with self._changed:
                self._changed.notify_all()
        idle_s = (time.thread_time() - began_s) / _BUSY_SHARE
        self._gathering_s = min(max(idle_s, self._linger_s), _MOST_LINGERS * self._linger_s)

    def _connect(self) -> Applier:
        session = Session(self._uri, self._experiment)
        ledger = self._outbox.ledger
        if ledger.target not in (None, session.identity):
            _log.warning(
                "%s is not the tracking database this outbox was sent to: all is sent again",
                shown_uri(self._uri),
            )
        ledger.aim_at(session.identity)
        return Applier(session, self._outbox)

    def _say_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            _log.warning(
                "MLflow at %s cannot be reached (%s); the run goes on, %d lines wait in %s",
                shown_uri(self._uri),
                str(error).strip().split("\n", 1)[0][:160] or type(error).__name__,
                self.unsent,
                self._outbox.folder,
            )

    def _say_back(self) -> None:
        if self._away and not self._stopping:
            self._away = False
            _log.info("MLflow at %s is back: all that waited is sent", shown_uri(self._uri))
