"""One configuration in two experiments is one row, as long as it saw the same images."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlfd_tune.tracking.leaderboard import Row, leaderboard
from mlfd_tune.tracking.tables import rich_tables
from mlfd_tune.tracking.tracker import RunRef, Tracker


def record(
    uri: str, experiment: str, folder: Path, data: str | None, values: dict[tuple[str, int], float]
) -> None:
    """Record confirmations of the configuration ``aaaa`` and its baseline, by method and seed."""
    tracker = Tracker(uri, experiment, folder, linger_s=0.01)
    tracker.start_run("S", "S", tags={"mlfd.kind": "sweep", "mlfd.sweep": experiment})
    stage = data and tracker.start_stage_run(data, "dataset digits", parent="S")
    for (method, seed), val in values.items():
        name = f"{method} {seed}"
        tags: dict[str, object] = {
            "mlfd.kind": "confirm",
            "mlfd.sweep": experiment,
            "mlfd.dataset": "digits",
            "mlfd.method": method,
            "mlfd.config": "aaaa" if method == "mlfd" else "base",
            "mlfd.seed": str(seed),
        }
        if method == "none":
            tags["mlfd.baseline_of"] = "aaaa"
        if stage:
            tags["mlfd.stage.dataset.digits"] = RunRef(stage)
        tracker.start_run(name, name, parent="S", tags=tags, params={"alpha": 0.1})
        tracker.log_metrics(name, {"val/acc1": val}, step=1)
        tracker.end_run(name, "FINISHED")
    assert tracker.close(30)


def the_method(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.method == "mlfd"]


def test_seeds_of_two_experiments_are_one_row_with_one_gain(uri: str, tmp_path: Path) -> None:
    first = {("mlfd", 1): 80.0, ("mlfd", 2): 82.0, ("none", 1): 79.0, ("none", 2): 80.0}
    again = {("mlfd", 2): 84.0, ("mlfd", 3): 86.0, ("none", 3): 83.0}
    record(uri, "one", tmp_path / "1", "key", first)
    record(uri, "two", tmp_path / "2", "key", again)

    assert [row.n_seeds for row in the_method(leaderboard(uri))] == [2, 2]
    (row,) = the_method(leaderboard(uri, fold=True))
    assert row.experiment == "one, two"
    assert row.val is not None
    # Seed 2 counts once: as the later of the two trained it.
    assert (row.val.n, row.val.mean) == (3, pytest.approx((80 + 84 + 86) / 3))
    assert row.gain is not None
    assert (row.gain.n, row.gain.mean) == (3, pytest.approx((1 + 4 + 3) / 3))

    (table, _note) = rich_tables(leaderboard(uri, fold=True), folded=True)
    assert [column.header for column in table.columns][-1] == "experiments"


@pytest.mark.parametrize("data", ["other key", None])
def test_other_or_unknown_images_are_not_folded(uri: str, tmp_path: Path, data: str | None) -> None:
    record(uri, "one", tmp_path / "1", "key", {("mlfd", 1): 80.0, ("mlfd", 2): 82.0})
    record(uri, "two", tmp_path / "2", data, {("mlfd", 3): 90.0, ("mlfd", 4): 92.0})
    rows = the_method(leaderboard(uri, fold=True))
    assert [(row.experiment, row.n_seeds) for row in rows] == [("two", 2), ("one", 2)]
