from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from mlfd_tune.report.lanes import lanes_of, shares_of, starts_of
from mlfd_tune.report.timeline import timeline_figure
from mlfd_tune.tune.timeline import Part, Session, Span, SpanOutcome

Texts = Callable[[Figure], list[str]]


def span(
    kind: str,
    start: float,
    end: float,
    pid: int = 1,
    *,
    name: str = "0",
    dataset: str = "digits",
    host: str = "node",
    outcome: SpanOutcome = "complete",
    reused: bool = False,
    parts: tuple[Part, ...] = (),
) -> Span:
    label = f"{kind}/{dataset}/{name}" if kind in ("trial", "confirm", "arm") else f"{kind} {name}"
    return Span(kind, label, dataset, host, pid, start, end, outcome, reused, parts)


def session(*spans: Span, start: float = 0.0, end: float = 100.0, slots: int = 2) -> Session:
    return Session(start, end, slots, spans)


SWEEP = session(
    span("teacher", 5, 20, 1),
    span("features", 5, 10, 2),
    span("trial", 30, 50, 3),
    span("trial", 30, 40, 4, name="1", dataset="letters", outcome="pruned"),
    span("trial", 41, 44, 4, name="2", outcome="failed"),
    span("confirm", 60, 90, 5, name="1/mlfd/12"),
    span("confirm", 60, 90, 6, name="1/none/12", reused=True),
)


def squares(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_the_processes_of_one_phase_take_the_lanes_of_the_phase_before() -> None:
    lanes = lanes_of([SWEEP])
    assert [[bar.span.pid for bar in lane.bars] for lane in lanes] == [[2, 4, 4, 5], [1, 3, 6]]


def test_in_a_lane_nothing_overlaps_and_nothing_is_lost() -> None:
    spans = [span("trial", i % 7, i % 7 + 1 + i % 5, i, name=str(i)) for i in range(60)]
    lanes = lanes_of([session(*spans)])
    for lane in lanes:
        for before, after in zip(lane.bars, lane.bars[1:], strict=False):
            assert before.end <= after.start
    assert sorted(bar.span.pid for lane in lanes for bar in lane.bars) == list(range(60))
    moments = [s.start for s in spans]
    most = max(sum(s.start <= at < s.end for s in spans) for at in moments)
    assert len(lanes) == most


def test_a_process_keeps_its_lane_while_that_is_free() -> None:
    spans = [span("trial", at, at + 0.9, pid, name=f"{at}") for at in range(5) for pid in (1, 2)]
    for lane in lanes_of([session(*spans)]):
        assert len({bar.span.pid for bar in lane.bars}) == 1


def test_slots_without_work_are_lanes_too_and_machines_stand_together() -> None:
    found = lanes_of(
        [session(*(span("trial", 0, 1, i, host=f"node{i % 2}") for i in range(4)), slots=6)]
    )
    assert [lane.host for lane in found] == ["node0", "node0", "node1", "node1", "", ""]


def test_the_time_between_two_drivers_is_left_out() -> None:
    first = session(span("trial", 10, 20), start=0, end=25)
    second = session(span("trial", 1010, 1020), start=1000, end=1030)
    assert starts_of([first, second]) == [0, 25, 55]
    (bars, _) = (lane.bars for lane in lanes_of([first, second]))
    assert [(bar.start, bar.end) for bar in bars] == [(10, 20), (35, 45)]


def test_shares_count_work_against_all_lanes_and_not_waiting() -> None:
    parts = (Part("joint_teacher", "j", 30, 34), Part("waiting", "t", 34, 40))
    of = session(
        span("teacher", 0, 20),
        span("trial", 30, 50, parts=parts),
        span("confirm", 60, 90, 2),
    )
    shares = shares_of([of], lanes=2)
    assert shares.stages == pytest.approx((20 + 4) / 200)
    assert shares.search == pytest.approx(10 / 200)
    assert shares.confirm == pytest.approx(30 / 200)
    assert shares.busy == pytest.approx(64 / 200)


def test_the_title_says_the_wall_time_and_the_busy_share(texts: Texts) -> None:
    found = texts(timeline_figure([SWEEP], "quickstart, run 1"))
    assert "quickstart, run 1" in found
    expected = "1 min 40 s on 2 workers, 56% busy: stages 10%, trials 16%, confirmation 30%"
    assert expected in found


def test_the_legend_names_what_there_is_and_nothing_else() -> None:
    assert squares(timeline_figure([SWEEP], "t")) == [
        "teacher",
        "features",
        "trial digits",
        "trial letters",
        "confirmation",
        "stopped early",
        "failed",
    ]


def test_bars_stand_in_their_lanes_at_their_times() -> None:
    (axes,) = timeline_figure([SWEEP], "t").axes
    boxes = [
        path.get_extents()
        for bars in axes.collections
        if isinstance(bars, PolyCollection)
        for path in bars.get_paths()
    ]
    assert sorted((box.x0, box.x1) for box in boxes) == sorted(
        (s.start, s.end) for s in SWEEP.spans
    )
    assert {round((box.y0 + box.y1) / 2) for box in boxes} == {0, 1}
    assert axes.get_xlim() == (0, 100)


def test_what_came_from_the_store_is_faint_and_said_to_be(texts: Texts) -> None:
    found = " ".join(" ".join(texts(timeline_figure([SWEEP], "t"))).split())
    assert "What a faint bar has came from the store." in found


def test_a_stage_that_a_trial_computed_or_waited_for_lies_in_its_bar(texts: Texts) -> None:
    parts = (Part("joint_teacher", "j", 30, 34), Part("waiting", "t", 34, 40))
    figure = timeline_figure([session(span("trial", 30, 50, parts=parts))], "t")
    assert squares(figure) == ["joint teacher", "trial digits", "waiting for a stage"]
    assert "computed by the trial's worker" in " ".join(" ".join(texts(figure)).split())


def test_more_datasets_than_colours_share_one(texts: Texts) -> None:
    many = session(*(span("trial", i, i + 1, dataset=f"d{i}") for i in range(9)))
    figure = timeline_figure([many], "t")
    assert squares(figure) == ["trial"]
    assert "Trials of all 9 datasets have one colour." in " ".join(texts(figure)).replace("\n", " ")


def test_a_resume_is_marked(texts: Texts) -> None:
    first = session(span("trial", 10, 20), start=0, end=25)
    second = session(span("trial", 1010, 1020), start=1000, end=1030)
    assert texts(timeline_figure([first, second], "t")).count("resumed") == 1
    assert "resumed" not in texts(timeline_figure([first], "t"))


@pytest.mark.parametrize(("slots", "trials"), [(2, 20), (2, 300), (16, 20), (16, 300)])
def test_names_within_bars_stay_within_them(slots: int, trials: int) -> None:
    spans = [
        span("trial", 5 * (i // slots), 5 * (i // slots) + 4.9, i % slots, name=f"{i}")
        for i in range(trials)
    ]
    end = spans[-1].end
    figure = timeline_figure([session(*spans, slots=slots, end=end)], "t")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    (axes,) = figure.axes
    width = axes.transData.transform((4.9, 0))[0] - axes.transData.transform((0, 0))[0]
    for text in axes.texts:
        assert text.get_window_extent().width <= width
    assert len(axes.texts) == (trials if trials / slots < 60 else 0)


def test_no_sessions_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one session"):
        timeline_figure([], "t")
