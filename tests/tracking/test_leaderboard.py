from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking.leaderboard import Row, leaderboard
from mlfd_tune.tracking.tables import render
from mlfd_tune.tracking.tracker import EndStatus, Tracker

Board = Callable[..., list[Row]]

T_2 = 4.302653  # two-sided 95 % Student t quantile with 2 degrees of freedom


class Recorder:
    """Records runs as a sweep does, through a real tracker."""

    def __init__(self, uri: str, experiment: str, outbox: Path, sweep: str = "S") -> None:
        self.tracker = Tracker(uri, experiment, outbox, linger_s=0.01)
        self.sweep = sweep
        tags = {"mlfd.kind": "sweep", "mlfd.sweep": sweep}
        self.tracker.start_run(sweep, sweep, tags=tags)
        self.count = 0

    def run(
        self,
        kind: str,
        config: str,
        seed: int,
        val: float | None,
        test: float | None = None,
        *,
        dataset: str = "digits",
        method: str = "mlfd",
        of: str = "",
        arm: str = "",
        status: EndStatus = "FINISHED",
        **params: object,
    ) -> None:
        self.count += 1
        name = f"run{self.count}"
        tags = {
            "mlfd.kind": kind,
            "mlfd.sweep": self.sweep,
            "mlfd.dataset": dataset,
            "mlfd.method": method,
            "mlfd.config": config,
            "mlfd.seed": str(seed),
        }
        tags |= {"mlfd.baseline_of": of} if of else {}
        tags |= {"mlfd.arm": arm} if arm else {}
        self.tracker.start_run(
            name, name, parent=self.sweep, tags=tags, params={"seed": seed, **params}
        )
        metrics = {"val/acc1": val, "test/acc1": test}
        known = {metric: value for metric, value in metrics.items() if value is not None}
        self.tracker.log_metrics(name, known, step=1)
        self.tracker.end_run(name, status)

    def close(self) -> None:
        assert self.tracker.close(30)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Board:
    """Two experiments: a sweep with confirmation on two datasets, and an ablation."""
    folder = tmp_path_factory.mktemp("board")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    uri = f"sqlite:///{folder}/mlflow.db"

    sweep = Recorder(uri, "quickstart", folder / "outbox")
    for config, val, alpha in (("aaaa", 90.0, 0.1), ("bbbb", 80.0, 0.2), ("cccc", 95.0, 0.3)):
        sweep.run("trial", config, 0, val, alpha=alpha, epochs=5)
    sweep.run("trial", "dddd", 0, 30.0, status="KILLED", alpha=0.4, epochs=5)
    sweep.run("trial", "eeee", 0, None, status="FAILED", alpha=0.5, epochs=5)
    for seed, luck in ((11, 0.0), (12, 3.0), (13, -2.0)):
        more = {"alpha": 0.1, "epochs": 5}
        sweep.run("confirm", "aaaa", seed, 88.0 + luck, 86.0 + luck + (seed - 11), **more)
        sweep.run("confirm", "base", seed, 85.0 + luck, 84.0 + luck, method="none", of="aaaa")
        sweep.run(
            "confirm", "ctrl", seed, 86.0 + luck, 85.5 + luck, method="own_teacher", of="aaaa"
        )
    # Another configuration's baseline must not be mixed with the one above.
    for seed in (11, 12):
        sweep.run("confirm", "bbbb", seed, 70.0, 70.0, alpha=0.2, epochs=5)
        sweep.run("confirm", "base", seed, 60.0, 75.0, method="none", of="bbbb")
    sweep.run("confirm", "one", 11, 50.0, 51.0, dataset="letters")
    sweep.run("confirm", "base", 11, 50.0, 50.0, dataset="letters", method="none", of="one")
    sweep.close()

    ablation = Recorder(uri, "depth", folder / "outbox2", sweep="A")
    for seed in (0, 1, 2):
        ablation.run("arm", "l1", seed, 60.0 + seed, arm="L1", depth=1)
        ablation.run("arm", "l2", seed, 63.0 + 2 * seed, arm="L2", depth=2)
        ablation.run("arm", "base", seed, 59.0 + seed, method="none", of="l1, l2", arm="none")
    ablation.close()

    def read(experiment: str | None = "quickstart", **filters: str) -> list[Row]:
        return leaderboard(uri, experiment, **filters)

    return read


