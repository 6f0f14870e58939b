"""`mlfd-tune run --profile`: the files it leaves, and that it changes no number."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mlfd_tune.tracking.client import open_client
from mlfd_tune.tune.timeline import read_timeline
from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_pipeline


@pytest.mark.slow
def test_a_profiled_run_leaves_a_trace_and_a_picture_and_the_same_numbers(tmp_path: Path) -> None:
    design = {"kind": "grid", "factors": {"method": ["mlfd", "none"]}}
    content = {"kind": "ablation", **tiny_pipeline(targets=["digits"]), "design": design}
    rows = []
    for name, options in (("plain", ()), ("profiled", ("--profile",))):
        (tmp_path / name).mkdir()
        write_yaml(tmp_path / name / "arms.yaml", content | {"seeds": 1})
        done = mlfd_tune("run", "arms.yaml", "--json", *options, cwd=tmp_path / name)
        rows.append(json.loads(done.stdout)["rows"])
    assert [row["values"] for row in rows[0]] == [row["values"] for row in rows[1]]

    (folder,) = (tmp_path / "profiled").glob("runs/arms/*")
    names = {"operators.txt", "timeline.png", "timeline.svg", "trace.json.gz"}
    assert {file.name for file in (folder / "profile").iterdir()} == names
    with gzip.open(folder / "profile" / "trace.json.gz", "rt") as file:
        assert json.load(file)["traceEvents"]
    for name in ("timeline.png", "operators.txt", "trace.json.gz"):
        assert str(folder / "profile" / name) in "".join(done.stderr.split("\n"))

    client = open_client(f"sqlite:///{tmp_path}/profiled/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'arms'")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`mlfd.kind` = 'ablation'")
    found = {file.path for file in client.list_artifacts(run.info.run_id, "profile")}
    assert found == {f"profile/{name}" for name in names}

    (plain,) = (tmp_path / "plain").glob("runs/arms/*")
    assert not (plain / "profile").exists()
    (session,) = read_timeline(plain)  # a timeline is there in any case
    assert {span.kind for span in session.spans} >= {"teacher", "joint_teacher", "arm"}
    assert all(session.start < span.start < span.end < session.end for span in session.spans)
