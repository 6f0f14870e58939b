"""MLflow: recording runs without ever blocking training, and reading them back as a leaderboard.

* Writing: `Tracker` (what the driver calls) -> `outbox` (journal, copies and ledger on disk) ->
  `sender` (the thread) -> `apply` (lines to MLflow calls) over a `session`.
* Words: `vocabulary` holds the names of all tags.
* Reading: `results` (runs) -> `leaderboard` (rows) -> `tables` (text).

MLflow itself is imported only when something is sent or read, since that takes seconds.
"""

from __future__ import annotations

from mlfd_tune.tracking.client import check_uri, open_client, reachable
from mlfd_tune.tracking.leaderboard import STATUSES, Row, leaderboard
from mlfd_tune.tracking.tables import FORMATS, render, rich_tables
from mlfd_tune.tracking.tracker import EndStatus, RunRef, Tracker
from mlfd_tune.tracking.vocabulary import environment_tags

__all__ = [
    "FORMATS",
    "STATUSES",
    "EndStatus",
    "Row",
    "RunRef",
    "Tracker",
    "check_uri",
    "environment_tags",
    "leaderboard",
    "open_client",
    "reachable",
    "render",
    "rich_tables",
]