def the(rows: list[Row], **wanted: object) -> Row:
    (row,) = (
        row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())
    )
    return row


def test_confirmed_rows_come_first_then_validation_accuracy_decides(board: Board) -> None:
    rows = board(dataset="digits")

    assert [(row.config, row.method, row.status) for row in rows] == [
        ("aaaa", "mlfd", "confirmed"),
        ("ctrl", "own_teacher", "confirmed"),
        ("base", "none", "confirmed"),
        ("bbbb", "mlfd", "confirmed"),
        ("base", "none", "confirmed"),
        ("cccc", "mlfd", "provisional"),
    ]


def test_a_confirmed_configuration_hides_its_own_trial(board: Board) -> None:
    assert [row.config for row in board(status="provisional", dataset="digits")] == ["cccc"]


def test_seeds_are_folded_into_means_with_intervals(board: Board) -> None:
    row = the(board(), config="aaaa")

    # Validation 88, 91, 86: mean 88 1/3, s = sqrt(19/3).
    assert row.n_seeds == 3
    assert row.val is not None
    assert row.val.mean == pytest.approx(88 + 1 / 3)
    half = T_2 * math.sqrt(19 / 3) / math.sqrt(3)
    assert row.val.low == pytest.approx(88 + 1 / 3 - half, abs=1e-5)
    assert row.test is not None
    assert row.test.mean == pytest.approx((86 + 90 + 86) / 3)
    assert len(row.run_ids) == 3


def test_gains_are_paired_with_the_baseline_of_the_same_configuration(board: Board) -> None:
    rows = board()
    row = the(rows, config="aaaa")

    # Test differences to the baseline: 2, 3, 4; to the own-teacher control: 0.5, 1.5, 2.5.
    assert row.gain is not None
    assert row.gain_metric == "test/acc1"
    assert (row.gain.mean, row.gain.n) == (pytest.approx(3.0), 3)
    assert row.gain.low == pytest.approx(3 - T_2 / math.sqrt(3), abs=1e-5)
    assert row.gain_over_own_teacher is not None
    assert row.gain_over_own_teacher.mean == pytest.approx(1.5)
    other = the(rows, config="bbbb")
    assert other.gain is not None
    assert other.gain.mean == pytest.approx(-5.0)
    assert other.gain_over_own_teacher is None


def test_the_control_is_compared_with_the_baseline_and_the_baseline_with_nothing(
    board: Board,
) -> None:
    rows = board()
    control = the(rows, method="own_teacher")
    assert control.gain is not None
    assert control.gain.mean == pytest.approx(1.5)
    assert control.gain_over_own_teacher is None
    assert all(row.gain is None for row in rows if row.method == "none")


def test_one_seed_is_provisional_and_its_gain_has_no_interval(board: Board) -> None:
    row = the(board(dataset="letters"), method="mlfd")
    assert row.status == "provisional"
    assert row.gain is not None
    assert (row.gain.mean, row.gain.low) == (1.0, None)


def test_trials_have_no_gain(board: Board) -> None:
    row = the(board(), config="cccc")
    assert row.gain is None
    assert row.test is None


def test_stopped_runs_are_shown_only_when_asked_for(board: Board) -> None:
    assert {row.status for row in board()} == {"confirmed", "provisional"}
    assert [(row.config, row.status) for row in board(status="pruned")] == [("dddd", "pruned")]
    (failed,) = board(status="failed")
    assert (failed.config, failed.val) == ("eeee", None)


def test_arms_of_an_ablation_are_paired_on_validation_where_no_test_was_read(
    board: Board,
) -> None:
    rows = board("depth")
    assert [(row.arm, row.status) for row in rows] == [
        ("L2", "ablation"),
        ("L1", "ablation"),
        ("none", "ablation"),
    ]
    row = the(rows, arm="L2")
    assert row.gain is not None
    assert row.gain.mean == pytest.approx(5.0)  # 4, 5, 6
    assert row.gain_metric == "val/acc1"


