"""Every search space that ships can be searched, and begins at Table 1 of the MLFD paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from mlfd_tune.config import SweepConfig, load_experiment
from mlfd_tune.core.models import check_adaptor, parse_levels
from mlfd_tune.tune.plans import StudyPlan
from mlfd_tune.tune.studies import Studies
from tests.helpers.command import write_yaml

FOLDER = Path(__file__).parents[2] / "search_spaces"
PAPERS = {
    "cifar10", "cifar100", "tinyimagenet", "imagenet_sketch",
    "caltech101", "flowers102", "cub200", "pets",
}  # fmt: skip
BUILT_IN = {"digits", "letters", "photos"}
PER_DATASET = sorted(PAPERS | BUILT_IN)

KEYS = {
    "joint_teacher.levels",
    "joint_teacher.adaptor",
    "joint_teacher.width",
    "joint_teacher.dropout",
    "distillation.alpha",
    "distillation.beta.embedding",
    "distillation.beta.stride32",
    "distillation.beta.stride16",
    "distillation.temperature",
    "distillation.feature_loss",
    "distillation.target_norm",
    "student.train.lr",
    "student.train.weight_decay",
    "student.train.augment",
}

# The rows of T1, all alike where they are about the student.
TABLE_1: dict[str, Any] = {
    "joint_teacher.levels": "L2",
    "joint_teacher.dropout": 0.8,
    "distillation.alpha": 0.6,
    "distillation.beta.embedding": 0.2,
    "distillation.beta.stride32": 0.2,
    "distillation.temperature": 2,
    "student.train.lr": 1e-4,
    "student.train.weight_decay": 1e-3,
}

# What the rows of T2 have otherwise.
TABLE_1_T2: dict[str, dict[str, Any]] = {
    "cifar100": {"student.train.lr": 1e-5, "distillation.temperature": 5},
    "tinyimagenet": {"student.train.lr": 4e-4},
    "imagenet_sketch": {"distillation.alpha": 0.4, "distillation.beta.stride32": 0.4},
}


def searching(folder: Path, search: dict[str, Any]) -> SweepConfig:
    content = {
        "kind": "sweep",
        "datasets": {name: {"source": name} for name in ("digits", "letters")},
        "targets": ["digits"],
        "search": {"trials": 4, **search},
    }
    config = load_experiment(write_yaml(folder / "sweep.yaml", content)).config
    assert isinstance(config, SweepConfig)
    return config


@pytest.fixture
def sweep(name: str, tmp_path: Path) -> SweepConfig:
    """A sweep over a built-in dataset with a shipped space, which goes for any data."""
    own = {"include": str(FOLDER / f"{name}.yaml")}
    return searching(tmp_path, {"datasets": {"digits": own}})


def test_there_is_one_for_every_dataset_of_the_papers_and_every_built_in_one() -> None:
    shipped = {file.stem for file in FOLDER.glob("*.yaml")}

    assert shipped == {*PER_DATASET, "distillation"}


def test_a_file_that_is_a_space_alone_is_included_as_one(tmp_path: Path) -> None:
    space = {"include": str(FOLDER / "distillation.yaml")}

    assert searching(tmp_path, {"space": space}).search.space is not None
    assert searching(tmp_path, {"datasets": {"digits": {"space": space}}})


@pytest.mark.parametrize("name", PER_DATASET)
def test_it_is_valid_and_varies_every_key_of_the_method(sweep: SweepConfig) -> None:
    assert set(sweep.search.space_of("digits").root) == KEYS


@pytest.mark.parametrize("name", PER_DATASET)
def test_it_goes_for_all_targets_of_a_sweep_too(name: str, tmp_path: Path) -> None:
    search = searching(tmp_path, {"include": str(FOLDER / f"{name}.yaml")}).search

    assert search.space_of("letters") == search.space
    assert search.points_of("letters")


@pytest.mark.parametrize("name", PER_DATASET)
def test_its_first_point_is_table_1_and_leaves_nothing_open_but_what_does_not_exist(
    sweep: SweepConfig,
) -> None:
    first = sweep.search.points_of("digits")[0]

    assert {key: first[key] for key in TABLE_1} == TABLE_1
    assert first.keys() == KEYS - {"distillation.beta.stride16"}, "L2 does not fuse stride 16"
    assert first["student.train.augment"] == "autoaugment", "section 4.4"
    assert (first["distillation.feature_loss"], first["distillation.target_norm"]) == (
        "mse",
        "none",
    ), "Eq. 3"


@pytest.mark.parametrize("name", sorted(TABLE_1_T2))
def test_its_second_point_is_the_row_of_t2(name: str, sweep: SweepConfig) -> None:
    second = sweep.search.points_of("digits")[1]

    row = TABLE_1 | {"student.train.weight_decay": 0.5} | TABLE_1_T2[name]
    assert {key: second[key] for key in row} == row


@pytest.mark.parametrize("name", PER_DATASET)
def test_each_of_its_adaptors_works_at_each_of_its_levels(sweep: SweepConfig) -> None:
    space = sweep.search.space_of("digits")

    for levels in space["joint_teacher.levels"].values():
        for adaptor in space["joint_teacher.adaptor"].values():
            check_adaptor(adaptor, parse_levels(levels))


@pytest.mark.parametrize("name", PER_DATASET)
def test_flipping_is_searched_only_where_it_is_harmless(name: str, sweep: SweepConfig) -> None:
    augments = sweep.search.space_of("digits")["student.train.augment"].values()

    flips = {"crop_flip", "autoaugment_flip"}
    assert flips.isdisjoint(augments) if name in ("digits", "letters") else flips <= {*augments}


@pytest.mark.parametrize("name", PER_DATASET)
def test_a_study_asks_its_points_first_and_then_draws_from_it(
    sweep: SweepConfig, tmp_path: Path
) -> None:
    settings = sweep.search.study_of("digits")
    levels = sweep.joint_teacher.levels
    studies = Studies(tmp_path / "studies.db", [StudyPlan("digits", settings, 3, levels, seed=0)])

    asked = [request.params for i in range(4) if (request := studies.ask(f"r{i}")) is not None]

    points = settings.points_of("digits")
    assert asked[: len(points)] == list(points)
    assert len(asked) == 4
    for params in asked:
        assert all(settings.space[key].contains(value) for key, value in params.items())
        assert ("joint_teacher.width" in params) == (params["joint_teacher.adaptor"] != "identity")
    assert len(optuna.load_study(study_name="digits", storage=studies.url).trials) == 4


@pytest.mark.parametrize("name", PER_DATASET)
def test_every_key_is_explained_and_table_1_is_read_for_the_weight_of_the_hard_ce(
    name: str,
) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    keys = yaml.safe_load(text)["space"]

    assert "distillation.ce_weight: 0.2" in text
    for key in keys:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {key}:"))
        above = lines[at - 1].strip()
        assert above.startswith(("#", "distillation.beta.")), key
