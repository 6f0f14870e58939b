"""The package of docs/extending.md, installed with real metadata, under the real command."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from mlfd_tune.core.data import DATASETS
from mlfd_tune.core.losses import FEATURE_LOSSES
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.models import ADAPTORS
from mlfd_tune.core.settings import deep_merge
from mlfd_tune.core.store import Artifact
from tests.helpers.command import ENVIRONMENT, command, write_yaml
from tests.helpers.experiments import tiny_sweep

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`(\w+/\w+\.py)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

EXAMPLES = dict(FILE.findall(PAGE))
(PROJECT,) = [tomllib.loads(text) for language, text in BLOCK.findall(PAGE) if language == "toml"]
GROUPS: dict[str, dict[str, str]] = PROJECT["project"]["entry-points"]
PACKAGE = "my-kinds"

TRAIN = {"epochs": 2, "optimizer": "adamw", "lr": 3.0e-3}


def experiment(**changes: Any) -> dict[str, Any]:
    """Return a small experiment with every YAML part of the page in it."""
    content: dict[str, Any] = {
        "image_size": 32,
        "datasets": {"digits": {"train_size": 120}, "stripes": {"train_size": 120}},
        "teacher": {"arch": "test_resnet", "train": TRAIN},
        "teachers": {"stripes": {"arch": "test_convnext"}},
        # Another architecture than the teacher's, so that adaptors are needed.
        "student": {"arch": "test_efficientnet", "train": TRAIN},
        "joint_teacher": {"levels": "L2", "width": 16, "train": TRAIN},
    }
    for language, text in BLOCK.findall(PAGE):
        if language == "yml":
            content = deep_merge(content, yaml.safe_load(text))
    return content | changes


def install(
    folder: Path,
    version: str = "1.0",
    *,
    name: str = PACKAGE,
    files: Mapping[str, str] = EXAMPLES,
    groups: Mapping[str, Mapping[str, str]] = GROUPS,
) -> None:
    """Lay the package down as pip does: its modules, and a folder with its metadata."""
    for place, text in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
        (folder / place).with_name("__init__.py").touch()
    about = folder / f"{name.replace('-', '_')}.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, kinds in groups.items():
        lines += [f"[{group}]", *(f"{kind} = {value}" for kind, value in kinds.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))


def mlfd_tune(*arguments: str, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command where the packages in `cwd`/packages are installed."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**ENVIRONMENT, "PYTHONPATH": str(cwd / "packages")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
    return done


def artifact(folder: Path, stage: str, version: str) -> Artifact:
    """Return the only artifact of a stage whose key holds this version of the package."""
    found = [Artifact.open(path) for path in folder.glob(f".mlfd/store/artifacts/{stage}/*")]
    (one,) = [a for a in found if f"{PACKAGE} {version}" in json.dumps(a.manifest.spec)]
    return one


@pytest.mark.parametrize("file", EXAMPLES)
def test_an_example_has_at_most_twenty_lines(file: str) -> None:
    assert 1 <= len(EXAMPLES[file].splitlines()) <= 20


def test_the_page_has_an_example_for_every_concept() -> None:
    assert set(GROUPS) == {r.group for r in (ADAPTORS, FEATURE_LOSSES, METHODS, DATASETS)}
    named = [value.partition(":") for kinds in GROUPS.values() for value in kinds.values()]
    assert {f"{module.replace('.', '/')}.py" for module, _, _ in named} == set(EXAMPLES)
    languages = [language for language, _ in BLOCK.findall(PAGE)]
    assert languages.count("python") == languages.count("yml") == len(EXAMPLES) == 4
    for registry in (ADAPTORS, FEATURE_LOSSES, METHODS, DATASETS):
        assert f"`{registry.group}`" in PAGE


@pytest.mark.slow
@pytest.mark.xdist_group("extending")
def test_a_training_with_kinds_of_all_concepts_is_kept_under_the_package_s_version(
    tmp_path: Path,
) -> None:
    install(tmp_path / "packages")
    write_yaml(tmp_path / "one.yaml", {"kind": "train", "target": "digits", **experiment()})

    first = json.loads(mlfd_tune("train", "one.yaml", "--json", cwd=tmp_path).stdout)
    again = json.loads(mlfd_tune("train", "one.yaml", "--json", cwd=tmp_path).stdout)
    install(tmp_path / "packages", version="1.1")
    newer = json.loads(mlfd_tune("train", "one.yaml", "--json", cwd=tmp_path).stdout)

    stages = 9  # two datasets, teachers and features, joint teacher, targets, student
    assert first["reused_stages"] == 0
    assert again["key"] == first["key"]
    assert again["reused_stages"] == stages
    assert newer["key"] != first["key"]
    assert newer["reused_stages"] == 3  # dataset, teacher and features of the digits
    assert newer["metrics"] == first["metrics"]  # the code is the same

    student = artifact(tmp_path, "student", "1.0")
    assert student.key == first["key"]
    assert student.manifest.spec["extensions"] == {"method soft_labels": "my-kinds 1.0"}
    assert student.manifest.spec["options"] == {"hints": ["embedding"]}
    distillation = student.manifest.spec["distillation"]
    assert distillation["extensions"] == {
        "adaptor gated": "my-kinds 1.0",
        "feature loss l1": "my-kinds 1.0",
    }
    assert set(distillation["beta"]) == {"embedding"}
    assert "train/loss_level/embedding" in student.manifest.metrics
    assert artifact(tmp_path, "student", "1.1").key == newer["key"]

    fused = load_file(artifact(tmp_path, "joint_teacher", "1.0").path / "model.safetensors")
    assert any(".gate." in name for name in fused)
    identity = artifact(tmp_path, "dataset", "1.0").manifest.spec["identity"]
    assert identity["content"] == {"source": "stripes", "drawing": 1}


@pytest.mark.slow
@pytest.mark.xdist_group("extending")
def test_workers_of_ray_find_the_package_too(tmp_path: Path) -> None:
    install(tmp_path / "packages")
    design = {
        "kind": "one_at_a_time",
        "factors": {"method": ["mlfd"], "method_options.hints": [["stride32"]]},
    }
    content = experiment(targets=["stripes"], design=design, seeds=1)
    write_yaml(tmp_path / "arms.yaml", {"kind": "ablation", **content})

    rows = json.loads(mlfd_tune("run", "arms.yaml", "--json", cwd=tmp_path).stdout)["rows"]

    assert {row["arm"] for row in rows} == {"base", "hints=stride32", "method=mlfd"}
    assert all(row["values"] for row in rows)
    assert len(list(tmp_path.glob(".mlfd/store/artifacts/student/*"))) == 3


def test_what_is_wrong_with_a_package_is_told_in_a_line_for_every_key(tmp_path: Path) -> None:
    broken = {
        "my_kinds/gated.py": "raise RuntimeError('the gate is shut')",
        "my_kinds/l1.py": "def L1(): pass",
        "my_kinds/soft_labels.py": (
            "from mlfd_tune.core.methods import Method\nclass SoftLabels(Method): pass"
        ),
    }
    install(tmp_path / "packages", files=broken)
    write_yaml(tmp_path / "one.yaml", {"kind": "train", "target": "digits", **experiment()})
    done = mlfd_tune("train", "one.yaml", cwd=tmp_path, expect=2)
    adaptor = (
        "adaptor 'gated' of package my-kinds 1.0: my_kinds.gated:Gated cannot be imported "
        "(RuntimeError: the gate is shut)"
    )
    assert sorted(done.stderr.splitlines()) == sorted(
        f"error: one.yaml: {line}"
        for line in (
            "datasets.stripes.source: dataset source 'stripes' of package my-kinds 1.0: "
            "my_kinds.stripes:Stripes cannot be imported "
            "(ModuleNotFoundError: No module named 'my_kinds.stripes')",
            f"joint_teacher.adaptor: {adaptor}",
            f"distillation.adaptor: {adaptor}",
            "distillation.feature_loss: feature loss 'l1' of package my-kinds 1.0: "
            "my_kinds.l1:L1 is a function, not a feature loss class",
            "method: method 'soft_labels' of package my-kinds 1.0: "
            "my_kinds.soft_labels:SoftLabels does not define description, student",
        )
    )
    assert not done.stdout.strip()
    assert not (tmp_path / ".mlfd").exists()


@pytest.mark.parametrize(
    ("kinds", "line"),
    [
        (
            {"mlfd_tune.losses": {"l1": "my_kinds.l1:L1"}},
            "distillation.feature_loss: feature loss 'l1' has more than one entry point: "
            "my-fork 1.0 (my_kinds.l1:L1), my-kinds 1.0 (my_kinds.l1:L1); remove all but one",
        ),
        (
            {"mlfd_tune.methods": {"mlfd": "my_kinds.soft_labels:SoftLabels"}},
            "method 'mlfd' of package my-fork 1.0: there is a built-in one of this name; "
            "give it another name there",
        ),
    ],
    ids=["another_package_s", "a_built_in_one_s"],
)
def test_a_name_that_is_taken_is_refused_where_it_is_used(
    tmp_path: Path, kinds: Mapping[str, Mapping[str, str]], line: str
) -> None:
    install(tmp_path / "packages")
    install(tmp_path / "packages", name="my-fork", groups=kinds)
    content = experiment(method="mlfd", method_options={})
    write_yaml(tmp_path / "one.yaml", {"kind": "train", "target": "digits", **content})
    done = mlfd_tune("train", "one.yaml", cwd=tmp_path, expect=2)
    assert done.stderr.strip() == f"error: one.yaml: {line}"
    assert not list(tmp_path.glob(".mlfd/store/artifacts/*/*"))


@pytest.mark.slow
def test_a_broken_package_disturbs_a_sweep_only_where_it_is_named(tmp_path: Path) -> None:
    install(tmp_path / "packages", files={"my_kinds/gated.py": "raise RuntimeError"})
    content = tiny_sweep(targets=["digits"])
    write_yaml(tmp_path / "tiny.yaml", content)
    plan = mlfd_tune("run", "tiny.yaml", "--dry-run", cwd=tmp_path)
    assert "trials" in plan.stdout

    content["search"]["space"]["joint_teacher.adaptor"]["choice"].append("gated")
    write_yaml(tmp_path / "tiny.yaml", content)
    done = mlfd_tune("run", "tiny.yaml", "--dry-run", cwd=tmp_path, expect=2)
    assert done.stderr.strip() == (
        "error: tiny.yaml: search.space.joint_teacher.adaptor: cannot be 'gated': adaptor 'gated' "
        "of package my-kinds 1.0: my_kinds.gated:Gated cannot be imported (RuntimeError)"
    )
