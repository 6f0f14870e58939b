from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants as hub
from safetensors.torch import save_file

from mlfd_tune.core.data import DatasetSpec, PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.spec import canonical_json
from mlfd_tune.core.stages import DatasetStage, FeaturesStage, TeacherStage
from mlfd_tune.core.stages.loaded_teacher import LoadedTeacherStage
from mlfd_tune.core.stages.model_files import load_description
from mlfd_tune.core.stages.normalisation import IMAGENET, choose_normalisation
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.stages.weights import PRETRAINED, WeightsSource, resolve_weights
from mlfd_tune.core.store import Artifact, Store
from mlfd_tune.core.training import TrainSpec
from tests.helpers.digit_tasks import assert_identical
from tests.helpers.pipelines import files, tensors, trainer_of

CPU = torch.device("cpu")
ARCH = "test_resnet"
TRAIN = TrainSpec(epochs=3, batch_size=32, lr=3e-3, precision="fp32")


def digits(name: str = "one", size: int = 32) -> DatasetStage:
    return DatasetStage(name, DatasetSpec(source="digits", train_size=96), size)


def letters() -> DatasetStage:
    return DatasetStage("letters", DatasetSpec(source="letters", train_size=104), 32)


def source_of(artifact: Artifact, arch: str = ARCH) -> WeightsSource:
    return resolve_weights(str(artifact.path / "model.safetensors"), arch)


def loaded(source: WeightsSource, data: DatasetStage | None = None, choice="auto", arch=ARCH):
    normalisation = choose_normalisation(choice, arch, source)
    return LoadedTeacherStage(data or digits(), arch, source, 1, normalisation)


@pytest.fixture(scope="module")
def original(store: Store) -> Artifact:
    return store.get_or_compute(TeacherStage(digits(), ARCH, TRAIN, seed=0))


@pytest.fixture(scope="module")
def of_letters(store: Store) -> Artifact:
    return store.get_or_compute(TeacherStage(letters(), ARCH, TRAIN, seed=0))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of the Hugging Face hub's client, which may not use the network."""
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def publish(cache: Path, arch: str, tensors: dict[str, torch.Tensor]) -> None:
    """Lay weights into the hub's cache as a download does."""
    config = timm.get_pretrained_cfg(arch)
    repository = cache / f"models--{config.hf_hub_id.replace('/', '--')}"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    save_file(tensors, snapshot / "model.safetensors")


# --- taken as it is ---------------------------------------------------------------------------


def test_a_loaded_teacher_measures_as_the_original_did(store, original):
    artifact = store.get_or_compute(loaded(source_of(original)))
    validation = {k: v for k, v in original.manifest.metrics.items() if k.startswith("val/")}
    assert artifact.manifest.metrics == validation
    assert validation.keys() == {"val/acc1", "val/acc5", "val/loss"}
    assert artifact.manifest.stage == "teacher"
    assert artifact.manifest.history == []


def test_its_artifact_is_a_trained_teachers_and_says_where_the_head_is_from(store, original):
    artifact = store.get_or_compute(loaded(source_of(original)))
    assert set(files(artifact)) == {"model.safetensors", "model.json"}
    assert_identical(tensors(artifact), tensors(original))
    about = load_description(original.path)
    assert load_description(artifact.path) == about | {"head": "file"}


@pytest.mark.parametrize("level", ["embedding", "stride32"])
def test_features_of_a_loaded_teacher_equal_the_originals_bit_by_bit(store, original, level):
    other = DatasetStage("two", DatasetSpec(source="digits", train_size=64, split_seed=1), 32)
    teachers = TeacherStage(digits(), ARCH, TRAIN, seed=0), loaded(source_of(original))
    ours, theirs = (store.get_or_compute(FeaturesStage(t, other, level)) for t in teachers)
    assert ours.key != theirs.key
    assert files(ours) == files(theirs)


def test_loading_draws_nothing_from_the_global_state(tmp_path, store, original):
    stage = loaded(source_of(original))
    fresh = Store(tmp_path)
    fresh.get_or_compute(stage.inputs["dataset"])
    before = torch.get_rng_state()
    fresh.get_or_compute(stage)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_no_larger_than_estimated(store, original):
    stage = loaded(source_of(original))
    size = store.get_or_compute(stage).manifest.bytes
    assert 0.8 * stage.estimate_bytes() - 8192 <= size <= stage.estimate_bytes()


