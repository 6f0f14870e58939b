from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.statistics import Interval
from mlfd_tune.core.store import Stage, Store, walk
from mlfd_tune.report.scaling import ScalingRow, power_laws, scaling_rows
from mlfd_tune.report.scaling_figure import scaling_figure
from mlfd_tune.report.scaling_tables import cost_table, gain_cells, verdict
from tests.helpers import pipelines
from tests.helpers.recorder import Recorder

Texts = Callable[[Figure], list[str]]

T_2 = 4.302653  # two-sided 95 % Student t quantile with 2 degrees of freedom
TARGETS = ("one", "two")
SETS = (["one"], ["one", "two"])
SEEDS = (0, 1, 2)
GAINS = {1: (0.1, -0.2, 0.4), 2: (2.0, 3.0, 2.5)}


@dataclass
class Ablation:
    """A recorded ablation and the store its first seed was computed into."""

    uri: str
    store: Store
    students: Mapping[tuple[int, str], Stage]

    def rows(self) -> list[ScalingRow]:
        return scaling_rows(self.uri, "teachers", self.store)


@pytest.fixture(scope="module")
def ablation(report_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    folder = tmp_path_factory.mktemp("scaling")
    store = Store(folder / "store")
    students = {
        (len(names), target): pipelines.pipeline(joint_teacher={"teachers": names}).student(target)
        for names in SETS
        for target in TARGETS
    }
    for stage in students.values():
        store.get_or_compute(stage)

    recorder = Recorder(report_uri, "teachers", folder / "outbox", "t1", "ablation")
    for names in SETS:
        # `null` is all of the lineup.
        told = {"lineup": "one:test_resnet,two:test_resnet"}
        told["joint_teacher.teachers"] = str(names) if len(names) == 1 else "None"
        for target in TARGETS:
            for seed, gain in zip(SEEDS, GAINS[len(names)], strict=True):
                base = 50.0 + seed
                # Other seeds' students are not what the method costs.
                key = students[len(names), target].key if seed == 0 else f"{seed:064d}"
                for method, test in (("mlfd", base + gain), ("none", base)):
                    recorder.train(
                        "arm",
                        target,
                        method,
                        seed,
                        [40.0, 45.0],
                        test=test,
                        arm=f"teachers={'+'.join(names)}, method={method}",
                        key=key if method == "mlfd" else "",
                        params=told if method == "mlfd" else {},
                    )
    recorder.close()
    return Ablation(report_uri, store, students)


def row(n: int, gain: Interval | None, costs: float = 1.0, dataset: str = "one") -> ScalingRow:
    lineup = tuple(f"d{i}" for i in range(n))
    cost = {"teacher": costs, "student": 25.0}
    sizes = {stage: int(1e6 * value) for stage, value in cost.items()}
    return ScalingRow(n, lineup, dataset, gain, None, "test/acc1", cost, sizes, 0)


def test_gains_are_paired_by_seed_with_the_baseline(ablation: Ablation) -> None:
    rows = ablation.rows()

    assert [(row.teachers, row.dataset) for row in rows] == [
        (1, "one"), (1, "two"), (2, "one"), (2, "two")
    ]  # fmt: skip
    for found in rows:
        gains = np.array(GAINS[found.teachers])
        half = T_2 * gains.std(ddof=1) / math.sqrt(3)
        assert found.gain is not None
        assert found.gain.n == 3
        assert found.gain.mean == pytest.approx(gains.mean())
        assert found.gain.low == pytest.approx(gains.mean() - half, abs=1e-4)
        assert found.gain_metric == "test/acc1"
        assert found.undecided == (found.teachers == 1)
    assert rows[-1].lineup == ("one", "two")


def test_costs_are_those_of_one_seed_of_all_targets_each_artifact_once(ablation: Ablation) -> None:
    for found in ablation.rows():
        roots = [ablation.students[found.teachers, target] for target in TARGETS]
        seconds: dict[str, float] = {}
        sizes: dict[str, int] = {}
        for stage in walk(roots):
            artifact = ablation.store.get(stage)
            assert artifact is not None
            manifest = artifact.manifest
            seconds[manifest.stage] = seconds.get(manifest.stage, 0.0) + manifest.seconds
            sizes[manifest.stage] = sizes.get(manifest.stage, 0) + manifest.bytes
        assert found.seconds == pytest.approx(seconds)
        assert found.bytes == sizes
        assert found.missing == 0
    # Two targets and one teacher: the teacher's dataset is not counted twice.
    assert set(ablation.rows()[0].seconds) == {
        "dataset", "teacher", "features", "joint_teacher", "targets", "student"
    }  # fmt: skip


def test_more_teachers_cost_more_bytes_of_teachers_but_not_of_students(ablation: Ablation) -> None:
    laws = power_laws(ablation.rows(), "bytes")

    assert laws["teacher"].exponent.mean == pytest.approx(1.0, abs=0.05)
    assert laws["student"].exponent.mean == pytest.approx(0.0, abs=0.05)
    assert laws["teacher"].exponent.low is None  # two points tell no interval


def test_a_power_law_is_found_again_with_its_interval() -> None:
    numbers = np.array([2, 4, 8, 16])
    noise = np.array([0.05, -0.1, 0.08, -0.03])
    rows = [
        row(int(n), None, float(3 * n**0.7 * np.exp(e)))
        for n, e in zip(numbers, noise, strict=True)
    ]
    law = power_laws(rows, "seconds")["teacher"]

    x, y = np.log(numbers), np.log(3.0) + 0.7 * np.log(numbers) + noise
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    intercept = y.mean() - slope * x.mean()
    error = math.sqrt(((y - intercept - slope * x) ** 2).sum() / 2 / ((x - x.mean()) ** 2).sum())
    assert law.exponent.mean == pytest.approx(slope)
    assert law.factor == pytest.approx(math.exp(intercept))
    assert law.exponent.low == pytest.approx(slope - T_2 * error)
    assert law.exponent.high == pytest.approx(slope + T_2 * error)


def test_what_does_not_grow_has_exponent_zero_and_an_interval_of_no_width() -> None:
    law = power_laws([row(n, None) for n in (2, 4, 8)], "seconds")["student"]
    assert law.exponent == Interval(0.0, 0.0, 0.0, 3)


def test_a_store_without_the_artifacts_is_one_clear_line(
    ablation: Ablation, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="has no artifact of teachers"):
        scaling_rows(ablation.uri, "teachers", Store(tmp_path / "other"))


def test_an_experiment_over_something_else_says_what_it_has(
    ablation: Ablation, tmp_path: Path
) -> None:
    recorder = Recorder(ablation.uri, "other", tmp_path / "outbox", "o1", "ablation")
    recorder.train("arm", "one", "kd", 0, [10.0], arm="kd")
    recorder.close()

    with pytest.raises(UserError, match=r"no run of 'mlfd' tells .* \(methods .*: kd\)"):
        scaling_rows(ablation.uri, "other", ablation.store)


def test_it_is_said_plainly_where_no_gain_is_shown() -> None:
    rows = [
        row(2, Interval(0.2, -1.0, 1.4, 3)),
        row(4, Interval(2.0, 1.0, 3.0, 3)),
        row(8, Interval(-2.0, -3.0, -1.0, 3)),
    ]
    told = verdict(rows)

    assert "1 of 3 gains have a 95 % interval that contains zero" in told
    assert "no difference to the baseline is shown with 2 teachers (one)." in told
    assert "Worse than the baseline: with 8 teachers (one)." in told
    assert verdict(rows[1:2]) == "No gain's 95 % interval contains zero."
    assert "one seed only" in verdict([row(2, Interval(1.0, None, None, 1))])
    assert "No gain can be told" in verdict([row(2, None)])


def test_tables_show_intervals_totals_and_growth(ablation: Ablation) -> None:
    assert gain_cells(row(2, Interval(0.2, -1.0, 1.4, 3))) == (
        2, "one", "+0.20 [-1.00, +1.40]", "", "test/acc1"
    )  # fmt: skip
    columns, lines = cost_table([row(n, None, float(n)) for n in (2, 4, 8)], "seconds")
    assert columns == ("stage", "n=2", "n=4", "n=8", "grows as")
    assert lines[0] == ("teacher", "2.0", "4.0", "8.0", "n^1.00 [1.00, 1.00]")
    assert lines[-1][:4] == ("total", "27.0", "29.0", "33.0")


def test_the_figure_has_gains_seconds_and_bytes_with_exponents(texts: Texts) -> None:
    rows = [
        row(n, Interval(gain, gain - 1, gain + 1, 3), float(n), dataset)
        for n, gain in ((2, 0.5), (4, 2.0), (8, 0.0))
        for dataset in ("one", "two")
    ]
    figure = scaling_figure(rows, "teachers, run t1: mlfd")

    gains, seconds, sizes = figure.axes
    hollow = [
        line
        for line in gains.get_lines()
        if line.get_marker() == "o" and line.get_markerfacecolor() == "white"
    ]
    assert len(hollow) == 4
    assert {line.get_label() for line in seconds.get_lines()} >= {
        "teacher: n^1.00 [1.00, 1.00]",
        "student: n^0.00 [0.00, 0.00]",
    }
    (teacher,) = (line for line in sizes.get_lines() if line.get_label().startswith("teacher"))
    np.testing.assert_allclose(teacher.get_ydata(), [2.0, 4.0, 8.0])
    assert any("hollow: the interval contains zero (4 of 6)" in text for text in texts(figure))


def test_a_figure_without_baseline_or_rows_says_so(texts: Texts) -> None:
    assert "no baseline to compare with" in texts(scaling_figure([row(2, None)], "t"))
    with pytest.raises(ValueError, match="at least one row"):
        scaling_figure([], "t")


def test_many_datasets_are_shown_as_grey_points_around_their_mean() -> None:
    rows = [row(n, Interval(0.1 * i, -1, 1, 3), 1.0, f"data{i}") for n in (2, 4) for i in range(16)]
    gains = scaling_figure(rows, "t").axes[0]
    (legend,) = [text.get_text() for text in gains.get_legend().get_texts()]
    assert legend == "mean of 16 datasets and its 95 % interval over them"
