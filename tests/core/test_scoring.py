"""Raw pictures in, the logits that the network was measured with out."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image
from torch.export import Dim

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.data.decode import to_rgb, to_square
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.numeric import fixed_threads
from mlfd_tune.core.scoring import ImageScorer, load_scorer
from mlfd_tune.core.store import Store
from tests.helpers.pipelines import pipeline

PICTURES = ("skimage/data/astronaut.png", "skimage/data/coffee.png", "skimage/data/rocket.jpg")


class Nothing(torch.nn.Module):
    """Stands in the place of a network and gives the image itself, so that one sees what came."""

    image_size = 48

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return images, {}


def raw_images(packed: PackedDataset, split: str) -> torch.Tensor:
    """Return a split's images as one reads them from files: (N, H, W, 3) uint8."""
    return torch.from_numpy(np.asarray(packed.images(split)).transpose(0, 2, 3, 1).copy())


def picture(name: str) -> Image.Image:
    package, _, file = name.partition("/")
    return to_rgb(Image.open(str(files(package).joinpath(file))))


@pytest.mark.parametrize("method", ["none", "own_teacher"])
def test_the_logits_of_the_test_split_are_those_of_its_evaluation_to_the_bit(store, method):
    plan = pipeline()
    measured = np.load(store.get_or_compute(plan.evaluation("one", method)).path / "logits.npy")
    stage = plan.student("one", method)
    scorer = load_scorer(store, store.get_or_compute(stage))
    packed = PackedDataset(store.get_or_compute(plan.student_data("one")).path)
    # The number of threads decides on the order of sums, and so on the last digit.
    with fixed_threads(stage.spec.train.threads), torch.inference_mode():
        batches = raw_images(packed, "test").split(256)
        logits = torch.cat([scorer(batch) for batch in batches]).numpy()
    assert np.array_equal(logits, measured)
    assert scorer.classes == packed.classes
    assert scorer.image_size == packed.image_size


def test_a_teacher_is_scored_with_the_statistics_it_was_trained_with(store):
    plan = pipeline(teachers={"two": {"normalisation": "imagenet"}})
    scorer = load_scorer(store, store.get_or_compute(plan.teacher("two")))
    np.testing.assert_allclose(scorer.mean, [0.485, 0.456, 0.406], rtol=1e-6)
    np.testing.assert_allclose(scorer.std, [0.229, 0.224, 0.225], rtol=1e-6)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_resized_as_packing_does_but_for_one_grey_level(name):
    image = picture(name)
    scorer = ImageScorer(Nothing(), ("a",), (0.25, 0.5, 0.75), (0.2, 0.3, 0.4))
    seen = scorer(torch.from_numpy(np.array(image)).unsqueeze(0))[0]
    grey = seen * scorer.std.view(3, 1, 1) + scorer.mean.view(3, 1, 1)
    levels = (grey * 255).round().numpy()
    packed = to_square(image, 48).astype(np.float64)
    assert np.abs(levels - packed).max() <= 1
    assert (levels != packed).mean() < 0.1


@torch.inference_mode()
def test_whole_numbers_as_floats_are_the_same_image():
    torch.manual_seed(0)
    scorer = ImageScorer(Backbone("test_resnet", 3, 32), "abc", (0.5,) * 3, (0.2,) * 3)
    images = torch.randint(0, 256, (2, 40, 25, 3), dtype=torch.uint8)
    assert torch.equal(scorer(images), scorer(images.to(torch.float32)))


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_convnext"])
@torch.inference_mode()
def test_an_exported_program_takes_any_number_of_images_of_any_size(arch):
    torch.manual_seed(0)
    scorer = ImageScorer(Backbone(arch, 3, 32), "abc", (0.5,) * 3, (0.2,) * 3)
    example = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    free = {0: Dim.AUTO, 1: Dim.AUTO, 2: Dim.AUTO}
    program = torch.export.export(scorer, (example,), dynamic_shapes=[free]).module()
    for shape in ((1, 32, 32, 3), (3, 50, 20, 3)):
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        torch.testing.assert_close(program(images), scorer(images), rtol=1e-5, atol=1e-5)


def test_what_is_no_network_is_refused_in_one_line(store):
    data = store.get_or_compute(pipeline().dataset("one"))
    with pytest.raises(UserError, match=r"holds no network .*student, baseline or teacher"):
        load_scorer(store, data)
    joint = pipeline().student("one", "mlfd").inputs["targets"].joint_teacher
    with pytest.raises(UserError, match="is no network that takes images alone"):
        load_scorer(store, store.get_or_compute(joint))


def test_damaged_weights_are_refused_in_one_line(tmp_path):
    own = Store(tmp_path / "store")
    artifact = own.get_or_compute(pipeline().student("one", "none"))
    weights = artifact.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged: model.safetensors has a wrong checksum"):
        load_scorer(own, artifact)
