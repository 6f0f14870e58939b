"""Sending what an outbox holds to MLflow, piece by piece, and once however often it is tried."""

from __future__ import annotations

import logging
import time

from mlfd_tune.tracking.apply import Applier
from mlfd_tune.tracking.client import shown_uri
from mlfd_tune.tracking.ledger import Sent
from mlfd_tune.tracking.outbox import Outbox
from mlfd_tune.tracking.session import ReplacedError, Session

__all__ = ["Delivery"]

_log = logging.getLogger(__name__)

_BYTES_AT_ONCE = 1 << 20
_FACTOR = 4
_POSTPONED_EVERY_S = 60.0


class Delivery:
    """Sends an outbox's records in order, from where the last one left off.

    After an error nothing is known of the request that met it: the next attempt opens a new
    session and looks for what the last one may have made. `finish` removes what was made later
    still.

    Args:
        uri: An URI that passed `check_uri`.
        experiment: The experiment's name.
        outbox: Where the records lie.
        bytes_at_once: How much is sent before it is remembered as sent, at most.
    """

    def __init__(
        self, uri: str, experiment: str, outbox: Outbox, bytes_at_once: int = _BYTES_AT_ONCE
    ) -> None:
        self._uri = uri
        self._experiment = experiment
        self._outbox = outbox
        self._most_bytes = self._bytes = bytes_at_once
        self._applier: Applier | None = None
        self._tried_postponed = time.monotonic()
        if self.lines_unsent:  # another process may have died in the middle of a request
            outbox.ledger.in_doubt = True

    @property
    def lines_unsent(self) -> int:
        """Number of the journal's lines that have not been sent."""
        return self._outbox.journal.lines - self._outbox.ledger.sent.lines

    @property
    def unsent(self) -> int:
        """Number of records that have not been sent: lines, and files that were put off."""
        return self.lines_unsent + len(self._outbox.ledger.postponed)

    @property
    def is_connected(self) -> bool:
        """Whether MLflow has answered since the last error."""
        return self._applier is not None

    @property
    def postponed_are_due(self) -> bool:
        """Tell whether files that were put off should be tried again."""
        waited_s = time.monotonic() - self._tried_postponed
        return waited_s > _POSTPONED_EVERY_S and len(self._outbox.ledger.postponed) > 0

    def send_lines(self) -> None:
        """Send the next lines of the journal, and remember that they are sent.

        Raises:
            Exception: Whatever MLflow raises while it is away. What was sent without being
                remembered is sent again by the next call, without harm.
        """
        journal, ledger = self._outbox.journal, self._outbox.ledger
        try:
            applier = self._connected()
            begin = max(ledger.sent.position, journal.start)
            lines, position = journal.read(begin, self._bytes)
            applier.apply(lines, begin)
            self._require_database(applier)
            journal.sync()  # never remember more than what a power cut leaves in the journal
            ledger.remember_sent(Sent(position, ledger.sent.lines + len(lines)))
            applier.forget_sent_copies()
            self._bytes = min(_FACTOR * self._bytes, self._most_bytes)
        except BaseException:
            # Where many a request fails, only few in a row get through.
            self._bytes = max(self._bytes // _FACTOR, 1)
            self._give_up()
            raise

    def send_postponed(self) -> None:
        """Send the files that were put off, since they could not be stored when all else could.

        Raises:
            Exception: As `send_lines`.
        """
        self._tried_postponed = time.monotonic()
        failure: Exception | None = None
        for number, line in list(self._outbox.ledger.postponed.items()):
            try:
                applier = self._connected()
                applier.send_postponed(line)
                self._require_database(applier)
                self._outbox.ledger.forget_postponed(number)
                applier.forget_sent_copies()
            except Exception as error:
                failure = error
                self._give_up()
        if failure is not None:
            raise failure

    def finish(self) -> None:
        """Once all is sent, remove runs that a server made after the request had been given up.

        Raises:
            Exception: Whatever MLflow raises while it is away; to be tried again another time.
        """
        if self._outbox.ledger.in_doubt and not self.unsent:
            self._connected().remove_doubles()
            self._outbox.ledger.in_doubt = False

    def _connected(self) -> Applier:
        if self._applier is None:
            session = Session(self._uri, self._experiment)
            ledger = self._outbox.ledger
            if ledger.target is not None and not self._knows(session):
                _log.warning(
                    "%s is not the tracking database this outbox was sent to: all is sent again",
                    shown_uri(self._uri),
                )
                ledger.start_again()
            ledger.aim_at(session.identity)
            self._applier = Applier(session, self._outbox)
        return self._applier

    def _knows(self, session: Session) -> bool:
        """Tell whether a database has what it was sent: one brought back from a copy may not."""
        ledger = self._outbox.ledger
        if ledger.target != session.identity:
            return False
        return ledger.last_run_id is None or session.has_run(ledger.last_run_id)

    def _give_up(self) -> None:
        """Have the next attempt begin anew.

        Raises:
            ReplacedError: That is why this one failed.
        """
        applier, self._applier = self._applier, None
        self._outbox.ledger.in_doubt = True
        if applier is not None:
            self._require_database(applier)

    def _require_database(self, applier: Applier) -> None:
        try:
            applier.require_database()
        except ReplacedError:
            self._applier = None
            self._outbox.ledger.start_again()
            raise
