from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mlfd_tune.core.models import Backbone
from mlfd_tune.core.spec import canonical_json
from mlfd_tune.core.stages.teacher import load_backbone
from mlfd_tune.core.store import Store
from mlfd_tune.core.training import trainer as trainer_module
from tests.helpers.digit_tasks import assert_identical
from tests.helpers.pipelines import files, inputs_of, pipeline, tensors, trainer_of

CPU = torch.device("cpu")


def test_a_teacher_is_its_weights_and_what_rebuilds_it(store):
    stage = pipeline().teacher("one")
    artifact = store.get_or_compute(stage)
    assert set(files(artifact)) == {"model.safetensors", "model.json"}
    model = load_backbone(artifact.path, CPU)
    assert not model.training
    assert_identical(dict(model.state_dict()), tensors(artifact))
    assert tensors(artifact).keys() == Backbone("test_resnet", 10, 32).state_dict().keys()


def test_loading_a_model_draws_nothing_from_the_global_state(store):
    path = store.get_or_compute(pipeline().teacher("one")).path
    before = torch.get_rng_state()
    load_backbone(path, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_its_history_has_every_epoch_and_its_metrics_are_the_last(store):
    stage = pipeline(teacher={"train": {"epochs": 2}}).teacher("one")
    manifest = store.get_or_compute(stage).manifest
    assert len(manifest.history) == stage.epochs == 2
    assert manifest.metrics == manifest.history[-1]
    assert {"train/loss", "train/loss_ce", "val/acc1", "val/acc5"} <= manifest.metrics.keys()


def test_what_is_kept_is_what_was_evaluated_the_moving_average_where_there_is_one(store):
    stage = pipeline(teacher={"train": {"epochs": 2, "ema_decay": 0.5}}).teacher("one")
    artifact = store.get_or_compute(stage)
    trainer = trainer_of(stage, store)
    trainer.task.model.load_state_dict(tensors(artifact))
    trainer.task.model.eval()
    last = {name: value for name, value in artifact.manifest.metrics.items() if "val" in name}
    assert trainer.task.evaluate() == pytest.approx(last, rel=1e-6)


def test_an_interrupted_stage_goes_on_from_its_checkpoint_and_ends_the_same(
    tmp_path, store, monkeypatch
):
    stage = pipeline(teacher={"train": {"epochs": 3, "ema_decay": 0.9}}).teacher("two")
    whole = store.get_or_compute(stage)

    class InterruptedError(Exception):
        pass

    def interrupt(fraction: float, text: str) -> None:
        if fraction > 0.5:
            raise InterruptedError

    monkeypatch.setattr(trainer_module, "CHECKPOINT_EVERY_S", 0.0)
    other = Store(tmp_path)
    inputs_of(stage, other)
    with pytest.raises(InterruptedError):
        other.get_or_compute(stage, progress=interrupt)
    assert other.get(stage) is None
    seen = []
    resumed = other.get_or_compute(stage, progress=lambda *step: seen.append(step[0]))
    assert seen == [1.0], "only the last of three epochs was trained"
    assert files(resumed) == files(whole)
    assert resumed.manifest.history == whole.manifest.history


def test_label_smoothing_reaches_the_loss(store):
    stage = pipeline(teacher={"train": {"label_smoothing": 0.3, "epochs": 1}}).teacher("one")
    task = trainer_of(stage, store).task
    task.model.eval()
    indices = torch.arange(8)
    images, labels = task.training.augmented(indices, task.train.augment, torch.Generator())
    with torch.no_grad():
        logits = task.model(images)[0].double().numpy()
        loss = float(task.loss(indices, torch.Generator()).total)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = np.full_like(log_p, 0.3 / 10)
    wanted[np.arange(8), labels.numpy()] += 0.7
    assert loss == pytest.approx(-(wanted * log_p).sum(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 2},
        {"batch_size": 16},
        {"accumulate": 2},
        {"optimizer": "sgd"},
        {"lr": 0.1},
        {"weight_decay": 0.1},
        {"momentum": 0.1},
        {"schedule": "cosine"},
        {"warmup_epochs": 1},
        {"label_smoothing": 0.1},
        {"ema_decay": 0.9},
        {"clip_grad": 1.0},
        {"augment": "light"},
        {"drop_rate": 0.1},
        {"drop_path_rate": 0.1},
        {"precision": "bf16"},
        {"threads": 2},
    ],
    ids=str,
)
def test_every_training_setting_is_part_of_the_key(change):
    plain = pipeline()
    changed = pipeline(teacher={"train": change})
    assert changed.teacher("one").key != plain.teacher("one").key
    assert changed.student("one", "none").key == plain.student("one", "none").key


def test_seed_architecture_dataset_and_image_size_are_part_of_the_key():
    keys = {
        pipeline(**change).teacher(name).key
        for change, name in (
            ({}, "one"),
            ({}, "two"),
            ({"seed": 1}, "one"),
            ({"image_size": 64}, "one"),
            ({"teacher": {"arch": "test_vit"}}, "one"),
            ({"datasets": {"one": {"split_seed": 3}}}, "one"),
        )
    }
    assert len(keys) == 6


def test_the_text_under_the_key_of_a_teacher_from_scratch_stays_what_it_is():
    """A change here orphans every artifact that users have: raise a version only if need be."""
    spec = pipeline().teacher("one").spec
    text = json.loads(canonical_json(spec))
    assert text.pop("train").keys() >= {"epochs", "batch_size", "lr"}
    assert text == {"arch": "test_resnet", "dataset": "one", "seed": 0}


def test_auto_precision_is_settled_in_the_spec():
    train = pipeline().teacher("one").spec.train
    assert train.precision == ("fp32" if not torch.cuda.is_available() else train.precision)
    assert train.precision != "auto"
