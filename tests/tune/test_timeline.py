from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Store
from mlfd_tune.tune.timeline import (
    CLOCK,
    TIMELINE,
    Part,
    Session,
    Span,
    Timeline,
    find_run,
    read_timeline,
)
from mlfd_tune.tune.work_clock import WorkClock
from tests.helpers.small_stages import NoteStage


def stamp(start: float, end: float, pid: int = 7, **changes: Any) -> dict[str, Any]:
    return {"host": "node", "pid": pid, "start": start, "end": end, "parts": [], **changes}


def epoch(number: int, clock: dict[str, Any], reused: int = 0) -> dict[str, Any]:
    return {"epoch": number, "reused_epochs": reused, CLOCK: clock}


def only(folder: Path) -> Session:
    (session,) = read_timeline(folder)
    return session


def test_stages_and_trials_are_spans_of_the_workers_clock(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path, slots=2, began=100.0)
    stage = NoteStage("teacher")
    timeline.stage_done(stage, stamp(110, 112.5, 8))
    timeline.trial_started("trial/digits/0", "digits")
    timeline.trial_result("trial/digits/0", epoch(1, stamp(113, 114)))
    timeline.trial_result("trial/digits/0", epoch(2, stamp(113, 115)))
    timeline.trial_ended("trial/digits/0", "pruned")
    timeline.close()

    session = only(tmp_path)
    assert (session.start, session.slots) == (100.0, 2)
    assert abs(session.end - time.time()) < 60
    assert session.spans == (
        Span(stage.stage_name, stage.label, stage.dataset, "node", 8, 110, 112.5),
        Span("trial", "trial/digits/0", "digits", "node", 7, 113, 115, "pruned"),
    )


def test_each_span_is_one_line_written_when_it_ends(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path, 1, 0.0)
    for number in range(3):
        timeline.stage_done(NoteStage(str(number)), stamp(number, number + 1))
        lines = (tmp_path / TIMELINE).read_text().split("\n")
        assert [bool(line) for line in lines] == [False, *[True] * (number + 2), False]
    assert only(tmp_path).end == 3.0  # of a run that goes on: its last span's


def test_a_trial_that_goes_on_at_another_worker_has_two_spans(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path, 1, 0.0)
    timeline.trial_started("arm/digits/0/3", "digits")
    timeline.trial_result("arm/digits/0/3", epoch(1, stamp(1, 2, 7)))
    timeline.trial_result("arm/digits/0/3", epoch(2, stamp(5, 6, 8)))
    timeline.trial_started("arm/digits/0/3", "digits")
    timeline.trial_result("arm/digits/0/3", epoch(3, stamp(8, 9, 9)))
    timeline.trial_ended("arm/digits/0/3", "complete")

    found = [(span.pid, span.end, span.outcome) for span in only(tmp_path).spans]
    assert found == [(7, 2, "interrupted"), (8, 6, "interrupted"), (9, 9, "complete")]


def test_a_trial_whose_epochs_were_all_in_the_store_is_marked(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path, 1, 0.0)
    for trial, reused in (("trial/digits/0", 2), ("trial/digits/1", 1)):
        timeline.trial_started(trial, "digits")
        timeline.trial_result(trial, epoch(2, stamp(1, 2), reused))
        timeline.trial_ended(trial, "complete")
    assert [span.reused for span in only(tmp_path).spans] == [True, False]


def test_a_trial_whose_worker_died_unheard_lasted_until_the_driver_knew(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path, 1, 0.0)
    before = time.time()
    timeline.trial_started("trial/digits/0", "digits")
    timeline.trial_ended("trial/digits/0", "failed")
    (span,) = only(tmp_path).spans
    assert (span.host, span.pid, span.outcome) == ("", 0, "failed")
    assert before <= span.start <= span.end <= time.time()


def test_what_an_interruption_leaves_off_is_written_and_a_resume_adds_to_it(
    tmp_path: Path,
) -> None:
    first = Timeline(tmp_path, 2, 100.0)
    first.trial_started("trial/digits/0", "digits")
    first.trial_result("trial/digits/0", epoch(1, stamp(101, 102)))
    first.close()
    second = Timeline(tmp_path, 3, 500.0)
    second.stage_done(NoteStage("a"), stamp(501, 502))

    before, after = read_timeline(tmp_path)
    assert [span.outcome for span in before.spans] == ["interrupted"]
    assert (after.start, after.end, after.slots) == (500.0, 502.0, 3)


def test_half_a_line_of_a_killed_driver_hides_nothing_else(tmp_path: Path) -> None:
    Timeline(tmp_path, 1, 0.0).stage_done(NoteStage("a"), stamp(1, 2))
    with (tmp_path / TIMELINE).open("a") as file:
        file.write('{"what": "span", "kind": "tea')
    Timeline(tmp_path, 1, 10.0).stage_done(NoteStage("b"), stamp(11, 12))
    assert [len(session.spans) for session in read_timeline(tmp_path)] == [1, 1]


def test_a_worker_tells_who_it_is_and_what_it_computed_on_the_way(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.get_or_compute(NoteStage("there"))
    begin = time.time()
    clock = WorkClock()
    clock.get(store, NoteStage("there"), "cpu")
    clock.get(store, NoteStage("missing"), "cpu")
    told = json.loads(json.dumps(clock.stamp()))

    assert (told["host"], told["pid"]) == (socket.gethostname(), os.getpid())
    assert begin <= told["start"] <= told["end"] <= time.time()
    (part,) = told["parts"]
    assert Part(**part).kind == NoteStage("missing").stage_name
    assert part["label"] == NoteStage("missing").label
    assert told["start"] <= part["start"] <= part["end"] <= told["end"]


def test_waiting_for_another_worker_is_told_apart_from_computing(tmp_path: Path) -> None:
    store, stage = Store(tmp_path), NoteStage("slow")
    other = store.claim(stage)
    threading.Timer(0.3, other.release).start()
    clock = WorkClock()
    clock.claim(store, stage).release()
    (part,) = clock.stamp()["parts"]
    assert part["kind"] == "waiting"
    assert part["end"] > part["start"]


def test_the_latest_run_of_an_experiment_is_found_by_name(tmp_path: Path) -> None:
    for run in ("20260101-000000", "20260102-000000"):
        (tmp_path / "quick" / run).mkdir(parents=True)
        Timeline(tmp_path / "quick" / run, 1, 0.0)
    (tmp_path / "quick" / "20260103-000000").mkdir()  # of before there were timelines

    assert find_run(tmp_path, "quick").name == "20260102-000000"
    assert find_run(tmp_path, "quick", "20260101-000000").name == "20260101-000000"
    with pytest.raises(UserError, match="did you mean 'quick'"):
        find_run(tmp_path, "quik")
    with pytest.raises(UserError, match=r"--run: quick has no run '2' .*20260101-000000"):
        find_run(tmp_path, "quick", "2")
    with pytest.raises(UserError, match="there are none in"):
        find_run(tmp_path / "nowhere", "quick")


def test_a_timeline_with_nothing_in_it_is_said_to_be_empty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no timeline\.jsonl"):
        read_timeline(tmp_path)
    Timeline(tmp_path, 1, 0.0)
    with pytest.raises(UserError, match="no stage and no trial is over yet"):
        read_timeline(tmp_path)
