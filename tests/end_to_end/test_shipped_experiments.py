"""Every experiment that ships is valid and can be dry-run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlfd_tune.config import AblationConfig, SweepConfig, load_experiment
from mlfd_tune.tune import Experiment, Sweep
from mlfd_tune.tune.dry_run import describe_plan

PROJECT = Path(__file__).parents[2]
SHIPPED = sorted((PROJECT / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_it_is_valid_and_its_plan_can_be_made(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlfd_tune.ablation import Ablation

    monkeypatch.chdir(tmp_path)
    loaded = load_experiment(file)
    kinds: dict[type, type[Experiment]] = {SweepConfig: Sweep, AblationConfig: Ablation}
    plan = describe_plan(kinds[type(loaded.config)].of(loaded))
    assert plan.stages
    assert plan.trials