def test_labels_tell_trained_fine_tuned_and_loaded_teachers_apart(original):
    source = source_of(original)
    assert TeacherStage(digits(), ARCH, TRAIN, 0).label == "teacher one (test_resnet)"
    tuned = TeacherStage(digits(), ARCH, TRAIN, 0, source)
    assert tuned.label == "teacher one (test_resnet, fine-tuned)"
    assert loaded(source).label == "teacher one (test_resnet, loaded)"


# --- the linear probe -------------------------------------------------------------------------


def test_a_network_of_other_classes_gets_a_linear_probe_that_knows_the_datasets(store, of_letters):
    artifact = store.get_or_compute(loaded(source_of(of_letters)))
    about = load_description(artifact.path)
    assert (about["head"], about["num_classes"], about["classes"][:2]) == ("probe", 10, ["0", "1"])
    assert artifact.manifest.metrics["val/acc1"] > 40  # chance is 10
    frozen, own = tensors(of_letters), tensors(artifact)
    below = {name: value for name, value in own.items() if not name.startswith("model.fc.")}
    assert_identical(below, {name: frozen[name] for name in below})
    assert own["model.fc.weight"].shape[0] == 10


def test_the_probe_is_the_same_wherever_it_is_fitted(store, tmp_path, of_letters):
    one = store.get_or_compute(loaded(source_of(of_letters)))
    torch.manual_seed(7)
    other = Store(tmp_path).get_or_compute(loaded(source_of(of_letters)))
    assert files(other) == files(one)


def test_as_many_classes_by_other_names_are_other_classes(store, tmp_path, original):
    shutil.copytree(original.path, tmp_path / "elsewhere")
    about = load_description(original.path) | {"classes": [f"clothes {i}" for i in range(10)]}
    (tmp_path / "elsewhere" / "model.json").write_text(json.dumps(about))
    stage = loaded(resolve_weights(str(tmp_path / "elsewhere" / "model.safetensors"), ARCH))
    assert not stage.spec.keep_head
    assert load_description(store.get_or_compute(stage).path)["head"] == "probe"


def test_a_network_with_two_classifiers_is_refused_where_it_would_need_a_probe(store, tmp_path):
    arch = "deit_tiny_distilled_patch16_224"
    torch.manual_seed(0)
    save_file(Backbone(arch, 26, 32).state_dict(), tmp_path / "deit.safetensors")
    stage = loaded(resolve_weights(str(tmp_path / "deit.safetensors"), arch), arch=arch)
    with pytest.raises(UserError, match=r"needs one linear classifier, .* is 2 layers"):
        store.get_or_compute(stage)


# --- normalisation ----------------------------------------------------------------------------


