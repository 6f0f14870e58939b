"""A network leaves as ONNX only if onnxruntime answers on real images as torch does."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from mlfd_tune.core import onnx_export
from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.onnx_export import TOLERANCE, export_onnx
from mlfd_tune.core.scoring import ImageScorer, load_scorer
from tests.helpers.pipelines import pipeline

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

FAMILIES = ("test_resnet", "test_convnext", "test_efficientnet", "test_vit")
CLASSES = ("null", "eins", "zwei", "drei", "vier", "fünf")


@pytest.fixture(scope="module")
def pictures(store) -> np.ndarray:
    """The test images of a built-in dataset as raw RGB (N, 32, 32, 3)."""
    packed = PackedDataset(store.get_or_compute(pipeline().student_data("one")).path)
    return np.asarray(packed.images("test")).transpose(0, 2, 3, 1)


def scorer_of(arch: str, kind: type[Backbone] = Backbone) -> ImageScorer:
    torch.manual_seed(0)
    return ImageScorer(kind(arch, len(CLASSES), 32), CLASSES, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.mark.parametrize("arch", FAMILIES)
def test_a_file_answers_as_torch_does_for_any_number_of_raw_images(arch, pictures) -> None:
    scorer = scorer_of(arch)

    made = export_onnx(scorer, pictures)

    assert made.images == len(pictures)
    session = onnxruntime.InferenceSession(made.data)
    for count in (1, 5):
        images = np.ascontiguousarray(pictures[:count])
        (logits,) = session.run(None, {"images": images})
        with torch.inference_mode():
            own = scorer(torch.from_numpy(images)).numpy()
        assert logits.shape == (count, len(CLASSES))
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, own, atol=TOLERANCE)
        assert (logits.argmax(1) == own.argmax(1)).all()
    assert made.largest_difference < TOLERANCE


def test_a_trained_student_tells_in_its_file_what_it_knows(store, pictures) -> None:
    artifact = store.get_or_compute(pipeline().student("one", "none"))
    scorer = load_scorer(store, artifact)

    made = export_onnx(scorer, pictures, {"artifact_key": artifact.key})

    session = onnxruntime.InferenceSession(made.data)
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [32, 32, 3])
    assert isinstance(given.shape[0], str), "any number of images"
    assert [output.name for output in session.get_outputs()] == ["logits"]
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(scorer.classes)
    assert about["image_size"] == "32"
    assert about["artifact_key"] == artifact.key


def test_the_same_network_gives_the_same_bytes_without_paths_of_this_machine(pictures) -> None:
    first, second = (export_onnx(scorer_of("test_vit"), pictures).data for _ in range(2))

    assert first == second
    assert b".py" not in first


def test_nothing_but_standard_operators_is_in_it(pictures) -> None:
    model = onnx.load_from_string(export_onnx(scorer_of("test_resnet"), pictures).data)

    assert {node.domain for node in model.graph.node} == {""}


def test_torch_says_nothing_meanwhile(pictures, capfd, caplog) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        export_onnx(scorer_of("test_efficientnet"), pictures)

    out, err = capfd.readouterr()
    assert (out, err, caplog.text) == ("", "", "")


class OtherWhenExported(Backbone):
    """Answers differently while torch records it: its last class gets a bonus."""

    def forward(
        self, images: Tensor, levels: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits, features = super().forward(images, levels)
        bonus = torch.zeros(len(CLASSES))
        bonus[-1] = 10.0 if torch.compiler.is_exporting() else 0.0
        return logits + bonus, features


class LooksAtValues(Backbone):
    """Takes another way when the logits say so, which no fixed graph can."""

    def forward(
        self, images: Tensor, levels: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        logits, features = super().forward(images, levels)
        return (logits if logits.sum() > 0 else -logits), features


def test_a_file_that_answers_differently_is_refused(pictures) -> None:
    with pytest.raises(UserError, match=r"onnx: 'test_resnet' answers differently .* by up to 10"):
        export_onnx(scorer_of("test_resnet", OtherWhenExported), pictures)


def test_a_network_that_torch_cannot_export_is_told_in_one_line(pictures) -> None:
    with pytest.raises(UserError) as told:
        export_onnx(scorer_of("test_resnet", LooksAtValues), pictures)

    assert str(told.value).startswith("onnx: torch cannot export the architecture 'test_resnet' (")
    assert "\n" not in str(told.value)


def test_a_missing_package_is_named_with_the_extra_that_has_it(pictures, monkeypatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        onnx_export, "find_spec", lambda name: None if name == "onnxruntime" else found(name)
    )

    with pytest.raises(UserError, match=r"onnxruntime is not installed; pip install 'mlfd-tune\["):
        export_onnx(scorer_of("test_resnet"), pictures)
