"""A stage goes to a worker as a pickle in a file: only the driver's own is unpickled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ray import cloudpickle

from mlfd_tune.tune.stage_work import StageRequest
from tests.helpers.pipelines import pipeline


class Planted:
    """Runs a command where it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.proof),)


def test_a_worker_opens_the_stage_that_was_handed_over(tmp_path: Path) -> None:
    stage = pipeline().student("one", "none", 4)

    request = StageRequest.write(stage, tmp_path)

    read = StageRequest.read(request.config)
    assert read is not None
    assert read.open().key == stage.key


def test_a_file_that_somebody_else_put_there_is_not_unpickled(tmp_path: Path) -> None:
    request = StageRequest.write(pipeline().student("one", "none", 4), tmp_path)
    proof = tmp_path / "it ran"
    Path(request.file).write_bytes(cloudpickle.dumps(Planted(proof)))

    with pytest.raises(ValueError, match="not what the driver wrote"):
        request.open()

    assert not proof.exists()
