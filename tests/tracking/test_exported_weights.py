"""An exported file, used as a teacher's weights, knows its normalisation and its classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlfd_tune.core.data import DatasetSpec
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.normalisation import choose_normalisation
from mlfd_tune.core.stages.weights import resolve_weights
from mlfd_tune.core.store import Artifact, Store
from mlfd_tune.tracking.export_files import write_weights
from tests.helpers.pipelines import pipeline, tensors

ARCH = "test_resnet"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("exported") / "store")


@pytest.fixture(scope="module")
def student(store: Store) -> Artifact:
    return store.get_or_compute(pipeline().student("one", "none"))


@pytest.fixture(scope="module")
def exported(student: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("elsewhere") / "one.safetensors"
    write_weights(student.path / "model.safetensors", load_description(student.path), file)
    return file


def test_its_images_are_normalised_as_when_it_was_trained(student: Artifact, exported: Path):
    about = load_description(student.path)

    chosen = choose_normalisation("auto", ARCH, resolve_weights(str(exported), ARCH))

    assert chosen is not None
    assert (list(chosen.mean), list(chosen.std)) == (about["mean"], about["std"])


def test_it_knows_its_classes_by_name(student: Artifact, exported: Path):
    source = resolve_weights(str(exported), ARCH)

    assert source.suits(tuple(load_description(student.path)["classes"]))
    assert not source.suits(tuple(f"clothes {number}" for number in range(10)))


def test_it_knows_its_architecture(exported: Path):
    with pytest.raises(UserError, match="is a 'test_resnet', and arch is 'test_vit'"):
        resolve_weights(str(exported), "test_vit")


def test_as_a_teacher_it_is_as_good_as_it_was(store: Store, student: Artifact, exported: Path):
    teacher = {"one": {"arch": ARCH, "weights": str(exported)}}

    artifact = store.get_or_compute(pipeline(teachers=teacher).teacher("one"))

    about = load_description(artifact.path)
    assert about["head"] == "file", "its own classifier, no probe"
    assert artifact.manifest.metrics["val/acc1"] == student.manifest.metrics["val/acc1"]
    own, taken = tensors(student), tensors(artifact)
    assert all((own[name] == taken[name]).all() for name in own)


def test_for_other_classes_of_the_same_number_it_gets_a_probe(store: Store, exported: Path):
    names = tuple("abcdefghij".upper())
    other = {"two": {"source": "letters", "classes": names, "train_size": 64}}
    plan = pipeline(datasets=other, teachers={"two": {"arch": ARCH, "weights": str(exported)}})
    assert plan.settings.datasets["two"] == DatasetSpec(split_seed=1, **other["two"])

    artifact = store.get_or_compute(plan.teacher("two"))

    assert load_description(artifact.path)["head"] == "probe"
