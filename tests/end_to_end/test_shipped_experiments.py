"""Every experiment and search space that ships is valid, and its plan can be made.

The published datasets are small copies in their official layouts, in ``data/`` beside
``experiments/``, where the files look for them. Architectures are the real ones at 224 and 256 px;
a plan knows them by their shapes alone.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlfd_tune.ablation import Ablation
from mlfd_tune.config import AblationConfig, Loaded, SweepConfig, load_experiment
from mlfd_tune.tune import Experiment, Sweep
from mlfd_tune.tune.dry_run import describe_plan
from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.paper_datasets import PAPER_DATASETS, write_paper_datasets

PROJECT = Path(__file__).parents[2]


def names_in(folder: str) -> list[str]:
    return sorted(file.stem for file in (PROJECT / folder).glob("*.yaml"))


TWINS = [
    *names_in("experiments/small"),
    *(f"ablations/{name}" for name in names_in("experiments/small/ablations")),
]
SHIPPED = [
    *names_in("experiments"),
    *(f"ablations/{name}" for name in names_in("experiments/ablations")),
    *(f"small/{name}" for name in TWINS),
]
SPACES = names_in("search_spaces")

T1 = ("cifar100", "tinyimagenet", "imagenet_sketch")
FINE_GRAINED = ("caltech101", "flowers102", "cub200", "pets")
BUILT_IN = ("digits", "letters", "photos")

TABLE = (
    "dataset-specific", "multi-head", "joint-head", "own teacher L2", "student L1", "student L2",
    "joint teacher L1", "joint teacher L2",
)  # fmt: skip
SUPPLEMENTARY = tuple(arm for arm in TABLE if arm not in ("multi-head", "joint-head"))
DEPTHS = ("dataset-specific", *(f"joint teacher L{depth}" for depth in (1, 2, 3, 4)))
UNIC = (
    "dataset-specific", "own teacher", "MLFD", "UNIC", "UNIC, no ladder", "UNIC, no dropping",
    "UNIC without labels",
)  # fmt: skip
KINDS_OF_TEACHERS = (
    "dataset-specific", "convolutional", "transformers", "mixers", "one of each",
)  # fmt: skip
COUNTS_OF_TEACHERS = ("none", "own teacher", "2 teachers", "4 teachers", "8 teachers")
METHODS = (
    "none", "multi_head", "joint_head", "mlfd", "kd", "fitnet", "unic", "own_teacher",
    "self_distillation",
)  # fmt: skip


def imbalanced(*sizes: int) -> tuple[str, ...]:
    samplings, methods = ("proportional", "temperature", "uniform"), ("none", "mlfd")
    return tuple(
        f"train_size={size}, sampling={sampling}, method={method}"
        for size, sampling, method in itertools.product(sizes, samplings, methods)
    )


def subsets_of(teachers: Sequence[str]) -> tuple[str, ...]:
    some = [
        f"teacher{'s' if size > 1 else ''} {'+'.join(names)}"
        for size in range(len(teachers) - 1, 0, -1)
        for names in itertools.combinations(teachers, size)
    ]
    return ("all teachers", *some, "no teacher")


# CIFAR-100's copy has 300 training images and its 100 classes; nothing of it is 1:20 of anything.
SIZES = (200, 175, 150, 125, 100)
OVERRIDES = {
    "imbalance": (
        "datasets.cifar100.train_size=200",
        "datasets.tinyimagenet.train_size=null",
        f"design.factors.datasets.cifar100.train_size={list(SIZES)}",
    )
}

# The arms of the ablations that are the same for every lineup, the reference first.
QUESTIONS: dict[str, Sequence[str]] = {
    "alpha_beta": [f"alpha={alpha}, beta={beta}" for alpha in (0.6, 0, 2) for beta in (0.2, 0, 1)],
    "ce_weight": ("ce_weight=1.0", "ce_weight=0.2"),
    "fusion_depth_adaptor": [
        f"levels={levels}, adaptor={adaptor}"
        for levels in ("L2", "L1", "L3")
        for adaptor in ("pointwise", "bottleneck")
    ],
    "loss_terms": (
        "all", "without logits", "without labels", "without features at embedding",
        "without features at stride32",
    ),
    "teacher_view": ("teacher_view=clean", "teacher_view=augmented"),
    "temperature": [f"temperature={temperature}" for temperature in (2, 1, 4, 8)],
}  # fmt: skip

# The targets and arms of every ablation.
ABLATIONS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "ablation_fusion_depth": (BUILT_IN, ("levels=L1", "levels=L2", "levels=L3")),
    "compare_methods": (BUILT_IN, METHODS),
    "heterogeneous": (T1, KINDS_OF_TEACHERS),
    "imbalance": (T1[:2], imbalanced(*SIZES)),
    "many_datasets": (T1[:2], COUNTS_OF_TEACHERS),
    "supplementary_fine_grained": (FINE_GRAINED, SUPPLEMENTARY),
    "table2": (T1, TABLE),
    "table3": (T1, TABLE),
    "table4_fusion_depth": (T1, DEPTHS),
    "unic_vs_mlfd": (T1, UNIC),
    "small/heterogeneous": (("digits", "photos"), KINDS_OF_TEACHERS),
    "small/imbalance": (("digits", "photos"), imbalanced(520, 130, 26)),
    "small/many_datasets": (("letters_a_e", "photos_1"), (*COUNTS_OF_TEACHERS, "16 teachers")),
    "small/supplementary_fine_grained": (
        ("letters_a_m", "letters_n_z", "surfaces", "scenes"),
        SUPPLEMENTARY,
    ),
    "small/table2": (BUILT_IN, TABLE),
    "small/table3": (BUILT_IN, TABLE),
    "small/table4_fusion_depth": (BUILT_IN, DEPTHS),
    "small/unic_vs_mlfd": (BUILT_IN, UNIC),
    **{f"ablations/{name}": (T1, arms) for name, arms in QUESTIONS.items()},
    **{f"small/ablations/{name}": (BUILT_IN, arms) for name, arms in QUESTIONS.items()},
    "ablations/number_of_teachers": (T1, subsets_of(T1)),
    "small/ablations/number_of_teachers": (BUILT_IN, subsets_of(BUILT_IN)),
}

# The targets of every sweep, and the methods its confirmation trains on each seed.
SWEEPS: dict[str, tuple[Sequence[str], set[str]]] = {
    "quickstart": (BUILT_IN, {"mlfd", "none", "own_teacher"}),
    "t1_sweep": (T1, {"mlfd", "none", "own_teacher", "multi_head", "joint_head"}),
    "t2_sweep": (T1, {"mlfd", "none", "own_teacher", "multi_head", "joint_head"}),
    "small/t1_sweep": (BUILT_IN, {"mlfd", "none", "own_teacher"}),
    "small/t2_sweep": (BUILT_IN, {"mlfd", "none", "own_teacher"}),
}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder: the files that ship, and the data beside them."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("experiments", "search_spaces"):
        shutil.copytree(PROJECT / folder, root / folder)
    write_paper_datasets(root / "data")
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are those of the files, wherever the command is started."""
    monkeypatch.chdir(tmp_path)


