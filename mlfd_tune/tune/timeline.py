"""Which worker did what when: the spans of a run, appended to one file as they end.

``timeline.jsonl`` in the run's folder has a line for every driver that began and ended and one for
every stage and trial that is over. A span's clock is its worker's, so that what a driver waits for
is not taken for work; the clocks of several machines may differ by what their own setting leaves.

The lines are small and written as they come, a few for each trial. So every run has a timeline, and
`mlfd-tune plot timeline` draws it at any time, also while the run goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.store import Stage
from mlfd_tune.tune.records import Outcome

__all__ = [
    "CLOCK",
    "PROFILE",
    "TIMELINE",
    "TRIAL_KINDS",
    "Part",
    "Session",
    "Span",
    "SpanOutcome",
    "Timeline",
    "find_run",
    "read_timeline",
]

TIMELINE: Final = "timeline.jsonl"
"""The file in a run's folder."""

PROFILE: Final = "profile"
"""The folder in a run's folder with what `mlfd-tune run --profile` adds."""

CLOCK: Final = "clock"
"""Where a trial's result holds its worker's stamp."""

TRIAL_KINDS: Final = ("trial", "confirm", "arm")
"""Kinds of spans that are trials, as their ids begin; all others are names of stages."""

SpanOutcome = Literal[Outcome, "interrupted"]
"""How a span ended; an interrupted one was left off, and went on elsewhere or with a resume."""


@dataclass(frozen=True)
class Part:
    """A stretch of a span that was spent on something else than the span's own work.

    Attributes:
        kind: A stage's name where the worker computed it itself, ``waiting`` where another did.
        label: The stage.
        start: Unix time in seconds.
        end: Unix time in seconds.
    """

    kind: str
    label: str
    start: float
    end: float


@dataclass(frozen=True)
class Span:
    """One piece of work of one worker.

    Attributes:
        kind: One of `TRIAL_KINDS`, or a stage's name.
        label: The trial's id, or a few words on the stage.
        dataset: The dataset it is for, if one.
        host: The worker's machine; empty where it died before it said so.
        pid: The worker's process id there; 0 likewise.
        start: Unix time in seconds.
        end: Unix time in seconds.
        outcome: How it ended.
        reused: Nothing was computed: all was in the store.
        parts: What else the time was spent on, in order.
    """

    kind: str
    label: str
    dataset: str | None
    host: str
    pid: int
    start: float
    end: float
    outcome: SpanOutcome = "complete"
    reused: bool = False
    parts: tuple[Part, ...] = ()

    @property
    def is_trial(self) -> bool:
        """Whether it is a trial's and not a stage's."""
        return self.kind in TRIAL_KINDS

    @property
    def waited(self) -> float:
        """Seconds in which the worker waited for another's work."""
        return sum(part.end - part.start for part in self.parts if part.kind == "waiting")


