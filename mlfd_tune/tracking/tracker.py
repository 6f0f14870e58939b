"""The tracker: what the driver process calls to have a sweep recorded in MLflow."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Literal

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking import limits, vocabulary
from mlfd_tune.tracking.accepted import Accepted
from mlfd_tune.tracking.client import absolute_uri, check_uri
from mlfd_tune.tracking.journal import Line
from mlfd_tune.tracking.outbox import Outbox
from mlfd_tune.tracking.sender import Sender
from mlfd_tune.tracking.target import Target
from mlfd_tune.tracking.waiting import flush_command

__all__ = ["EndStatus", "RunRef", "Tracker"]

EndStatus = Literal["FINISHED", "KILLED", "FAILED"]

_log = logging.getLogger(__name__)

_STAGE = "stage/"


@dataclass(frozen=True)
class RunRef:
    """A tag's value that becomes the MLflow run id of the run with this local id."""

    local_id: str


class Tracker:
    """Records runs in MLflow without ever blocking or failing the caller.

    Every call appends one line to a journal in the outbox and returns; a background thread sends
    the lines in order. While MLflow is away they wait on disk. A later tracker on the same outbox
    goes on in the same MLflow runs and sends what was not sent. Runs are named by local ids that
    the caller chooses; times are those of the calls, however late they are sent.

    For the driver process only; safe to call from its threads.

    Args:
        uri: MLflow tracking URI, such as ``sqlite:///mlflow.db`` or ``http://host:5000``.
        experiment: Name of the MLflow experiment; made if it does not exist.
        outbox: Folder of the journal, one per sweep, made if it does not exist.
        linger_s: How long lines are gathered before they are sent together, in seconds.
        first_retry_s: Wait after the first failure in seconds; it doubles up to a minute.

    Raises:
        UserError: For an unusable URI or outbox folder, or one that another process uses.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        outbox: Path,
        *,
        linger_s: float = 0.5,
        first_retry_s: float = 1.0,
    ) -> None:
        check_uri(uri)
        self._lock = threading.Lock()
        self._closed = False
        self._outbox = Outbox(outbox)
        try:
            Target.of(absolute_uri(uri), experiment).write(self._outbox.folder)
        except OSError as error:
            self._outbox.close()
            raise UserError(f"tracking outbox {outbox} cannot be used: {error}") from error
        self._accepted = Accepted(self._outbox.journal)
        self._sender = Sender(absolute_uri(uri), experiment, self._outbox, linger_s, first_retry_s)
        self._sender.start()

    def start_run(
        self,
        local_id: str,
        name: str,
        *,
        parent: str | None = None,
        tags: Mapping[str, str | RunRef] | None = None,
        params: Mapping[str, object] | None = None,
    ) -> None:
        """Start a run, or go on in the one this local id already has.

        Args:
            local_id: The caller's own name of the run, unique in this outbox.
            name: The name MLflow shows.
            parent: Local id of the parent run, started before.
            tags: See `vocabulary`.
            params: Flat settings; long values are shortened, known ones keep their first value.
        """
        self._start(local_id, name, None, parent, tags or {}, params or {})

    def start_stage_run(
        self,
        key: str,
        name: str,
        *,
        parent: str | None = None,
        tags: Mapping[str, str | RunRef] | None = None,
        params: Mapping[str, object] | None = None,
        started: float | None = None,
    ) -> str:
        """Start the run of a stage, of which an experiment has one per artifact key.

        A run with this key that finished, be it of another sweep, is taken as it is: all that is
        logged to it later is ignored. An unfinished one is gone on with.

        Args:
            key: The artifact's key in the store.
            name: The name MLflow shows.
            parent: Local id of the run that is the first to need the stage.
            tags: See `vocabulary`; kind and key are added.
            params: Flat settings of the stage.
            started: When the work began, in Unix seconds; now, if not given.

        Returns:
            The local id to use in later calls, and in `RunRef` to link a run to the stage.
        """
        local_id = _STAGE + key
        own = {vocabulary.KIND: "stage", vocabulary.ARTIFACT_KEY: key}
        all_tags = {**(tags or {}), **own}
        self._start(local_id, name, key, parent, all_tags, params or {}, started)
        return local_id

    def log_metrics(
        self,
        local_id: str,
        metrics: Mapping[str, float],
        step: int,
        measured: float | None = None,
    ) -> None:
        """Log metrics at a step.

        A metric at or below the last step it was logged at in this run is ignored, so that a trial
        replayed from a checkpoint logs nothing twice.

        Args:
            local_id: The run.
            metrics: By name.
            step: Where they stand in the run, such as the epoch.
            measured: When they were measured, in Unix seconds; now, if not given. MLflow keeps what
                two processes log of the same moment once.
        """
        with self._lock:
            new = self._accepted.new_metrics(local_id, _numbers(local_id, metrics), step)
            if new:
                line: Line = {"op": "metrics", "run": local_id, "step": int(step), "values": new}
                self._write({**line, **_time(measured)})

    def log_params(self, local_id: str, params: Mapping[str, object]) -> None:
        """Log flat settings; long values are shortened, known ones keep their first value."""
        with self._lock:
            new = self._accepted.new_params(local_id, _texts(params, limits.MAX_PARAM_LENGTH))
            if new:
                self._write({"op": "params", "run": local_id, "values": new})

    def set_tags(self, local_id: str, tags: Mapping[str, str | RunRef]) -> None:
        """Set tags; a later value replaces an earlier one."""
        with self._lock:
            if tags:
                self._write({"op": "tags", "run": local_id, "values": _tags(tags)})

    def log_inputs(self, local_id: str, datasets: Sequence[tuple[str, str, str]]) -> None:
        """Log dataset inputs as `(name, digest, context)`; 36 characters of the digest are kept."""
        with self._lock:
            rows = [[str(part) for part in dataset] for dataset in datasets]
            self._write({"op": "inputs", "run": local_id, "datasets": rows})

    def log_artifact(self, local_id: str, path: Path, artifact_path: str | None = None) -> None:
        """Log a file or folder, copied before the call returns.

        Args:
            local_id: The run.
            path: What to log; it may vanish or change afterwards.
            artifact_path: Folder inside the run's artifacts.
        """
        with self._lock:
            try:
                copy = self._outbox.keep_copy(Path(path))
            except OSError as error:
                _log.warning("run %s: artifact %s is not logged: %s", local_id, path, error)
                return
            self._write({"op": "artifact", "run": local_id, "file": copy, "to": artifact_path})

    def log_text(self, local_id: str, text: str, file: str) -> None:
        """Log `text` as the artifact `file`, such as ``config.yaml`` or ``plan/tree.txt``."""
        place = PurePosixPath(file)
        folder = str(place.parent) if place.parent.name else None
        with self._lock:
            try:
                copy = self._outbox.keep_text(text, place.name)
            except OSError as error:
                _log.warning("run %s: artifact %s is not logged: %s", local_id, file, error)
                return
            self._write({"op": "artifact", "run": local_id, "file": copy, "to": folder})

    def end_run(
        self,
        local_id: str,
        status: EndStatus,
        reason: str | None = None,
        ended: float | None = None,
    ) -> None:
        """End a run.

        Args:
            local_id: The run.
            status: ``FINISHED``, ``KILLED`` (pruned or interrupted) or ``FAILED``.
            reason: Why, in one line; becomes the tag `vocabulary.REASON`.
            ended: When the work ended, in Unix seconds; now, if not given.
        """
        line: Line = {"op": "end", "run": local_id, "status": status, **_time(ended)}
        line["tags"] = _tags({vocabulary.REASON: reason}) if reason else {}
        if status == "FINISHED" and local_id.startswith(_STAGE):
            line["seal"] = True
        with self._lock:
            self._write(line)

    def run_id(self, local_id: str) -> str | None:
        """Return the MLflow run id, or None while the run has not been made there."""
        return self._outbox.ledger.run_id(local_id)

    def require_kept(self) -> None:
        """Make sure that all that was logged is on disk, whether or not it was sent.

        Who notes elsewhere that something is logged asks here first.

        Raises:
            OSError: It is not; such as where the disk is full.
        """
        with self._lock:
            self._outbox.journal.require_kept()

    def pending(self) -> int:
        """Return how many records have not been sent."""
        return self._sender.unsent + self._outbox.journal.waiting

    def flush(self, timeout_s: float) -> bool:
        """Send all that was logged so far.

        Args:
            timeout_s: When to give up, in seconds after the last record that went out; at most
                fifteen while MLflow turns connections down at once.

        Returns:
            Whether all was sent.
        """
        with self._lock:
            self._outbox.journal.write_waiting()
        return self._sender.flush(timeout_s) and not self._outbox.journal.waiting

    def close(self, timeout_s: float = 30.0) -> bool:
        """Send what can be sent and let go of the outbox.

        What cannot waits there, for the next tracker or for ``mlfd-tune tracking flush``.

        Args:
            timeout_s: See `flush`.

        Returns:
            Whether all was sent.
        """
        if self._closed:
            return self.pending() == 0
        sent = self.flush(timeout_s)
        with self._lock:
            self._closed = True
        unwritten = self._outbox.journal.waiting
        if unwritten:
            _log.warning(
                "%d records are lost: %s could not be written to", unwritten, self._outbox.folder
            )
        if not sent and self._sender.unsent:
            _log.warning(
                "%d records wait for the tracking server in %s; send them with `%s`",
                self._sender.unsent,
                self._outbox.folder,
                flush_command(self._outbox.folder),
            )
        # A thread that hangs in a request keeps the files, which the process's end closes.
        if self._sender.stop(timeout_s=60.0 if sent else 5.0):
            self._outbox.close()
        return sent

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(
        self,
        local_id: str,
        name: str,
        key: str | None,
        parent: str | None,
        tags: Mapping[str, str | RunRef],
        params: Mapping[str, object],
        started: float | None = None,
    ) -> None:
        line: Line = {"op": "start", "run": local_id, "parent": parent, **_time(started)}
        line["name"] = limits.shortened(name, limits.MAX_RUN_NAME_LENGTH)
        line["tags"] = _tags(tags)
        if key:
            line["key"] = key
        with self._lock:
            if self._accepted.has_reason(local_id):
                line["tags"].setdefault(vocabulary.REASON, "")  # it no longer holds
            texts = _texts(params, limits.MAX_PARAM_LENGTH)
            line["params"] = self._accepted.new_params(local_id, texts)
            self._write(line)

    def _write(self, line: Line) -> None:
        """Append a line; it bears a time in milliseconds. The caller holds the lock."""
        if self._closed:
            _log.warning("run %s: logged after the tracker was closed, ignored", line["run"])
            return
        line.setdefault("t", time.time_ns() // 1_000_000)
        self._accepted.note(line)
        self._outbox.journal.append(line)
        self._sender.notify()


def _time(seconds: float | None) -> dict[str, int]:
    """Return the time of a line, if it is not to be that of the call."""
    return {} if seconds is None else {"t": int(seconds * 1000)}


def _numbers(local_id: str, metrics: Mapping[str, float]) -> dict[str, float]:
    numbers = {}
    for name, value in metrics.items():
        try:
            numbers[limits.valid_name(name)] = float(value)
        except (TypeError, ValueError):
            _log.warning("run %s: metric %s is not a number: %r", local_id, name, value)
    return numbers


def _tags(tags: Mapping[str, str | RunRef]) -> dict[str, Any]:
    return {
        limits.valid_name(name): {"run": value.local_id}
        if isinstance(value, RunRef)
        else limits.shortened(str(value), limits.MAX_TAG_LENGTH)
        for name, value in tags.items()
    }


def _texts(values: Mapping[str, object], length: int) -> dict[str, str]:
    return {
        limits.valid_name(str(name)): limits.shortened(str(value), length)
        for name, value in values.items()
    }
