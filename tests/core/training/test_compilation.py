from __future__ import annotations

import shutil

import pytest
import torch

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.spec import content_hash
from mlfd_tune.core.training import TrainSpec
from mlfd_tune.core.training.compilation import explained_compiling
from tests.helpers.digit_tasks import digits_trainer, train_to_the_end, weights

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no C++ compiler"
)


@needs_compiler
@pytest.mark.slow
def test_a_compiled_training_is_the_plain_one_to_rounding_under_the_same_names(tmp_path):
    # Without dropout, whose draws are others when they are compiled.
    plain = train_to_the_end(digits_trainer(plain=True, ema_decay=0.5))
    compiled = digits_trainer(plain=True, ema_decay=0.5, compile=True)
    compiled.train_epoch()
    compiled.save(tmp_path)
    going_on = digits_trainer(plain=True, ema_decay=0.5, compile=True)
    assert going_on.resume(tmp_path)
    train_to_the_end(going_on)
    for one, other in zip(going_on.history, plain.history, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    expected = weights(plain)
    assert weights(going_on).keys() == expected.keys()
    for name, value in weights(going_on).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


def test_a_network_that_cannot_be_compiled_says_so_in_one_line(monkeypatch):
    def refuse(*_):
        raise RuntimeError("No working C++ compiler found\nand a long story")

    trainer = digits_trainer(plain=True, compile=True)
    trainer.task.model.compile(backend=refuse)
    with pytest.raises(UserError) as caught:
        trainer.train_epoch()
    message = str(caught.value)
    assert message.startswith("train.compile: torch.compile fails with")
    assert "No working C++ compiler found" in message
    assert message.endswith("set compile: false")
    assert "\n" not in message


def test_errors_of_other_kinds_stay_what_they_are():
    with pytest.raises(ValueError, match="of another kind"), explained_compiling():
        raise ValueError("of another kind")


def test_what_was_trained_before_keeps_its_hash_and_compiling_changes_it():
    assert content_hash(TrainSpec()) == content_hash(TrainSpec(compile=False))
    assert content_hash(TrainSpec()).startswith("9235be8aa3dec0d3")
    assert content_hash(TrainSpec(compile=True)) != content_hash(TrainSpec())
