"""Turns lines of the journal into MLflow calls, each of which may be repeated without harm."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mlfd_tune.tracking import limits, vocabulary
from mlfd_tune.tracking.journal import Line
from mlfd_tune.tracking.outbox import Outbox
from mlfd_tune.tracking.session import Session, first_line, is_final, tag_begins, tag_equals

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, Run, RunTag

__all__ = ["Applier"]

_log = logging.getLogger(__name__)


@dataclass
class _Batch:
    """What one run is sent in one request: `(name, value, time in ms, step)`, and by name."""

    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)


class Applier:
    """Sends journal lines to MLflow over one session.

    Every method raises what MLflow raises while it is away; the caller then sends the same lines
    again later. What MLflow refuses for good is put aside in the outbox with one warning per run.

    Args:
        session: Where to.
        outbox: Holds artifacts, the ledger and what was refused. What its journal holds by now may
            have been sent before, by a process or a session that did not live to remember it.
    """

    def __init__(self, session: Session, outbox: Outbox) -> None:
        self._session = session
        self._client = session.client
        self._outbox = outbox
        self._ledger = outbox.ledger
        self._unsure_until = outbox.journal.size
        self._may_repeat = True
        self._batches: dict[str, _Batch] = {}
        self._refused: set[str] = set()
        self._sent_copies: list[str] = []
        self._singly: dict[str, Callable[[Line], None]] = {
            "start": self._start,
            "inputs": self._log_inputs,
            "artifact": self._log_artifact,
            "end": self._end,
        }

    def apply(self, lines: Sequence[Line], position: int) -> None:
        """Send lines in order; what MLflow takes of one run in one request goes together.

        Args:
            lines: As they stand in the journal.
            position: Where in the journal they begin, in bytes.
        """
        self._may_repeat = position < self._unsure_until
        self._batches = {}
        for line in lines:
            op = line.get("op")
            if op == "damaged":
                self._refuse(line, "unreadable line in the journal")
            elif op in self._singly:
                self._singly[op](line)
            elif op == "metrics":
                self._batch(line).metrics += [
                    (name, value, line["t"], line["step"]) for name, value in line["values"].items()
                ]
            elif op == "params":
                self._batch(line).params.update(line["values"])
            elif op == "tags":
                self._batch(line).tags.update(line["values"])
        for run in list(self._batches):
            self._send_batch(run)

    def forget_sent_copies(self) -> None:
        """Delete the copies of artifacts that were sent, once that is remembered."""
        while self._sent_copies:
            self._outbox.forget_copy(self._sent_copies.pop())

    def require_database(self) -> None:
        """Make sure that what was sent is where it will be looked for; see `Session`."""
        self._session.require_file()

    def send_postponed(self, line: Line) -> None:
        """Send an artifact that was put off."""
        self._store_artifact(line)

    def remove_doubles(self) -> None:
        """Delete the runs that this outbox made and does not know of.

        A server that hung may make a run long after the request was given up and repeated. To be
        called when all lines were sent, so that every run of this outbox is known.
        """
        known = self._ledger.run_ids
        mine = tag_begins(vocabulary.LOCAL_ID, f"{self._outbox.id}/")
        doubles: list[str] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._session.experiment_id], mine, max_results=1000, page_token=token
            )
            doubles += [run.info.run_id for run in page if run.info.run_id not in known]
            token = page.token
            if not token:
                break
        for run_id in doubles:
            self._client.delete_run(run_id)

    # One handler per kind of line.

    def _start(self, line: Line) -> None:
        local_id = line["run"]
        if self._ledger.is_sealed(local_id):
            return
        run_id = self._ledger.run_id(local_id)
        tags = self._tags_of_start(line)
        if run_id is None:
            found = None
            if self._may_repeat:
                found = self._find(vocabulary.LOCAL_ID, tags[vocabulary.LOCAL_ID])
            if found is None and line.get("key"):
                found = self._find(vocabulary.ARTIFACT_KEY, line["key"])
                if found is not None and found.info.status == "FINISHED":
                    self._ledger.remember_run(local_id, found.info.run_id, sealed=True)
                    return
            if found is None:
                self._attempt(line, lambda: self._create(line, tags))
            else:
                run_id = found.info.run_id
                self._ledger.remember_run(local_id, run_id, sealed=False)
        if run_id is not None:
            reopened = run_id
            self._attempt(line, lambda: self._client.update_run(reopened, status="RUNNING"))
            self._batch(line).tags.update(tags)
        self._batch(line).params.update(line["params"])

    def _log_inputs(self, line: Line) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        # MLflow keeps one input per name and digest, so the contexts of one dataset are joined.
        contexts: dict[tuple[str, str], list[str]] = {}
        for name, digest, context in line["datasets"]:
            contexts.setdefault((name, digest), []).append(context)
        inputs = [
            DatasetInput(
                Dataset(name, digest[: limits.MAX_DIGEST_LENGTH], "local", "{}"),
                [InputTag("mlflow.data.context", ", ".join(joined))],
            )
            for (name, digest), joined in contexts.items()
        ]
        run_id = self._writable_run(line)
        if run_id:
            self._attempt(line, lambda: self._client.log_inputs(run_id, inputs))

    def _log_artifact(self, line: Line) -> None:
        """Send an artifact, or put it off where all but the artifact store is in order."""
        if line in self._ledger.postponed.values():
            return
        try:
            self._store_artifact(line)
        except Exception as error:
            if self._session.is_gone():
                raise
            if not self._ledger.postponed:
                _log.warning(
                    "run %s: %s cannot be stored now; such files are put off (%s)",
                    line["run"],
                    PurePosixPath(line["file"]).name,
                    first_line(error),
                )
            self._ledger.postpone(line)

    def _store_artifact(self, line: Line) -> None:
        copy = self._outbox.files / line["file"]
        run_id = self._writable_run(line)
        if not run_id:
            return
        if not copy.exists():
            # Sent before to a database that has been replaced since.
            self._refuse(line, f"the copy of {copy.name} was deleted after it had been sent")
            return
        try:
            self._client.log_artifact(run_id, str(copy), line["to"])
            if self._session.by_proxy:
                self._require_stored(run_id, copy, line["to"] or "")
        except Exception as error:
            if not is_final(error):
                raise
            self._stop_if_gone()
            self._refuse(line, str(error))
        else:
            self._sent_copies.append(line["file"])

    def _require_stored(self, run_id: str, copy: Path, folder: str) -> None:
        """Look whether a server has a file: MLflow takes any page with status 200 for a yes."""
        files = [copy] if copy.is_file() else [path for path in copy.rglob("*") if path.is_file()]
        wanted = {
            str(
                PurePosixPath(folder, path.relative_to(copy.parent).as_posix())
            ): path.stat().st_size
            for path in files
        }
        for parent in {str(PurePosixPath(name).parent) for name in wanted}:
            for found in self._client.list_artifacts(run_id, None if parent == "." else parent):
                if wanted.get(found.path) == found.file_size:
                    del wanted[found.path]
        if wanted:
            raise ConnectionError(f"the server did not store {', '.join(sorted(wanted))}")

    def _end(self, line: Line) -> None:
        run_id = self._writable_run(line)
        if not run_id:
            return
        self._batch(line).tags.update(line["tags"])
        self._send_batch(line["run"])  # nothing is written to a run that has ended
        self._attempt(line, lambda: self._client.set_terminated(run_id, line["status"], line["t"]))
        if line.get("seal"):
            self._ledger.remember_run(line["run"], run_id, sealed=True)

    # Runs.

    def _create(self, line: Line, tags: dict[str, str]) -> None:
        run = self._client.create_run(
            self._session.experiment_id, line["t"], tags=tags, run_name=line["name"]
        )
        self._ledger.remember_run(line["run"], run.info.run_id, sealed=False)

    def _find(self, tag: str, value: str) -> Run | None:
        """Return the run with this tag, a finished one if there are several."""
        found = list(
            self._client.search_runs(
                [self._session.experiment_id],
                tag_equals(tag, value),
                max_results=20,
                order_by=["attributes.start_time ASC"],
            )
        )
        finished = [run for run in found if run.info.status == "FINISHED"]
        return next(iter(finished or found), None)

    def _tags_of_start(self, line: Line) -> dict[str, str]:
        tags = self._resolved(line["tags"])
        tags[vocabulary.LOCAL_ID] = f"{self._outbox.id}/{line['run']}"
        parent = self._ledger.run_id(line["parent"]) if line["parent"] else None
        if parent:
            tags["mlflow.parentRunId"] = parent
        elif line["parent"]:
            _log.warning("run %s: its parent %s was never started", line["run"], line["parent"])
        return tags

    def _resolved(self, tags: dict[str, Any]) -> dict[str, str]:
        """Put MLflow run ids where a tag refers to another run by its local id."""
        return {
            name: self._ledger.run_id(value["run"]) or value["run"]
            if isinstance(value, dict)
            else value
            for name, value in tags.items()
        }

    def _writable_run(self, line: Line) -> str | None:
        local_id = line["run"]
        if self._ledger.is_sealed(local_id):
            return None
        run_id = self._ledger.run_id(local_id)
        if run_id is None:
            self._refuse(line, "this run was never started")
        return run_id

    # Requests.

    def _batch(self, line: Line) -> _Batch:
        return self._batches.setdefault(line["run"], _Batch())

    def _send_batch(self, local_id: str) -> None:
        """Send what has been gathered of a run, in one request if it can be."""
        from mlflow.entities import Metric, Param, RunTag

        about = {"run": local_id}
        batch = self._batches.pop(local_id, _Batch())
        if not (batch.metrics or batch.params or batch.tags):
            return
        run_id = self._writable_run({**about, "op": "batch", "values": batch.__dict__})
        if run_id is None:
            return
        metrics = [Metric(*metric) for metric in batch.metrics]
        params = [Param(*param) for param in batch.params.items()]
        texts = self._resolved(batch.tags)
        tags = [RunTag(*tag) for tag in texts.items()]
        most = limits.entries_per_request([*batch.params.values(), *texts.values()])
        few = len(params) + len(tags) <= most
        if not (few and self._taken_at_once(run_id, metrics, params, tags)):
            self._send_entities(run_id, about, "metrics", metrics, limits.MAX_METRICS)
            self._send_entities(run_id, about, "params", params, most)
            self._send_entities(run_id, about, "tags", tags, most)

    def _taken_at_once(
        self, run_id: str, metrics: list[Metric], params: list[Param], tags: list[RunTag]
    ) -> bool:
        """Send all in one request; return False when it is too long or any part is refused."""
        if len(metrics) + len(params) + len(tags) > limits.MAX_METRICS:
            return False
        try:
            self._client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
        except Exception as error:
            if not is_final(error):
                raise
            return False
        return True

    def _send_entities(
        self, run_id: str, about: Line, kind: str, entities: Sequence[Any], most: int
    ) -> None:
        """Send entities in requests of at most `most`; halve one that is refused to find why."""
        for begin in range(0, len(entities), most):
            request = list(entities[begin : begin + most])
            try:
                self._client.log_batch(
                    run_id,
                    metrics=request if kind == "metrics" else [],
                    params=request if kind == "params" else [],
                    tags=request if kind == "tags" else [],
                )
            except Exception as error:
                if not is_final(error):
                    raise
                if len(request) > 1:
                    self._send_entities(run_id, about, kind, request, (len(request) + 1) // 2)
                else:
                    self._stop_if_gone()
                    self._refuse({**about, "op": kind, "values": dict(request[0])}, str(error))

    def _attempt(self, line: Line, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            if not is_final(error):
                raise
            self._stop_if_gone()
            self._refuse(line, str(error))

    def _stop_if_gone(self) -> None:
        if self._session.is_gone():
            raise ConnectionError("the experiment was deleted or its database replaced")

    def _refuse(self, line: Line, error: str) -> None:
        reason = first_line(error)
        self._outbox.reject(line, reason)
        run = line.get("run", "")
        if run not in self._refused:
            self._refused.add(run)
            _log.warning(
                "run %s: MLflow refuses part of its data (%s); kept in %s",
                run or "?",
                reason,
                self._outbox.folder / "rejected.jsonl",
            )