def test_statistics_come_from_where_the_weights_do(tmp_path, original, hub_cache):
    own = load_description(original.path)
    source = source_of(original)
    described = choose_normalisation("auto", ARCH, source)
    assert (list(described.mean), list(described.std)) == (own["mean"], own["std"])
    assert choose_normalisation("auto", ARCH) is None
    assert choose_normalisation("dataset", ARCH, source) is None
    assert choose_normalisation("imagenet", ARCH, source) == IMAGENET
    assert choose_normalisation("architecture", ARCH).mean == (0.5, 0.5, 0.5)
    published = resolve_weights(PRETRAINED, ARCH)
    assert choose_normalisation("auto", ARCH, published).std == (0.5, 0.5, 0.5)
    bare = shutil.copy(original.path / "model.safetensors", tmp_path / "bare.safetensors")
    assert choose_normalisation("auto", ARCH, resolve_weights(str(bare), ARCH)) is None


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"arch": "test_vit", "mean": 0.5}'])
def test_a_description_by_another_program_is_none(tmp_path, original, text):
    file = shutil.copy(original.path / "model.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_text(text)
    source = resolve_weights(str(file), ARCH)
    assert choose_normalisation("auto", ARCH, source) is None
    assert source.suits(("any", "classes"))


def test_a_teacher_sees_images_as_its_description_says_and_so_do_its_features(store, original):
    stage = loaded(source_of(original), choice="imagenet")
    artifact = store.get_or_compute(stage)
    about = load_description(artifact.path)
    assert (tuple(about["mean"]), tuple(about["std"])) == (IMAGENET.mean, IMAGENET.std)
    packed = PackedDataset(store.get_or_compute(digits()).path)
    mean, std = np.reshape(IMAGENET.mean, (1, 3, 1, 1)), np.reshape(IMAGENET.std, (1, 3, 1, 1))
    images = (packed.images("val").astype(np.float64) / 255 - mean) / std
    with torch.inference_mode():
        logits, features = load_backbone(artifact.path, CPU)(
            torch.from_numpy(images).float(), levels=("embedding",)
        )
    accuracy = 100 * np.mean(logits.numpy().argmax(axis=1) == packed.labels("val"))
    assert artifact.manifest.metrics["val/acc1"] == pytest.approx(accuracy)
    cached = store.get_or_compute(FeaturesStage(stage, digits(), "embedding")).path / "val.npy"
    np.testing.assert_allclose(np.load(cached), features["embedding"], rtol=2e-3, atol=2e-3)


def test_a_trained_teacher_can_be_given_statistics_too(store):
    stage = TeacherStage(digits(), ARCH, TRAIN, 0, normalisation=IMAGENET)
    task = trainer_of(stage, store).task
    assert task.training.mean == task.validation.mean == IMAGENET.mean
    assert stage.key != TeacherStage(digits(), ARCH, TRAIN, 0).key


# --- fine-tuning ------------------------------------------------------------------------------


def test_fine_tuning_starts_from_the_weights_and_trains_on(store, original):
    stage = TeacherStage(digits(), ARCH, TRAIN, 0, source_of(original))
    trainer = trainer_of(stage, store)
    assert_identical(dict(trainer.task.model.state_dict()), tensors(original))
    tuned = store.get_or_compute(stage)
    assert len(tuned.manifest.history) == 3
    first = [a.manifest.history[0]["train/loss_ce"] for a in (tuned, original)]
    assert first[0] < first[1]


def test_a_head_for_other_classes_starts_anew_from_the_seeds_stream(store, of_letters):
    tuned = TeacherStage(digits(), ARCH, TRAIN, 0, source_of(of_letters))
    weights = dict(trainer_of(tuned, store).task.model.state_dict())
    scratch = TeacherStage(digits(), ARCH, TRAIN, 0)
    initial = dict(trainer_of(scratch, store).task.model.state_dict())
    frozen = tensors(of_letters)
    for name, value in weights.items():
        expected = initial if name.startswith("model.fc.") else frozen
        assert torch.equal(value, expected[name]), name
    reseeded = TeacherStage(digits(), ARCH, TRAIN, 1, source_of(of_letters))
    other = trainer_of(reseeded, store).task.model.state_dict()
    assert not torch.equal(other["model.fc.weight"], weights["model.fc.weight"])


# --- published weights ------------------------------------------------------------------------


def test_published_weights_are_known_by_architecture_and_tag():
    assert resolve_weights(PRETRAINED, "resnet18").identity == "resnet18.a1_in1k"
    tagged = resolve_weights(PRETRAINED, "resnet18.tv_in1k")
    assert tagged == WeightsSource("timm", "resnet18.tv_in1k", None)


def test_published_weights_are_loaded_and_probed(store, hub_cache):
    torch.manual_seed(3)
    published = Backbone(ARCH, 1000, 32).model.state_dict()
    publish(hub_cache, ARCH, published)
    stage = loaded(resolve_weights(PRETRAINED, ARCH))
    artifact = store.get_or_compute(stage)
    about = load_description(artifact.path)
    assert (about["head"], about["mean"]) == ("probe", [0.5, 0.5, 0.5])
    for name, value in tensors(artifact).items():
        if not name.startswith("model.fc."):
            assert torch.equal(value, published[name.removeprefix("model.")]), name
    trainer = trainer_of(TeacherStage(digits(), ARCH, TRAIN, 0, stage.source), store)
    start = trainer.task.model.state_dict()
    assert torch.equal(start["model.conv1.0.weight"], published["conv1.0.weight"])
    assert start["model.fc.weight"].shape[0] == 10


def test_without_a_network_published_weights_are_refused_in_one_line(store, hub_cache):
    stage = loaded(resolve_weights(PRETRAINED, "test_vit"), arch="test_vit")
    with pytest.raises(UserError, match=r"cannot get timm's 'test_vit\.r160_in1k'") as caught:
        store.get_or_compute(stage)
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)
    assert "give a file" in str(caught.value)