def load(project: Path, name: str) -> Loaded:
    return load_experiment(project / "experiments" / f"{name}.yaml", OVERRIDES.get(name, ()))


def experiment_in(loaded: Loaded) -> Experiment:
    kinds: dict[type, type[Experiment]] = {SweepConfig: Sweep, AblationConfig: Ablation}
    return kinds[type(loaded.config)].of(loaded)


def includes(file: Path) -> Iterator[Path]:
    """Give every file that one includes, and those that these include."""
    for name in _include_values(yaml.safe_load(file.read_text(encoding="utf-8"))):
        included = (file.parent / name).resolve()
        yield included
        yield from includes(included)


def _include_values(node: Any) -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else ():
        if key == "include":
            yield from [value] if isinstance(value, str) else value
        else:
            yield from _include_values(value)


def test_this_file_knows_them_all() -> None:
    assert sorted(SHIPPED) == sorted([*ABLATIONS, *SWEEPS])


@pytest.mark.parametrize("name", SHIPPED)
def test_its_plan_can_be_made_from_the_data_beside_it(name: str, project: Path) -> None:
    loaded = load(project, name)

    plan = describe_plan(experiment_in(loaded))

    datasets = loaded.config.datasets
    planned = {p.stage.dataset for p in plan.stages if p.stage.stage_name == "dataset"}
    assert planned == set(datasets)
    for spec in datasets.values():
        published = spec.source in PAPER_DATASETS
        assert spec.path == (str(project / "data" / spec.source) if published else None)
    assert list(plan.trials) == list(loaded.config.target_names)
    assert all(planned.bytes > 0 and not planned.exists for planned in plan.stages)


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_an_ablation_trains_every_arm_on_every_target_and_seed(name: str, project: Path) -> None:
    targets, arms = ABLATIONS[name]
    ablation = experiment_in(load(project, name))
    assert isinstance(ablation, Ablation)
    seeds = ablation.config.seeds

    trained = [(t.request.dataset, t.arm, t.request.seed) for t in ablation.trials()]

    assert trained == list(itertools.product(targets, arms, range(seeds)))
    assert ablation.trial_counts() == {
        target: {f"runs ({len(arms)} arms, {seeds} seeds)": len(arms) * seeds} for target in targets
    }