class Timeline:
    """Writes a run's timeline. Made and used by its driver alone.

    Args:
        folder: The run's folder.
        slots: How many pieces of work can run at a time.
        began: When the driver began, as Unix time in seconds.
    """

    def __init__(self, folder: Path, slots: int, began: float) -> None:
        self._path = folder / TIMELINE
        self._open: dict[str, Span] = {}
        # A driver that was killed may have left half a line; this one begins on a line of its own.
        self._append({"what": "begin", "at": began, "slots": slots}, before="\n")

    def stage_done(self, stage: Stage, stamp: Mapping[str, Any], *, reused: bool = False) -> None:
        """Write the span of a stage that a worker computed or, `reused`, found in the store."""
        span = Span(stage.stage_name, stage.label, stage.dataset, **_stamped(stamp), reused=reused)
        self._write(span)

    def trial_started(self, trial: str, dataset: str) -> None:
        """Note that a trial was handed to a worker, which may never answer."""
        if trial in self._open:  # it was taken from another before
            self.trial_ended(trial, "interrupted")
        now = time.time()
        kind = trial.partition("/")[0]
        self._open[trial] = Span(kind, trial, dataset, host="", pid=0, start=now, end=now)

    def trial_result(self, trial: str, result: Mapping[str, Any]) -> None:
        """Note an epoch; where the trial went to another worker, write the span of the one before.

        Args:
            trial: Its id.
            result: What the worker reported, with its stamp under `CLOCK`.
        """
        span, stamp = self._open[trial], _stamped(result[CLOCK])
        if span.pid and stamp["start"] != span.start:
            self._write(replace(span, outcome="interrupted"))
        reused = result["reused_epochs"] >= result["epoch"]
        self._open[trial] = replace(span, **stamp, reused=reused)

    def trial_ended(self, trial: str, outcome: SpanOutcome) -> None:
        """Write the span of a trial that is over.

        A failed one lasted until now: its worker reported nothing after the epoch before.
        """
        span = self._open.pop(trial, None)
        if span is None:  # it was over before any worker had it
            return
        end = time.time() if outcome == "failed" else span.end
        self._write(replace(span, outcome=outcome, end=end))

    def close(self) -> None:
        """Write the spans of trials that an interruption leaves unfinished, and the end."""
        for trial in list(self._open):
            self.trial_ended(trial, "interrupted")
        self._append({"what": "end", "at": time.time()})

    def _write(self, span: Span) -> None:
        self._append({"what": "span", **asdict(span)})

    def _append(self, record: Mapping[str, Any], before: str = "") -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{before}{json.dumps(record)}\n")


@dataclass(frozen=True)
class Session:
    """One driver: a run that was resumed has several.

    Attributes:
        start: Unix time in seconds.
        end: Unix time in seconds; of one that still runs or was killed, its last span's end.
        slots: How many pieces of work could run at a time.
        spans: What was done.
    """

    start: float
    end: float
    slots: int
    spans: tuple[Span, ...]


def read_timeline(folder: Path) -> tuple[Session, ...]:
    """Return what a run's drivers did, in order; those that did nothing are left out.

    Args:
        folder: The run's folder.

    Raises:
        UserError: The folder has no timeline, or nothing is over yet.
    """
    path = folder / TIMELINE
    if not path.is_file():
        raise UserError(f"{folder}: has no {TIMELINE}; it is written while an experiment runs")
    sessions: list[Session] = []
    for record in _records(path):
        what = record.pop("what")
        if what == "begin":
            sessions.append(Session(record["at"], record["at"], record["slots"], ()))
        elif what == "end":
            sessions[-1] = replace(sessions[-1], end=record["at"])
        else:
            session, span = sessions[-1], _span(record)
            end = max(session.end, span.end)
            sessions[-1] = replace(session, end=end, spans=(*session.spans, span))
    worked = tuple(session for session in sessions if session.spans)
    if not worked:
        raise UserError(f"{path}: no stage and no trial is over yet")
    return worked


def find_run(runs: Path, experiment: str, run: str | None = None) -> Path:
    """Return the folder of an experiment's latest run with a timeline.

    Args:
        runs: The folder of all runs, `runs` in the experiment's file.
        experiment: The experiment's name.
        run: Id of the run in place of the latest.

    Raises:
        UserError: No such experiment or run, or none with a timeline.
    """
    found = {path.parent.name: path.parent for path in (runs / experiment).glob(f"*/{TIMELINE}")}
    if not found:
        names = {path.parent.parent.name for path in runs.glob(f"*/*/{TIMELINE}")}
        known = allowed_values(experiment, names) if names else f"(there are none in {runs})"
        raise UserError(f"{experiment}: no experiment with a timeline in {runs} {known}")
    if run is None:
        return found[max(found)]
    if run not in found:
        raise UserError(f"--run: {experiment} has no run {run!r} {allowed_values(run, found)}")
    return found[run]


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # empty, or cut short when the driver was killed
        yield record


def _span(record: Mapping[str, Any]) -> Span:
    return Span(**{**record, "parts": tuple(Part(**part) for part in record["parts"])})


def _stamped(stamp: Mapping[str, Any]) -> dict[str, Any]:
    return {**stamp, "parts": tuple(Part(**part) for part in stamp["parts"])}
