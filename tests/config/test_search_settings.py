"""Search settings refuse what a sweep could not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlfd_tune.config import SweepConfig, load_experiment
from mlfd_tune.config.search import SearchSettings
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.spec import canonical_json
from tests.helpers.command import write_yaml

SPACE: dict[str, Any] = {
    "distillation.alpha": {"float": [0.1, 2.0]},
    "joint_teacher.width": {"int": [16, 64], "step": 16},
    "joint_teacher.levels": {"choice": ["L1", ["embedding", "stride16"]]},
}


OWN: dict[str, Any] = {"seed": {"int": [0, 3]}}


def settings(**changes: Any) -> SearchSettings:
    return SearchSettings.model_validate({"trials": 4, "space": SPACE, **changes})


def test_asha_and_tpe_are_the_defaults() -> None:
    assert (settings().sampler, settings().scheduler) == ("tpe", "asha")
    assert settings().metric == "val/acc1"


def test_first_points_may_be_partial_and_hold_lists() -> None:
    points = [{"distillation.alpha": 1}, {"joint_teacher.levels": ["embedding", "stride16"]}, {}]

    assert list(settings(first_points=points).first_points) == points


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "greater than or equal to 1"),
        ({"sampler": "tpee"}, "tpe"),
        ({"scheduler": "ashaa"}, "asha"),
        ({"reduction_factor": 1}, "greater than or equal to 2"),
        ({"metric": "test/acc1"}, "val/acc1"),
        ({"trails": 4}, "Extra inputs"),
        (
            {"first_points": [{"distillation.alhpa": 1.0}]},
            "first_points[0]: 'distillation.alhpa' is not in the space",
        ),
        (
            {"first_points": [{}, {"distillation.alpha": 3.0}]},
            "first_points[1]: distillation.alpha cannot be 3.0 (allowed: 0.1 to 2)",
        ),
        (
            {"first_points": [{"joint_teacher.width": 20}]},
            "joint_teacher.width cannot be 20 (allowed: 16 to 64 in steps of 16)",
        ),
        (
            {"first_points": [{"joint_teacher.levels": "L2"}]},
            'joint_teacher.levels cannot be \'L2\' (allowed: one of L1, ["embedding", "stride16"])',
        ),
        ({"first_points": [{}] * 5}, "5 points, but only 4 trials"),
        ({"sampler": "grid"}, "sampler grid needs a step for every float: distillation.alpha"),
        ({"space": None}, "this key is needed, or a space for every target in search.datasets"),
        (
            {"datasets": {"letters": {"first_points": [{"distillation.alhpa": 1}]}}},
            "datasets.letters.first_points[0]: 'distillation.alhpa' is not in the space",
        ),
        (
            {"datasets": {"letters": {"space": OWN, "first_points": [{"seed": 5}]}}},
            "datasets.letters.first_points[0]: seed cannot be 5 (allowed: 0 to 3)",
        ),
        (
            {
                "first_points": [{"distillation.alpha": 1}],
                "datasets": {"letters": {"space": OWN}},
            },
            "datasets.letters: search.first_points[0]: 'distillation.alpha' is not in the space "
            "(allowed: seed); give it first_points of its own, [] for none",
        ),
        (
            {"datasets": {"letters": {"first_points": [{}] * 5}}},
            "datasets.letters.first_points: 5 points, but only 4 trials",
        ),
        (
            {
                "sampler": "grid",
                "space": OWN,
                "datasets": {"letters": {"space": {"distillation.alpha": {"float": [0, 1]}}}},
            },
            "datasets.letters.space: sampler grid needs a step for every float",
        ),
        ({"datasets": {"letters": {"spaec": OWN}}}, "datasets.letters.spaec"),
    ],
)
def test_what_a_sweep_could_not_do_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        settings(**changes)

    assert message in str(error.value)


# A space and first points of a dataset's own ------------------------------------------------------


def test_a_dataset_has_what_it_says_and_the_rest_from_what_is_for_all() -> None:
    for_all = [{"distillation.alpha": 1}]
    search = settings(
        first_points=for_all,
        datasets={
            "letters": {"space": OWN, "first_points": [{"seed": 2}]},
            "photos": {"first_points": []},
            "digits": {},
        },
    )

    assert list(search.space_of("letters").root) == ["seed"]
    assert search.points_of("letters") == ({"seed": 2},)
    assert search.space_of("photos") == search.space
    assert search.points_of("photos") == ()
    for as_all in ("digits", "another"):
        assert search.space_of(as_all) == search.space
        assert list(search.points_of(as_all)) == for_all
    assert search.place_of_space("letters") == "search.datasets.letters.space"
    assert search.place_of_space("photos") == "search.space"


def test_no_space_is_needed_for_all_where_each_has_its_own() -> None:
    search = settings(space=None, datasets={"letters": {"space": OWN}})

    assert list(search.space_of("letters").root) == ["seed"]
    with pytest.raises(UserError, match=r"search\.datasets\.digits\.space: this key is needed"):
        search.space_of("digits")


def test_a_study_has_the_dataset_s_own_space_and_the_budget_of_all() -> None:
    own = {"space": OWN, "first_points": [{"seed": 2}]}
    study = settings(sampler="random", datasets={"letters": own}).study_of("letters")

    assert (study.trials, study.sampler) == (4, "random")
    assert study == settings(sampler="random", **own).study_of("any")


def test_settings_without_anything_of_their_own_are_recorded_as_they_used_to_be() -> None:
    assert "datasets" not in canonical_json(settings())
    assert "rank_levels" not in canonical_json(settings())
    assert "rank_levels" in canonical_json(settings(rank_levels=True))


FILE: dict[str, Any] = {
    "kind": "sweep",
    "datasets": {name: {"source": name} for name in ("digits", "letters")},
}


def load(folder: Path, search: dict[str, Any], *overrides: str, **changes: Any) -> SweepConfig:
    content = FILE | {"search": {"trials": 4, **search}} | changes
    config = load_experiment(write_yaml(folder / "sweep.yaml", content), overrides).config
    assert isinstance(config, SweepConfig)
    return config


def problems(folder: Path, search: dict[str, Any], *overrides: str, **changes: Any) -> list[str]:
    with pytest.raises(UserError) as error:
        load(folder, search, *overrides, **changes)
    return [line.split("sweep.yaml: ")[-1] for line in error.value.problems]


def test_space_and_points_of_a_dataset_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    write_yaml(tmp_path / "own.yaml", {"space": OWN, "first_points": [{"seed": 1}, {"seed": 2}]})
    included = {"include": "own.yaml"}
    beside = included | {"first_points": [{"seed": 3}]}

    search = load(tmp_path, {"datasets": {"digits": included, "letters": beside}}).search

    assert search.points_of("digits") == ({"seed": 1}, {"seed": 2})
    assert search.points_of("letters") == ({"seed": 3},), "what stands beside an include wins"
    assert search.space_of("digits") == search.space_of("letters")


def test_keys_of_a_dataset_s_own_space_can_be_set(tmp_path: Path) -> None:
    search = load(
        tmp_path,
        {"datasets": {name: {"space": OWN} for name in ("digits", "letters")}},
        "search.datasets.letters.space.distillation.alpha={float: [0, 1]}",
        "search.datasets.letters.space.seed.int=[0, 9]",
    ).search

    assert search.space_of("letters")["distillation.alpha"].contains(0.5)
    assert search.space_of("letters")["seed"].contains(9)
    assert list(search.space_of("digits").root) == ["seed"]


def test_a_target_without_a_space_is_told_by_its_name(tmp_path: Path) -> None:
    search = {"datasets": {"digits": {"space": OWN}}}

    (told,) = problems(tmp_path, search)

    assert told == "search.datasets.letters.space: this key is needed, or search.space for all"
    assert load(tmp_path, search, targets=["digits"])


def test_what_is_said_of_a_dataset_that_is_not_there_is_told(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, {"space": OWN, "datasets": {"leters": {"first_points": []}}})

    assert told.startswith("search.datasets.leters: unknown dataset (allowed: digits, letters;")
    assert "did you mean 'letters'?" in told


def test_all_that_is_wrong_with_a_dataset_s_own_space_is_told(tmp_path: Path) -> None:
    own = {"distillation.alfa": {"int": [0, 3]}, "distillation.alpha": {"float": [-1, 1]}}

    told = problems(tmp_path, {"space": OWN, "datasets": {"letters": {"space": own}}})

    at = "search.datasets.letters.space.distillation"
    assert [line.split(" (")[0] for line in told] == [
        f"{at}.alfa: unknown key",
        f"{at}.alpha: cannot be -1.0: must be greater than or equal to 0",
    ]