def test_an_architecture_without_published_weights_is_refused_with_the_nearest_that_has_some():
    with pytest.raises(UserError, match=r"none for 'convnextv2_small'.*'convnext_small'"):
        resolve_weights(PRETRAINED, "convnextv2_small")


# --- which weights ----------------------------------------------------------------------------


def test_where_a_file_lies_is_not_part_of_the_key_and_what_is_in_it_is(
    tmp_path, original, of_letters
):
    key = loaded(source_of(original)).key
    shutil.copytree(original.path, tmp_path / "elsewhere")
    there = resolve_weights(str(tmp_path / "elsewhere" / "model.safetensors"), ARCH)
    assert loaded(there).key == key
    assert loaded(source_of(of_letters), choice="imagenet").key != key
    for stage in (loaded(there), TeacherStage(digits(), ARCH, TRAIN, 0, there)):
        assert str(tmp_path) not in canonical_json(stage.spec)
        assert there.identity in canonical_json(stage.spec)


def test_everything_that_changes_a_loaded_teacher_is_part_of_its_key(original, of_letters):
    source = source_of(original)
    plain = LoadedTeacherStage(digits(), ARCH, source)
    changed = [
        LoadedTeacherStage(digits("two"), ARCH, source),
        LoadedTeacherStage(digits(size=48), ARCH, source),
        LoadedTeacherStage(digits(), "test_vit", source),
        LoadedTeacherStage(digits(), ARCH, source_of(of_letters)),
        LoadedTeacherStage(digits(), ARCH, source, threads=2),
        LoadedTeacherStage(digits(), ARCH, source, normalisation=IMAGENET),
        TeacherStage(digits(), ARCH, TRAIN, 0, source),
    ]
    assert len({plain.key, *(stage.key for stage in changed)}) == 1 + len(changed)


def test_a_file_that_changed_since_it_was_planned_with_is_refused(tmp_path, store, original):
    path = Path(shutil.copy(original.path / "model.safetensors", tmp_path / "mine.safetensors"))
    stage = loaded(resolve_weights(str(path), ARCH))
    values = tensors(original)
    save_file({name: value + 1 for name, value in values.items()}, path)
    with pytest.raises(UserError, match=r"mine\.safetensors was changed after the run was planned"):
        store.get_or_compute(stage)
    path.unlink()
    with pytest.raises(UserError, match=r"mine\.safetensors does not exist on this machine"):
        store.get_or_compute(stage)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pretraned", r"'pretraned' does not exist .*did you mean 'pretrained'\?"),
        ("nowhere/model.safetensors", r"'nowhere/model\.safetensors' does not exist \(allowed: "),
        ("tests", "'tests' is a folder"),
        ("model:/name/1", r"unknown scheme 'model:' .*did you mean 'models:/'\?"),
        ("s3://bucket/model.pth", "unknown scheme 's3:'"),
        ("models:/name/1", "an MLflow URI needs mlflow; give a file"),
    ],
)
def test_weights_that_are_not_there_are_refused_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve_weights(text, ARCH)
    assert "\n" not in str(caught.value)


def test_an_mlflow_uri_is_served_by_who_knows_mlflow(original):
    asked = []

    def fetch(uri: str) -> Path:
        asked.append(uri)
        return original.path / "model.safetensors"

    assert resolve_weights("models:/name@champion", ARCH, fetch) == source_of(original)
    assert asked == ["models:/name@champion"]


def test_weights_of_another_architecture_are_refused_before_anything_runs(original):
    with pytest.raises(UserError, match=r"is a 'test_resnet', and arch is 'test_vit'"):
        source_of(original, "test_vit")
