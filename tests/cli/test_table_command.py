"""`mlfd-tune table`: the tables of a finished run, from MLflow alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlfd_tune.cli.tables import table
from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking import open_client
from tests.helpers.recorded_ablations import Recorder, tiny_ablation, tiny_recorded_sweep

BASE = [60.0, 61.0, 62.0, 63.0, 64.0, 65.0, 66.0]
BETTER = [64.0, 66.0, 65.0, 69.0, 68.0, 70.0, 71.0]
RUN = "20260101-000000"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An ablation that ran twice, and a sweep."""
    folder = tmp_path_factory.mktemp("recorded")
    uri = f"sqlite:///{folder}/mlflow.db"
    open_client(uri).search_experiments()
    for run, shift in ((RUN, 0.0), ("20260102-000000", 10.0)):
        ablation = Recorder(uri, "arms", folder / run, tiny_ablation(seeds=7))
        for dataset in ("digits", "photos"):
            ablation.arm(dataset, "base", [value + shift for value in BASE])
            ablation.arm(dataset, "student_L1", [value + shift for value in BETTER])
            ablation.arm(dataset, "joint 100%", [value + shift - 20 for value in BASE])
        ablation.close()
    tiny_recorded_sweep(uri, folder / "20260103-000000")
    return uri


def called(uri: str, *arguments: str) -> Result:
    done = CliRunner().invoke(table, [*arguments, "--uri", uri], env={"COLUMNS": "100"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_it_shows_the_latest_finished_run_with_its_verdicts(uri: str) -> None:
    text = called(uri, "arms").stdout

    assert "digits · val/acc1 in %, 7 seeds; difference to base, paired by seed" in text
    assert "73.00" in text
    assert "63.00" not in text
    assert "higher" in text
    assert "lower" in text
    assert "mean ranks on 2 datasets" in text
    assert "Note: " in text
    assert max(map(len, text.splitlines())) <= 100


def test_another_run_and_one_dataset_can_be_asked_for(uri: str) -> None:
    text = called(uri, "arms", "--run", RUN, "--dataset", "photos").stdout

    assert "63.00" in text
    assert "photos · " in text
    assert "digits · " not in text
    assert "ranks" not in text


def test_json_has_rows_ranks_and_notes(uri: str) -> None:
    found = json.loads(called(uri, "arms", "--format", "json").stdout)

    assert {"experiment", "run", "metric", "rows", "ranks", "notes"} <= found.keys()
    assert (found["experiment"], found["run"]) == ("arms", "20260102-000000")
    better = found["rows"][1]
    assert (better["dataset"], better["arm"]) == ("digits", "student_L1")
    assert list(better["values"].values()) == [value + 10 for value in BETTER]
    assert better["difference"]["mean"] == better["comparison"]["difference"]["mean"]
    assert better["comparison"]["verdict"] == "higher"
    assert better["comparison"]["p_holm"] == pytest.approx(4 / 2**7)
    assert found["ranks"]["mean_ranks"] == [2.0, 1.0, 3.0]


def test_a_file_is_written_whole(uri: str, tmp_path: Path) -> None:
    for form, begins in (("md", "**digits"), ("latex", "% needs"), ("csv", "dataset,"),
                         ("table", "digits")):  # fmt: skip
        file = tmp_path / "deep" / f"arms.{form}"
        done = called(uri, "arms", "--format", form, "-o", str(file))
        assert done.stdout == f"{file}\n"
        assert file.read_text(encoding="utf-8").startswith(begins)
    assert sorted(path.suffix for path in (tmp_path / "deep").iterdir()) == [
        ".csv", ".latex", ".md", ".table"
    ]  # fmt: skip


def test_of_a_sweep_the_confirmed_stand_there_with_baseline_and_control(uri: str) -> None:
    text = called(uri, "searched", "--format", "csv").stdout

    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(text))}
    assert set(rows) == {"mlfd", "none", "own_teacher"}
    assert "99" not in {row["val"] for row in rows.values()}  # a trial is not confirmed
    assert float(rows["mlfd"]["test"]) == 85.0
    assert float(rows["mlfd"]["gain"]) == 4.5
    assert float(rows["mlfd"]["over_own"]) == 2.0
    assert rows["none"]["baseline_of"] == "aaaa"
    shown = called(uri, "searched", "--format", "md").stdout
    assert "neither is a claim" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("armz",), "did you mean 'arms'"),
        (("arms", "--run", "20260101"), "--run: arms has no run '20260101'"),
        (("arms", "--dataset", "digit"), "did you mean 'digits'"),
        (("searched", "--layout", "paper"), "searched is a sweep"),
        (("arms", "--layout", "paper"), "--layout: "),
    ],
)
def test_what_is_not_there_is_said(arguments: tuple[str, ...], told: str, uri: str) -> None:
    with pytest.raises(UserError, match=told):
        called(uri, *arguments)


def test_a_run_without_its_configuration_is_named(uri: str) -> None:
    client = open_client(uri)
    (found,) = (one for one in client.search_experiments() if one.name == "arms")
    parent = next(
        run
        for run in client.search_runs([found.experiment_id])
        if run.data.tags["mlfd.kind"] == "ablation" and run.data.tags["mlfd.sweep"] == RUN
    )
    file = Path(parent.info.artifact_uri.removeprefix("file://")) / "experiment.yaml"
    kept = file.read_text(encoding="utf-8")
    try:
        file.unlink()
        with pytest.raises(UserError, match=r"has no artifact experiment\.yaml in MLflow"):
            called(uri, "arms", "--run", RUN)
        file.write_text("kind: ablation\nunheard: 1\n", encoding="utf-8")
        with pytest.raises(UserError, match="written by another version"):
            called(uri, "arms", "--run", RUN)
    finally:
        file.write_text(kept, encoding="utf-8")
