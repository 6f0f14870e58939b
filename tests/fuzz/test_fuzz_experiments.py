"""Experiment files, `--set` and filters."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from mlfd_tune.config import load_experiment
from mlfd_tune.tracking.expressions import MISSING, parse_filter
from tests.helpers.fuzzing import Fuzz, attempt
from tests.helpers.fuzzing.documents import (
    PROJECT,
    TEXTS,
    VALUES,
    Samples,
    damaged,
    shipped,
    yaml_text,
)

SWEEP = {
    "kind": "sweep",
    "datasets": {"one": {"source": "digits"}, "two": {"source": "letters"}},
    "teacher": {"arch": "test_resnet", "epochs": 1},
    "student": {"arch": "test_vit", "epochs": 1},
    "search": {
        "trials": 2,
        "space": {"distillation.alpha": {"float": [0.1, 2.0], "log": True}},
    },
}
FILES = ("experiments/*.yaml", "experiments/small/*.yaml", "search_spaces/*.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the shipped files include, and one to be built around."""
    for name in ("experiments", "search_spaces"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    folder = tmp_path / "experiments"
    (folder / "x.yaml").write_text("include: x.yaml\n")
    (folder / "base.yaml").write_text(yaml.safe_dump(SWEEP))
    return folder


def test_changed_experiment_files(fuzz: Fuzz, folder: Path) -> None:
    documents = shipped(*FILES)
    ablation = {**SWEEP, "kind": "ablation", "design": {"base": "base.yaml", "factors": {}}}
    del ablation["search"]
    documents += [SWEEP, ablation, {**SWEEP, "include": ["base.yaml"]}]
    path = folder / "fuzzed.yaml"

    def run(content: bytes) -> None:
        path.write_bytes(content)
        attempt(lambda: load_experiment(path), folder)

    fuzz("experiment files", yaml_text(documents), run, whole=15_000, reduced=500)


def test_damaged_experiment_files(fuzz: Fuzz, folder: Path) -> None:
    paths = (path for pattern in FILES for path in sorted(PROJECT.glob(pattern)))
    contents = Samples(path.read_bytes() for path in paths)
    path = folder / "fuzzed.yaml"

    def run(content: bytes) -> None:
        path.write_bytes(content)
        attempt(lambda: load_experiment(path), folder)

    fuzz("bytes of experiment files", damaged(contents), run, whole=5_000, reduced=200)


KEYS = (
    "search.space",
    "search.space.distillation.alpha",
    "search.space.distillation.beta.stride8.float",
    "search.datasets.one.space.a.b",
    "search.trials",
    "datasets",
    "datasets.one",
    "datasets.one.path",
    "datasets.one.options.x",
    "teachers.one.weights",
    "teacher.weights",
    "students.one",
    "distillation.beta",
    "distillation.beta.embedding",
    "joint_teacher.levels",
    "resources.trial_timeout",
    "store.max_bytes",
    "tracking.uri",
    "targets",
    "name",
    "kind",
    "include",
    "design.factors.a.b",
    "design.base",
    "student.augment.flip",
    "student.augment",
)


@st.composite
def overrides(draw: st.DrawFn) -> str:
    key = draw(st.sampled_from(KEYS) | st.sampled_from(TEXTS) | st.text("ab.=[] ", max_size=6))
    if draw(st.booleans()):
        return f"{key}={yaml.safe_dump(draw(VALUES), default_flow_style=True)}"
    return f"{key}{draw(st.sampled_from(('=', '', '==', '.=')))}{draw(st.sampled_from(TEXTS))}"


def test_set(fuzz: Fuzz, folder: Path) -> None:
    path = folder / "base.yaml"

    def run(texts: list[str]) -> None:
        attempt(lambda: load_experiment(path, texts), folder)

    given = st.lists(overrides(), min_size=1, max_size=3)
    fuzz("--set", given, run, whole=12_000, reduced=500)


WORDS = (
    *("val/acc1", "status", "alpha", "distillation.alpha", "`val/acc1`", "`", "``", "name"),
    *("==", "!=", "<", "<=", "in", "not in", "is", "and", "or", "not", "(", ")", "[", "]", ","),
    *("1", "-1", "1e999", "9" * 400, "9" * 5000, "0x" + "f" * 400, "1j", "'a'", '"', "'", "None"),
    *("True", "+", "-", "/", "*", "**", ":", ":=", "lambda: 1", "f'{x}'", "...", "\\", "\n", "#"),
    *("{1}", "{}", "x()", "x[0]", "await x", "yield", "\0", "\ud800", "é", "\u202e", "\t", ";"),
    *("(" * 300, "not " * 3000, "-" * 3000, "[" * 150, "a." * 2000, "1 < " * 2000),
)


def test_filters(fuzz: Fuzz) -> None:
    columns = {"val/acc1": "number", "status": "text", "name": "text"}
    rows = (
        {"val/acc1": 80.0, "status": "confirmed", "alpha": None, "name": "x"},
        {"val/acc1": MISSING, "status": "", "alpha": True},
        {"alpha": 0.5, "distillation.alpha": "half"},
    )

    def run(words: list[str]) -> None:
        def call() -> None:
            wanted = parse_filter(" ".join(words), columns, ("alpha", "distillation.alpha"))  # type: ignore[arg-type]
            for row in rows:
                assert wanted.matches(lambda name, row=row: row.get(name, MISSING)) in (True, False)

        attempt(call)

    words = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=9)
    sound = st.sampled_from(("val/acc1 > 80 and", "status == 'a' or not", "alpha in ("))
    given = st.builds(lambda begin, rest: [begin, *rest], sound | st.just(""), words)
    fuzz("--filter", given, run, whole=15_000, reduced=500)
