"""Two runs or configurations beside each other: settings, metrics by seed, images, software."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from mlfd_tune.core.errors import UserError
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.difference_tables import difference_tables
from mlfd_tune.tracking.differences import Differences, difference_of
from mlfd_tune.tracking.tracker import Tracker

T_2 = 4.302653  # two-sided 95 % Student t quantile with 2 degrees of freedom


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> str:
    """Two configurations of three seeds, one trial, and one on another dataset."""
    folder = tmp_path_factory.mktemp("differences")
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    uri = f"sqlite:///{folder}/mlflow.db"
    tracker = Tracker(uri, "exp", folder / "outbox", linger_s=0.01)
    tracker.start_run("S", "S", tags={"mlfd.kind": "sweep", "mlfd.sweep": "S"})

    def run(kind: str, dataset: str, config: str, seed: int, val: float, alpha: float) -> None:
        name = f"{config} {seed}"
        tags = {
            "mlfd.kind": kind,
            "mlfd.sweep": "S",
            "mlfd.dataset": dataset,
            "mlfd.method": "mlfd",
            "mlfd.config": config,
            "mlfd.seed": str(seed),
            "mlfd.version.torch": "2.15.0" if config == "aaaa1111" else "2.16.0",
            "mlfd.version.timm": "1.0.31",
        }
        tracker.start_run(
            name, name, parent="S", tags=tags, params={"seed": seed, "distillation.alpha": alpha}
        )
        tracker.log_inputs(
            name, [(dataset, "d" * 16 + config[:1] * (config == "ffff1111"), "train")]
        )
        content = {
            "kind": "train",
            "seed": seed,
            "students": {dataset: {"seed": seed, "arch": "test_vit"}},
            "distillation": {"alpha": alpha, "beta": {}},
        }
        tracker.log_text(name, yaml.safe_dump(content), "config.yaml")
        tracker.log_metrics(name, {"val/acc1": val - 9, "train/loss": 1.0}, step=1)
        tracker.log_metrics(name, {"val/acc1": val}, step=2)
        tracker.end_run(name, "FINISHED")

    for seed, luck in ((1, 0.0), (2, 3.0), (3, -2.0)):
        run("confirm", "digits", "aaaa1111", seed, 80.0 + luck, 0.1)
        run("confirm", "digits", "bbbb1111", seed, 82.0 + luck + seed, 0.2)
        run("confirm", "digits", "ffff1111", seed, 60.0, 0.2)
    run("trial", "digits", "cccc1111", 0, 79.0, 0.3)
    run("confirm", "letters", "dddd1111", 1, 50.0, 0.1)
    assert tracker.close(30)
    return uri


def run_id(uri: str, name: str) -> str:
    client = open_client(uri)
    experiment = client.get_experiment_by_name("exp").experiment_id
    (run,) = client.search_runs([experiment], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def text_of(found: Differences) -> str:
    console = Console(file=io.StringIO(), record=True, width=120)
    for item in difference_tables(found):
        console.print(item)
    return console.export_text()


def test_configurations_are_compared_by_the_seeds_they_share(uri: str) -> None:
    found = difference_of(uri, "exp:aaaa", "exp:digits")

    assert (found.a.config, found.b.config) == ("aaaa1111", "bbbb1111")
    accuracy = found.metrics["val/acc1"]
    # B - A by seed: 3, 4, 5.
    assert accuracy.a == pytest.approx(80 + 1 / 3)
    assert accuracy.difference == pytest.approx(4.0)
    assert accuracy.paired is not None
    assert accuracy.paired.n == 3
    assert accuracy.paired.low == pytest.approx(4 - T_2 / math.sqrt(3), abs=1e-5)
    assert found.params == {"distillation.alpha": ("0.1", "0.2")}
    assert found.config == {"distillation.alpha": ("0.1", "0.2")}
    assert found.environment == {"mlfd.version.torch": ("2.15.0", "2.16.0")}
    assert found.data == {}
    text = text_of(found)
    assert "+4 ± 2.5" in text
    assert "images: no difference" in text


def test_runs_are_named_by_the_beginning_of_their_ids(uri: str) -> None:
    one, other = run_id(uri, "aaaa1111 1"), run_id(uri, "bbbb1111 2")
    found = difference_of(uri, one, other[:12])
    accuracy = found.metrics["val/acc1"]
    assert (accuracy.a, accuracy.b, accuracy.difference) == (80.0, 87.0, 7.0)  # last values
    assert accuracy.paired is None
    assert "are not paired" in found.notes[0]


def test_a_trial_beside_a_confirmation_is_said_to_be_the_best_of_many(uri: str) -> None:
    found = difference_of(uri, "exp:aaaa", "exp:cccc")
    assert any("best of many" in note for note in found.notes)


@pytest.mark.parametrize(
    ("other", "part"), [("exp:letters", "Two datasets"), ("exp:ffff", "had other images")]
)
def test_what_was_measured_on_other_images_is_not_subtracted(
    uri: str, other: str, part: str
) -> None:
    found = difference_of(uri, "exp:aaaa", other)
    assert part in found.notes[0]
    assert found.metrics["val/acc1"].difference is None
    assert found.metrics["val/acc1"].b is not None
    assert found.data


def test_the_same_thing_twice_differs_in_nothing(uri: str) -> None:
    found = difference_of(uri, "exp:digits", "exp:bbbb")
    assert (found.params, found.config, found.data, found.environment) == ({}, {}, {}, {})
    assert {one.difference for one in found.metrics.values()} == {0.0}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("abc", "allowed: at least 4 characters"),
        ("zzzz", "names no run"),
        ("0" * 32, "there is no trial, confirmation or arm"),
        ("exp:digit", "did you mean 'digits'?"),
        ("exq:digits", "did you mean 'exp'?"),
        ("exp:x", "no dataset 'x'"),
    ],
)
def test_unknown_names_are_one_clear_line(uri: str, name: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        difference_of(uri, name, "exp:digits")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
