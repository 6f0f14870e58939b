from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mlfd_tune.core.data import AugmentSpec, augment, normalise, to_float
from mlfd_tune.core.spec import Spec, content_hash

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU"))]  # fmt: skip
STRONG = AugmentSpec(
    crop_padding=3, flip=True, rotate=30, scale=0.2, translate=0.1, brightness=0.3, contrast=0.3,
    cutout=5,
)  # fmt: skip


def some_images(n: int = 24, height: int = 16, width: int = 16) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, height, width), dtype=np.uint8)
    return torch.from_numpy(pixels)


def generator(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def draws(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The documented order of draws, stated once more."""
    names = [
        *("crop_x", "crop_y", "flip", "rotate", "scale", "translate_x", "translate_y"),
        *("brightness", "contrast", "cutout_x", "cutout_y"),
    ]
    columns = torch.rand(n, len(names), generator=generator(seed)).double().numpy()
    return dict(zip(names, columns.T, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_stays_a_float_batch_in_0_1_on_its_device(device):
    out = augment(some_images().to(device), STRONG, generator(device=device))
    assert out.shape == (24, 3, 16, 16)
    assert out.dtype == torch.float32
    assert out.device.type == device
    assert 0 <= float(out.min()) <= float(out.max()) <= 1


@pytest.mark.parametrize("device", DEVICES)
def test_a_cpu_generator_gives_the_same_pictures_on_every_device(device):
    expected = augment(some_images(), STRONG, generator())
    out = augment(some_images().to(device), STRONG, generator())
    torch.testing.assert_close(out.cpu(), expected, rtol=0, atol=1e-4)


def test_no_augmentation_is_the_picture_itself():
    images = some_images()
    torch.testing.assert_close(augment(images, AugmentSpec(), generator()), to_float(images))


@pytest.mark.parametrize(
    "spec",
    [AugmentSpec(), AugmentSpec(flip=True), STRONG, AugmentSpec(auto_augment="imagenet")],
)
def test_every_strength_consumes_the_same_draws(spec):
    source, reference = generator(), generator()
    augment(some_images(), spec, source)
    augment(some_images(), AugmentSpec(cutout=1), reference)
    assert torch.equal(source.get_state(), reference.get_state())


def test_images_are_varied_independently_and_repeatably():
    same = some_images(1).expand(8, -1, -1, -1)
    out = augment(same, STRONG, generator())
    assert len({image.numpy().tobytes() for image in out}) == 8
    torch.testing.assert_close(out, augment(same, STRONG, generator()), rtol=0, atol=0)


def test_flip_mirrors_the_images_whose_draw_is_below_one_half():
    images = some_images()
    out = augment(images, AugmentSpec(flip=True), generator()).double().numpy()
    expected = images.double().numpy() / 255
    flipped = draws(24)["flip"] < 0.5
    assert 0 < flipped.sum() < 24
    expected[flipped] = expected[flipped, :, :, ::-1]
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_crop_shifts_by_whole_pixels_and_continues_the_edge():
    images = some_images(height=12, width=16)
    out = augment(images, AugmentSpec(crop_padding=4), generator()).double().numpy()
    drawn = draws(24)
    for index in range(24):
        dx = int(np.floor(drawn["crop_x"][index] * 9)) - 4
        dy = int(np.floor(drawn["crop_y"][index] * 9)) - 4
        padded = np.pad(images[index].double().numpy() / 255, ((0, 0), (4, 4), (4, 4)), "edge")
        expected = padded[:, 4 + dy : 16 + dy, 4 + dx : 20 + dx]
        np.testing.assert_allclose(out[index], expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (10, 20)])
def test_rotation_scale_and_shift_match_plain_bilinear_sampling(height, width):
    images = some_images(6, height, width)
    spec = AugmentSpec(rotate=40, scale=0.3, translate=0.1, flip=True)
    out = augment(images, spec, generator()).double().numpy()
    drawn = draws(6)
    for index in range(6):
        unit = {name: 2 * values[index] - 1 for name, values in drawn.items()}
        angle, size = np.deg2rad(40 * unit["rotate"]), 1 + 0.3 * unit["scale"]
        mirror = -1 if drawn["flip"][index] < 0.5 else 1
        expected = np.empty((3, height, width))
        for row in range(height):
            for column in range(width):
                x, y = mirror * (column + 0.5 - width / 2), row + 0.5 - height / 2
                source_x = (np.cos(angle) * x - np.sin(angle) * y) / size
                source_y = (np.sin(angle) * x + np.cos(angle) * y) / size
                source_x += width / 2 - 0.5 + 0.1 * unit["translate_x"] * width
                source_y += height / 2 - 0.5 + 0.1 * unit["translate_y"] * height
                pixels = images[index].double().numpy() / 255
                expected[:, row, column] = bilinear(pixels, source_x, source_y)
        np.testing.assert_allclose(out[index], expected, atol=2e-5)


def bilinear(pixels: np.ndarray, x: float, y: float) -> np.ndarray:
    height, width = pixels.shape[1:]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    upper = pixels[:, top, left] * (1 - (x - left)) + pixels[:, top, right] * (x - left)
    lower = pixels[:, bottom, left] * (1 - (x - left)) + pixels[:, bottom, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


def test_brightness_and_contrast_match_their_formula():
    images = some_images()
    out = augment(images, AugmentSpec(brightness=0.4, contrast=0.6), generator()).double().numpy()
    drawn = draws(24)
    for index, image in enumerate(images.double().numpy() / 255):
        bright = image * (1 + 0.4 * (2 * drawn["brightness"][index] - 1))
        factor = 1 + 0.6 * (2 * drawn["contrast"][index] - 1)
        expected = np.clip((bright - bright.mean()) * factor + bright.mean(), 0, 1)
        np.testing.assert_allclose(out[index], expected, atol=1e-5)


def test_cutout_paints_one_square_with_the_mean_colour():
    images = some_images()
    out = augment(images, AugmentSpec(cutout=6), generator())
    changed = (out != to_float(images)).any(dim=1)
    drawn = draws(24)
    for index in range(24):
        left = int(drawn["cutout_x"][index] * 16) - 3
        top = int(drawn["cutout_y"][index] * 16) - 3
        inside = np.zeros((16, 16), dtype=bool)
        inside[max(top, 0) : top + 6, max(left, 0) : left + 6] = True
        np.testing.assert_array_equal(changed[index].numpy(), inside)
        mean = to_float(images[index]).mean(dim=(1, 2))
        torch.testing.assert_close(out[index][:, torch.from_numpy(inside)][:, 0], mean)


def test_autocast_does_not_blur_the_grid():
    expected = augment(some_images(), STRONG, generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = augment(some_images(), STRONG, generator())
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_normalise_subtracts_the_mean_and_divides_by_the_std():
    images = to_float(some_images())
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
    expected = (images.double().numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(normalise(images, mean, std), expected, atol=1e-5)
    as_tensors = normalise(images, torch.tensor(mean), torch.tensor(std))
    np.testing.assert_allclose(as_tensors, expected, atol=1e-5)


class Holder(Spec):
    augment: AugmentSpec = AugmentSpec()


def test_a_preset_s_name_stands_for_its_settings():
    named = Holder.model_validate({"augment": "crop_flip"})
    spelled = Holder.model_validate({"augment": {"crop_padding": 4, "flip": True}})
    assert named == spelled
    assert content_hash(named) == content_hash(spelled)
    assert Holder.model_validate({"augment": "none"}) == Holder()


def test_the_paper_s_preset_is_the_imagenet_policy_alone():
    named = Holder.model_validate({"augment": "autoaugment"})
    assert named == Holder(augment=AugmentSpec(auto_augment="imagenet"))
    flipped = Holder.model_validate({"augment": "autoaugment_flip"})
    assert flipped == Holder(augment=AugmentSpec(auto_augment="imagenet", flip=True))


@pytest.mark.parametrize(
    ("preset", "before"),
    [
        ("none", "73926d2727fe4b7b"),
        ("light", "6cd63451c732a41a"),
        ("crop_flip", "7210d5dbd740fc42"),
    ],
)
def test_what_was_trained_before_auto_augment_keeps_its_hash(preset, before):
    spec = AugmentSpec.model_validate(preset)
    assert content_hash(spec).startswith(before)
    assert content_hash(spec) != content_hash(spec.model_copy(update={"auto_augment": "svhn"}))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("lite", "did you mean 'light'?"),
        ({"rotation": 5}, "rotation"),
        ({"rotate": -1}, "rotate"),
        ({"scale": 1.0}, "scale"),
        ({"auto_augment": "imagnet"}, "'imagenet', 'cifar10' or 'svhn'"),
    ],
)
def test_wrong_settings_say_so(value, message):
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"augment": value})
    assert message in str(caught.value)
