"""Sending what a run left behind, once its tracking server is there again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking.client import absolute_uri, check_uri, reachable, shown_uri
from mlfd_tune.tracking.delivery import Delivery
from mlfd_tune.tracking.outbox import InUseError, Outbox
from mlfd_tune.tracking.session import first_line
from mlfd_tune.tracking.waiting import Waiting

__all__ = ["flush", "uri_of"]

_BYTES_AT_ONCE = 1 << 16  # so that whoever waits sees it move
_WAIT_S = 1.0


def uri_of(
    waiting: Waiting, given: str | None = None, environment: Mapping[str, str] = os.environ
) -> str:
    """Return where the records of an outbox go, with the login that it does not remember.

    Args:
        waiting: The outbox.
        given: An URI to use in any case.
        environment: Has logins, as MLflow and PostgreSQL's library look for them.

    Raises:
        UserError: The outbox does not know, or the login is missing.
    """
    if given is not None:
        return given
    target = waiting.target
    if target is None:
        raise UserError(f"{waiting.name}: it is not known where its records go; give --uri")
    if not target.secret:
        return target.uri
    named = environment.get("MLFLOW_TRACKING_URI", "")
    if target.is_meant_by(named):
        return named
    server = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    needed = server if target.uri.startswith("http") else ("PGPASSWORD",)
    if target.uri.startswith(("http", "postgresql")) and all(map(environment.get, needed)):
        return target.uri
    raise UserError(
        f"{waiting.name}: the login at {shown_uri(target.uri)} is not kept on disk; give the whole "
        "URI with --uri or in MLFLOW_TRACKING_URI"
    )


def flush(waiting: Waiting, uri: str, on_sent: Callable[[int], None]) -> None:
    """Send all that waits in an outbox. What was sent stays so, wherever this is stopped.

    Args:
        waiting: The outbox.
        uri: Where to.
        on_sent: Called with the number of records still to be sent.

    Raises:
        UserError: The URI cannot be used, another process sends already, or MLflow is away; the
            rest waits on.
    """
    check_uri(uri)
    try:
        outbox = Outbox(waiting.folder, _WAIT_S)
    except InUseError:
        raise UserError(
            f"{waiting.name}: process {waiting.owner or 'unknown'} is sending its records: the run "
            "goes on, or they are being flushed"
        ) from None
    experiment = waiting.target.experiment if waiting.target else waiting.experiment
    delivery = Delivery(absolute_uri(uri), experiment, outbox, _BYTES_AT_ONCE)
    try:
        while delivery.lines_unsent:
            delivery.send_lines()
            on_sent(delivery.unsent)
        delivery.send_postponed()
        on_sent(delivery.unsent)
        delivery.finish()
    except Exception as error:
        reason = reachable(uri) or f"{shown_uri(uri)}: {first_line(error)}"
        raise UserError(
            f"{waiting.name}: MLflow cannot be reached ({reason}); {delivery.unsent} records wait "
            f"on in {waiting.folder}"
        ) from error
    finally:
        outbox.close()
