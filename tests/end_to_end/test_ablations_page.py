"""The page of the ablations names every one that ships, and holds what its small twin gave."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlfd_tune.ablation import arms_of
from mlfd_tune.config import AblationConfig, load_experiment

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "ablations.md").read_text(encoding="utf-8")
SHIPPED = sorted(file.stem for file in (PROJECT / "experiments/ablations").glob("*.yaml"))


def results_of(name: str) -> str:
    marks = rf"<!-- tables: small_ablation_{name} -->\n(.*?)<!-- end of tables -->"
    [found] = re.findall(marks, PAGE, re.DOTALL)
    return str(found)


@pytest.mark.parametrize("name", SHIPPED)
def test_it_stands_there_with_the_commands_that_run_it_and_its_twin(name: str) -> None:
    assert f"mlfd-tune run experiments/ablations/{name}.yaml\n" in PAGE
    assert f"mlfd-tune run experiments/small/ablations/{name}.yaml\n" in PAGE


@pytest.mark.parametrize("name", SHIPPED)
def test_its_results_are_of_every_arm_on_six_seeds_or_more(name: str) -> None:
    config = load_experiment(PROJECT / f"experiments/small/ablations/{name}.yaml").config
    assert isinstance(config, AblationConfig)
    assert config.seeds >= 6
    results = results_of(name)

    for target in config.target_names:
        assert f"**{target} · {config.metric} in %, {config.seeds} seeds;" in results
    for arm in arms_of(config):
        shown = arm.name.replace("_", r"\_")
        assert results.count(f"| {shown} |") >= len(config.target_names)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_came_out_is_said_below_it(name: str) -> None:
    assert f"<!-- verdict: small_ablation_{name} -->\n\n" in PAGE
