"""Files and metrics added to MLflow from outside a sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.artifacts import (
    EVALUATION,
    EVALUATION_OF,
    evaluation_run,
    find_run,
    log_to_run,
    why_away,
)
from mlfd_tune.tracking.client import open_client

AWAY = "http://127.0.0.1:9"


def test_a_metric_that_is_there_stays_and_files_are_replaced(uri: str, tmp_path: Path) -> None:
    run_id = evaluation_run(uri, "exp", "abc", "evaluation", {})
    table = tmp_path / "table.csv"
    table.write_text("old")
    first = log_to_run(uri, run_id, [table], "evaluation", {"test/acc1": 50.0})
    table.write_text("new")
    metrics = {"test/acc1": 60.0, "transfer/new/knn_acc1": 70.0}
    second = log_to_run(uri, run_id, [table], "evaluation", metrics)
    assert (first, second) == (["test/acc1"], ["transfer/new/knn_acc1"])
    client = open_client(uri)
    assert client.get_run(run_id).data.metrics == {"test/acc1": 50.0, "transfer/new/knn_acc1": 70.0}
    assert [file.path for file in client.list_artifacts(run_id, "evaluation")] == [
        "evaluation/table.csv"
    ]
    kept = client.download_artifacts(run_id, "evaluation/table.csv", str(tmp_path))
    assert Path(kept).read_text() == "new"


def test_a_network_has_one_evaluation_run_in_an_experiment(uri: str) -> None:
    tags = {vocabulary.DATASET: "digits", vocabulary.SEED: "3"}
    first = evaluation_run(uri, "exp", "abc", "evaluation of a student", tags)
    assert evaluation_run(uri, "exp", "abc", "evaluation of a student", tags) == first
    assert evaluation_run(uri, "exp", "other", "evaluation of another", tags) != first
    assert evaluation_run(uri, "elsewhere", "abc", "evaluation of a student", tags) != first
    run = open_client(uri).get_run(first)
    assert run.info.status == "FINISHED"
    expected = {**tags, vocabulary.KIND: EVALUATION, EVALUATION_OF: "abc"}
    assert expected.items() <= run.data.tags.items()


def test_a_run_is_found_by_its_id_unless_it_is_deleted(uri: str, tmp_path: Path) -> None:
    run_id = evaluation_run(uri, "exp", "abc", "evaluation", {})
    found = find_run(uri, run_id)
    assert found is not None
    assert found.info.run_id == run_id
    assert find_run(uri, "0" * 32) is None
    open_client(uri).delete_run(run_id)
    assert find_run(uri, run_id) is None
    assert find_run(f"sqlite:///{tmp_path}/none.db", run_id) is None
    assert not (tmp_path / "none.db").exists()


def test_a_server_that_is_away_is_told_in_one_line(tmp_path: Path) -> None:
    assert "127.0.0.1:9" in (why_away(AWAY) or "")
    assert find_run(AWAY, "0" * 32) is None
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
        log_to_run(AWAY, "0" * 32, [], "evaluation", {})
    assert len(caught.value.problems) == 1
    with pytest.raises(UserError, match="cannot be reached"):
        evaluation_run(AWAY, "exp", "abc", "evaluation", {})


def test_what_mlflow_refuses_is_told_in_one_line(uri: str) -> None:
    with pytest.raises(UserError, match=r"tracking uri: .*mlflow\.db: ") as caught:
        log_to_run(uri, "0" * 32, [], "evaluation", {"test/acc1": 1.0})
    assert "\n" not in str(caught.value)
