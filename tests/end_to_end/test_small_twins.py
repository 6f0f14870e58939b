"""Every small twin of a paper's experiment and of an ablation runs to the end, for real.

They are cut short, and share a folder with its store and one Ray session, so that each network is
trained once and each library imported as rarely as can be.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlfd_tune.ablation import arms_of
from mlfd_tune.cli import main
from mlfd_tune.config import AblationConfig, ResourceSettings, SweepConfig, load_experiment
from mlfd_tune.tune.ray_session import ray_session
from tests.helpers.command import mlfd_tune

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
NOISE = ("Warning", "warning", "(raylet)", "Traceback", "INFO ", "DEBUG", "ERROR")

SHORT = (
    "teacher.train.epochs=2",
    "student.train.epochs=2",
    "joint_teacher.train.epochs=2",
    "resources.workers=1",  # a second worker costs more than what there is to do
)
ONE_SEED = ("seeds=1",)
SHORT_SEARCH = ("search.trials=2", "search.grace_epochs=1", "confirm.seeds=2")


def few(**classes: str) -> tuple[str, ...]:
    """Cut each dataset to some classes and 60 training images."""
    return tuple(
        override
        for name, kept in classes.items()
        for override in (f"datasets.{name}.classes=[{kept}]", f"datasets.{name}.train_size=60")
    )


LINEUP = few(digits='"0", "1", "2"', letters="A, B, C", photos="astronaut, brick, camera")
SIXTEEN = (
    "letters_a_e", "photos_1", "digits_low", "letters_f_j", "photos_2", "digits_high",
    "letters_k_o", "photos_3", "letters_p_t", "letters_u_z", "grey_photos", "inverted_letters",
    "inverted_digits", "edges_of_photos", "blurred_letters", "posterised_photos",
)  # fmt: skip

# What cuts each twin short. Table 2 keeps all its targets; in the others one more runs no other
# code. The first group has one lineup, and so its teachers in common.
ONE_LINEUP: dict[str, tuple[str, ...]] = {
    "table2": (*ONE_SEED, *LINEUP),
    "table4_fusion_depth": (*ONE_SEED, *LINEUP, "targets=[letters]"),
    "unic_vs_mlfd": (*ONE_SEED, *LINEUP, "targets=[digits]"),
    "t1_sweep": (*SHORT_SEARCH, *LINEUP, "targets=[digits, photos]"),
    "imbalance": (*ONE_SEED, *LINEUP, "design.factors.datasets.digits.train_size=[60, 6]"),
    **{
        f"ablations/{name}": (*ONE_SEED, *LINEUP, "targets=[photos]")
        for name in (
            "alpha_beta",
            "ce_weight",
            "fusion_depth_adaptor",
            "loss_terms",
            "number_of_teachers",
            "teacher_view",
            "temperature",
        )
    },
}
OTHERS: dict[str, tuple[str, ...]] = {
    "table3": (*ONE_SEED, *LINEUP, "targets=[photos]"),
    "t2_sweep": (*SHORT_SEARCH, *LINEUP, "targets=[photos]"),
    "heterogeneous": (*ONE_SEED, *LINEUP, "targets=[photos]"),
    "supplementary_fine_grained": (
        *ONE_SEED,
        *few(
            letters_a_m="A, B, C",
            letters_n_z="N, O, P",
            surfaces="brick, coins, grass",
            scenes="astronaut, camera, cat",
        ),
        "targets=[scenes, letters_n_z]",
    ),
    "many_datasets": (*ONE_SEED, *(f"datasets.{name}.train_size=50" for name in SIXTEEN)),
}
TWINS = ONE_LINEUP | OTHERS


@dataclass(frozen=True)
class Ran:
    """What a run printed: its rows, and everything as text."""

    rows: list[dict[str, Any]]
    printed: str


@dataclass
class Twins:
    """A project folder in which the twins are run."""

    folder: Path
    done: dict[str, Ran] = field(default_factory=dict)

    def arguments(self, name: str) -> list[str]:
        """Return the command line that runs a twin, cut short."""
        cut = [part for text in (*SHORT, *TWINS[name]) for part in ("--set", text)]
        return ["run", f"experiments/small/{name}.yaml", *cut, "--json"]

    def run(self, name: str) -> Ran:
        """Run a twin, unless it was run before."""
        if name not in self.done:
            called = CliRunner().invoke(main, self.arguments(name), catch_exceptions=False)
            assert called.exit_code == 0, called.output
            self.done[name] = Ran(json.loads(called.stdout)["rows"], called.output)
        return self.done[name]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("twins")
    for shipped in ("experiments", "search_spaces"):
        shutil.copytree(PROJECT / shipped, folder / shipped)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with ray_session(ResourceSettings(), threads=1):
            yield Twins(folder)


GROUPS = {"twins_of_one_lineup": ONE_LINEUP, "other_twins": OTHERS}
GROUPED = [
    pytest.param(name, marks=pytest.mark.xdist_group(group))
    for group, names in GROUPS.items()
    for name in names
]


def test_all_of_them_are_run_here() -> None:
    folder = PROJECT / "experiments/small"
    shipped = {file.relative_to(folder).with_suffix("") for file in folder.rglob("*.yaml")}
    assert {str(name) for name in shipped} == set(TWINS)


@pytest.mark.parametrize("name", GROUPED)
def test_it_has_a_result_of_every_arm_on_every_target(
    name: str, twins: Twins, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = twins.run(name)

    cut = (*SHORT, *TWINS[name])
    config = load_experiment(twins.folder / f"experiments/small/{name}.yaml", cut).config
    if isinstance(config, AblationConfig):
        arms = [arm.name for arm in arms_of(config)]
        found = [(row["dataset"], row["arm"]) for row in ran.rows]
        assert found == list(itertools.product(config.target_names, arms))
        assert all(len(row["values"]) == config.seeds for row in ran.rows)
    else:
        assert isinstance(config, SweepConfig)
        methods = {"mlfd", "none", "own_teacher", *config.confirm.compare}
        confirmed = [row for row in ran.rows if row["status"] == "confirmed"]
        assert sorted((row["dataset"], row["method"]) for row in confirmed) == sorted(
            itertools.product(config.target_names, methods)
        )
        assert {row["n_seeds"] for row in confirmed} == {config.confirm.seeds}
        assert all(row["test/acc1"] is not None for row in confirmed)
    outside = capfd.readouterr()  # what Ray's own processes print goes past the command's streams
    lines = [*ran.printed.splitlines(), *outside.out.splitlines(), *outside.err.splitlines()]
    assert not [line for line in lines if any(word in line for word in NOISE)]
    assert_in_order()


@pytest.mark.xdist_group("twins_of_one_lineup")
def test_running_one_again_computes_nothing(twins: Twins) -> None:
    first = twins.run("table4_fusion_depth")
    before = artifacts(twins.folder)

    again = mlfd_tune(*twins.arguments("table4_fusion_depth"), cwd=twins.folder)

    assert artifacts(twins.folder) == before
    assert "; 0 to compute" in again.stderr
    assert json.loads(again.stdout)["rows"] == first.rows
    assert_in_order()


def assert_in_order() -> None:
    called = CliRunner().invoke(main, ["store", "verify", "--json"], catch_exceptions=False)
    assert called.exit_code == 0, called.output
    report = json.loads(called.stdout)
    assert report["problems"] == {}
    assert report["artifacts"] >= 10  # the least that one twin by itself leaves


def artifacts(folder: Path) -> dict[Path, int]:
    """When each artifact of the store was published."""
    published = (folder / ".mlfd/store/artifacts").glob("*/*/manifest.json")
    return {manifest: manifest.stat().st_mtime_ns for manifest in published}