@pytest.mark.parametrize("name", sorted(SWEEPS))
def test_a_sweep_searches_every_target_and_confirms_beside_the_baselines(
    name: str, project: Path
) -> None:
    targets, methods = SWEEPS[name]
    sweep = experiment_in(load(project, name))
    config = sweep.loaded.config
    assert isinstance(config, SweepConfig)

    assert {"mlfd", "none", "own_teacher", *config.confirm.compare} == methods
    confirmed = config.confirm.top_k * config.confirm.seeds * len(methods)
    counts = {"search": config.search.trials, "confirmation": confirmed}
    assert sweep.trial_counts() == dict.fromkeys(targets, counts)
    assert all(config.search.points_of(target) for target in targets), "Table 1 is tried first"


@pytest.mark.parametrize("name", TWINS)
def test_a_small_twin_asks_the_question_of_its_experiment(name: str, project: Path) -> None:
    paper, twin = (load(project, each) for each in (name, f"small/{name}"))

    assert twin.name == f"small_{paper.name}"
    assert type(twin.config) is type(paper.config)
    if isinstance(paper.config, AblationConfig):
        assert isinstance(twin.config, AblationConfig)
        assert twin.config.metric == paper.config.metric
        assert 3 <= twin.config.seeds <= paper.config.seeds
        design, small = paper.config.design, twin.config.design
        assert list(small.arms)[: len(design.arms)] == list(design.arms)
        assert [key.split(".")[-1] for key in small.factors] == [
            key.split(".")[-1] for key in design.factors
        ]


def test_every_part_is_included_by_an_experiment() -> None:
    folder = PROJECT / "experiments"
    used = {part for name in SHIPPED for part in includes(folder / f"{name}.yaml")}

    assert set((folder / "shared").resolve().glob("*.yaml")) <= used


@pytest.mark.parametrize("name", [name for name in SPACES if name in PAPER_DATASETS])
def test_a_search_space_fits_its_dataset(name: str, project: Path, tmp_path: Path) -> None:
    content = {
        "kind": "sweep",
        "image_size": 224,
        "datasets": {
            name: {"source": name, "path": str(project / "data" / name)},
            "digits": {"source": "digits"},
        },
        "targets": [name],
        "teacher": {"arch": "resnet18"},
        "search": {
            "trials": 4,
            "datasets": {name: {"include": str(project / "search_spaces" / f"{name}.yaml")}},
        },
    }
    sweep = experiment_in(load_experiment(write_yaml(tmp_path / "sweep.yaml", content)))

    assert describe_plan(sweep).trials[name]["search"] == 4


@pytest.mark.parametrize("name", SPACES)
def test_a_search_space_is_used_by_an_experiment_or_named_in_the_documentation(name: str) -> None:
    file = PROJECT / "search_spaces" / f"{name}.yaml"
    used = {part for each in SHIPPED for part in includes(PROJECT / f"experiments/{each}.yaml")}
    pages = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]

    assert file.resolve() in used or any(
        f"search_spaces/{name}.yaml" in page.read_text(encoding="utf-8") for page in pages
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table3", "small/many_datasets"])
def test_the_command_shows_the_plan_and_writes_nothing(
    name: str, project: Path, tmp_path: Path
) -> None:
    targets, arms = ABLATIONS[name]

    done = mlfd_tune(
        "run", project / f"experiments/{name}.yaml", "--dry-run", "--json", cwd=tmp_path
    )

    plan = json.loads(done.stdout)
    assert {target: sum(counts.values()) for target, counts in plan["trials"].items()} == {
        target: 6 * len(arms) for target in targets
    }
    assert not any(stage["exists"] for stage in plan["stages"])
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())
