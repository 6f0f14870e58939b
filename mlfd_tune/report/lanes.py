"""From the spans of a run to lanes on one time axis: what a figure of its timeline draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlfd_tune.tune.timeline import Part, Session, Span

__all__ = ["Bar", "Lane", "Shares", "lanes_of", "shares_of", "starts_of"]


@dataclass(frozen=True)
class Bar:
    """A span on the axis.

    Attributes:
        span: What was done.
        start: Seconds after the run's start, without the time between its drivers.
        end: Likewise.
    """

    span: Span
    start: float
    end: float

    def place(self, part: Part) -> tuple[float, float]:
        """Return start and end of a part of the span on the same axis."""
        offset = self.start - self.span.start
        return part.start + offset, part.end + offset


@dataclass
class Lane:
    """A place that work runs on, one piece at a time.

    Attributes:
        host: The machine; empty where nothing ran.
        bars: What ran, in order.
    """

    host: str
    bars: list[Bar]


@dataclass(frozen=True)
class Shares:
    """How a run's time was spent, as shares of all lanes times the wall time.

    Attributes:
        stages: Computing stages, also those that a trial computed itself.
        search: Trials of a search, or arms.
        confirm: Trials of a confirmation.
    """

    stages: float
    search: float
    confirm: float

    @property
    def busy(self) -> float:
        """Everything but idling and waiting."""
        return self.stages + self.search + self.confirm


def starts_of(sessions: Sequence[Session]) -> list[float]:
    """Return where each driver begins on the axis, in seconds, and where the last one ends."""
    starts = [0.0]
    for session in sessions:
        starts.append(starts[-1] + session.end - session.start)
    return starts


def lanes_of(sessions: Sequence[Session]) -> list[Lane]:
    """Return the lanes of a run, machine by machine.

    A driver's worker processes outnumber the places they run on: stages and each phase's trials
    have processes of their own, one after the other. So a lane is not a process but a place. A
    span goes to the lane of its process where that is free, else to the first of its machine.

    Args:
        sessions: The run's drivers. There are as many lanes as the largest had slots, or as many
            as ran at once where that is more.
    """
    lanes: list[Lane] = []
    starts = starts_of(sessions)
    for session, begin in zip(sessions, starts, strict=False):
        for span in sorted(session.spans, key=lambda span: (span.start, span.end)):
            offset = begin - session.start
            bar = Bar(span, span.start + offset, span.end + offset)
            _free_lane(lanes, bar).bars.append(bar)
    lanes.sort(key=lambda lane: lane.host)
    slots = max(session.slots for session in sessions)
    return lanes + [Lane("", []) for _ in range(slots - len(lanes))]


def shares_of(sessions: Sequence[Session], lanes: int) -> Shares:
    """Return how the time of so many lanes was spent."""
    whole = starts_of(sessions)[-1] * lanes
    spans = [span for session in sessions for span in session.spans]
    confirms = [span for span in spans if span.kind == "confirm"]
    searches = [span for span in spans if span.is_trial and span.kind != "confirm"]
    within = sum(_seconds(part for part in span.parts if part.kind != "waiting") for span in spans)
    stages = _seconds(span for span in spans if not span.is_trial) + within
    return Shares(
        *(
            seconds / whole if whole else 0.0
            for seconds in (stages, _own_seconds(searches), _own_seconds(confirms))
        )
    )


def _seconds(stretches: Iterable[Span | Part]) -> float:
    return sum(stretch.end - stretch.start for stretch in stretches)


def _own_seconds(spans: Sequence[Span]) -> float:
    return _seconds(spans) - sum(_seconds(span.parts) for span in spans)


def _free_lane(lanes: list[Lane], bar: Bar) -> Lane:
    """Return the lane a bar goes to; a new one where none is free."""
    host, pid = bar.span.host, bar.span.pid
    free = [
        lane for lane in lanes if lane.bars[-1].end <= bar.start and (lane.host == host or not host)
    ]
    own = [lane for lane in free if lane.bars[-1].span.pid == pid and pid]
    if own or free:
        return (own or free)[0]
    lanes.append(Lane(host, []))
    return lanes[-1]
