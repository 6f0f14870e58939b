"""Trials that run out of memory beside others: they run again alone, and nothing else changes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mlfd_tune.tune.timeline import read_timeline
from tests.helpers.command import ENVIRONMENT, command, write_yaml
from tests.helpers.experiments import tiny_pipeline

GREEDY = '''
"""A method that learns the labels and, in its second epoch, wants more memory than there is."""

import os
from pathlib import Path

import torch
from mlfd_tune.core.methods.labels import LabelsAlone
from mlfd_tune.core.stages import BaselineStage, StudentTask


class GreedyTask(StudentTask):
    def begin_epoch(self, epoch, epochs):
        super().begin_epoch(epoch, epochs)
        self.epoch = epoch

    def loss(self, indices, augment):
        tries = Path(os.environ["TRIES"], self.name)
        if self.epoch == 2 and len(list(tries.glob("*"))) < self.times:
            (tries / os.urandom(4).hex()).touch()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return super().loss(indices, augment)


class GreedyStage(BaselineStage):
    def task(self, student, data, lessons, streams):
        task = GreedyTask(student, data, self.spec.train)
        task.times = self.spec.options["times"]
        task.name = f"{task.times}-{self.spec.seed}"
        Path(os.environ["TRIES"], task.name).mkdir(exist_ok=True)
        return task


class Greedy(LabelsAlone):
    description = "labels alone, with an appetite"

    def student(self, pipeline, target, seed):
        spec = pipeline.student_spec(target, seed)
        return GreedyStage(pipeline.student_data(target), spec)
'''


@pytest.mark.slow
@pytest.mark.parametrize("gpus", ["auto", None])
def test_what_runs_out_of_memory_runs_again_alone_with_the_same_numbers(
    tmp_path: Path, gpus: str | None
) -> None:
    package = tmp_path / "packages"
    (package / "greedy-1.0.dist-info").mkdir(parents=True)
    (package / "greedy.py").write_text(GREEDY)
    metadata = "Metadata-Version: 2.1\nName: greedy\nVersion: 1.0\n"
    (package / "greedy-1.0.dist-info" / "METADATA").write_text(metadata)
    entry = "[mlfd_tune.methods]\ngreedy = greedy:Greedy\n"
    (package / "greedy-1.0.dist-info" / "entry_points.txt").write_text(entry)
    (tmp_path / "tries").mkdir()
    content = {
        "kind": "ablation",
        **tiny_pipeline(targets=["digits"], method="greedy", resources={"gpus_per_trial": gpus}),
        "design": {
            "kind": "compare",
            "arms": {name: {"method_options.times": times} for name, times in APPETITES.items()},
        },
        "seeds": 2,
    }
    write_yaml(tmp_path / "arms.yaml", content)
    environment = {"PYTHONPATH": str(package), "TRIES": str(tmp_path / "tries")}
    done = subprocess.run(
        command("run", "arms.yaml", "--json"),
        cwd=tmp_path,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["arm"]: row["values"] for row in json.loads(done.stdout)["rows"]}
    assert rows["once"] == rows["never"]
    assert len(rows["never"]) == 2
    assert not rows.get("always")
    said = " ".join(done.stderr.split())
    assert said.count("ran out of memory beside others and waits to run alone") == 4
    assert said.count("failed: torch.OutOfMemoryError: CUDA out of memory.") == 2

    (folder,) = tmp_path.glob("runs/arms/*")
    (session,) = read_timeline(folder)
    spans = [span for span in session.spans if span.is_trial]
    alone = [
        span for span in spans if span.label.split("/")[2] == "1" and span.outcome == "complete"
    ]
    assert len(alone) == 2
    for one in alone:
        others = [span for span in spans if span is not one]
        assert all(span.end <= one.start or span.start >= one.end for span in others)


APPETITES = {"never": 0, "once": 1, "always": 99}