def test_only_params_that_tell_configurations_apart_are_kept(board: Board) -> None:
    assert the(board(), config="cccc").params["alpha"] == "0.3"
    assert all("seed" not in row.params for row in board())
    assert the(board("depth"), arm="L1").params == {"depth": "1"}


def test_without_an_experiment_all_are_read(board: Board) -> None:
    assert {row.experiment for row in board(None)} == {"quickstart", "depth"}


def test_the_method_filter_keeps_gains_though_it_hides_the_baselines(board: Board) -> None:
    rows = board(method="mlfd", dataset="digits")
    assert {row.method for row in rows} == {"mlfd"}
    assert rows[0].gain is not None


@pytest.mark.parametrize(
    ("filters", "part"),
    [
        ({"experiment": "quikstart"}, "did you mean 'quickstart'?"),
        ({"dataset": "digit"}, "(allowed: digits, letters; did you mean 'digits'?)"),
        ({"method": "mlf"}, "(allowed: mlfd, none, own_teacher; did you mean 'mlfd'?)"),
        ({"status": "confirm"}, "did you mean 'confirmed'?"),
    ],
)
def test_unknown_names_are_answered_with_what_exists(
    filters: dict[str, str], part: str, board: Board
) -> None:
    with pytest.raises(UserError) as caught:
        board(**filters)
    assert part in str(caught.value)


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no database"):
        leaderboard(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_an_absent_server_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="cannot be reached"):
        leaderboard("http://127.0.0.1:9")


def test_a_run_that_repeats_a_seed_replaces_the_earlier_one(uri: str, tmp_path: Path) -> None:
    recorder = Recorder(uri, "exp", tmp_path / "outbox")
    recorder.run("confirm", "aaaa", 1, 50.0)
    recorder.close()
    recorder = Recorder(uri, "exp", tmp_path / "outbox2")
    recorder.run("confirm", "aaaa", 1, 60.0)
    recorder.run("confirm", "aaaa", 2, 62.0)
    recorder.close()

    (row,) = leaderboard(uri, "exp")
    assert row.n_seeds == 2
    assert row.val is not None
    assert row.val.mean == 61.0


def test_the_table_fits_100_columns_and_needs_no_colour(board: Board) -> None:
    text = render(board(None), "table", width=100)

    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    winner = next(line for line in lines if "aaaa" in line)
    assert "confirmed" in winner
    assert "+3.0 ± 2.5" in winner
    assert "+1.5 ± 2.5" in winner
    assert "provisional" in next(line for line in lines if "cccc" in line)


def test_json_rows_have_the_promised_keys(board: Board) -> None:
    rows = json.loads(render(board(), "json"))
    promised = "dataset method status n_seeds val/acc1 test/acc1 gain gain_low gain_high run_id"
    for row in rows:
        assert set(promised.split()) <= set(row)
    assert rows[0]["gain"] == pytest.approx(3.0)
    assert rows[0]["experiment"] == "quickstart"


def test_csv_holds_all_fields_and_one_column_per_param(board: Board) -> None:
    rows = list(csv.DictReader(io.StringIO(render(board(), "csv"))))
    assert len(rows) == len(board())
    assert rows[0]["param.alpha"] == "0.1"
    assert float(rows[0]["gain_low"]) == pytest.approx(3 - T_2 / math.sqrt(3), abs=1e-5)


def test_markdown_has_one_line_per_row(board: Board) -> None:
    lines = render(board(), "md").splitlines()
    assert len(lines) == 2 + len(board())
    assert len({line.count("|") for line in lines}) == 1


def test_an_empty_leaderboard_is_said_in_words_and_an_unknown_format_refused() -> None:
    assert render([], "table").strip() == "No finished runs."
    assert json.loads(render([], "json")) == []
    with pytest.raises(UserError, match="did you mean 'json'"):
        render([], "jason")
