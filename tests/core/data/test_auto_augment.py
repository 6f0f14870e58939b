from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chi2_contingency
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, v2

from mlfd_tune.core.data import AugmentSpec, augment
from mlfd_tune.core.data.auto_augment import (
    Decisions,
    PolicyName,
    apply_decisions,
    auto_augment,
    draw_decisions,
)

POLICIES = get_args(PolicyName)
SIGNED = {
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness"),
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU"))]  # fmt: skip


def some_images(n: int, height: int = 24, width: int = 32) -> torch.Tensor:
    """Half noise, half a slope of colours; no image uses all values."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(20, 230, (n, 3, height, width))
    pixels[::2] = pixels[::2, :, :1, :1] * np.linspace(0.3, 1, width) + np.arange(height)[:, None]
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))


def generator(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def sub_policies(policy: str) -> list[tuple[tuple[str, float, int | None], ...]]:
    return list(AutoAugment(AutoAugmentPolicy(policy)).policies)


def one_by_one(images: torch.Tensor, policy: str) -> tuple[torch.Tensor, Decisions]:
    """Give each image alone to torchvision's transform; return its pictures and its decisions."""
    transform = v2.AutoAugment(v2.AutoAugmentPolicy(policy))
    table = sub_policies(policy)
    pictures = []
    indices = torch.zeros(len(images), dtype=torch.long)
    chances, negative = torch.zeros(len(images), 2), torch.zeros(len(images), 2, dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        for number, image in enumerate(images):
            torch.manual_seed(number)
            pictures.append(transform(image))
            torch.manual_seed(number)  # what the transform drew, in its order
            indices[number] = torch.randint(len(table), ())
            for step, (name, probability, _) in enumerate(table[indices[number]]):
                chances[number, step] = torch.rand(())
                if chances[number, step] <= probability and name in SIGNED:
                    negative[number, step] = torch.rand(()) <= 0.5
    return torch.stack(pictures), Decisions(indices, chances, negative)


def applied(policy: str, decisions: Decisions) -> np.ndarray:
    """Return (N, 2) bool: which of the two operations is done."""
    probabilities = torch.tensor([[entry[1] for entry in pair] for pair in sub_policies(policy)])
    return (decisions.chances <= probabilities[decisions.sub_policies]).numpy()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_batch_becomes_exactly_what_torchvision_makes_of_each_image(policy):
    images = some_images(1000)
    expected, decisions = one_by_one(images, policy)
    assert torch.equal(apply_decisions(images, policy, decisions), expected)

    used = applied(policy, decisions)
    seen, possible = set(), set()
    for index, pair in enumerate(sub_policies(policy)):
        for step, (name, probability, _) in enumerate(pair):
            signs = (False, True) if name in SIGNED else (False,)
            possible |= {(name, sign) for sign in signs if probability > 0}
            done = (decisions.sub_policies == index).numpy() & used[:, step]
            seen |= {(name, bool(sign)) for sign in decisions.negative[done, step]}
    assert seen == possible, "every operation took part, in both signs where it has one"


def test_large_images_too_become_what_torchvision_makes_of_each():
    images = some_images(24, 224, 224)
    expected, decisions = one_by_one(images, "imagenet")
    assert torch.equal(apply_decisions(images, "imagenet", decisions), expected)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("negative", [False, True])
def test_every_sub_policy_is_that_of_torchvision_s_first_version_to_rounding(policy, negative):
    class Decided(AutoAugment):
        """Torchvision's first version, which asks this method what to do."""

        @staticmethod
        def get_params(transform_num):
            return index, torch.tensor([chance, 1 - chance]), torch.full((2,), int(not negative))

    images = some_images(4)
    transform = Decided(AutoAugmentPolicy(policy))
    for index in range(len(transform.policies)):
        for chance in (0.0, 1.0):  # one of the two operations, unless the other is certain
            decisions = Decisions(
                torch.full((4,), index),
                torch.tensor([[chance, 1 - chance]]).expand(4, 2),
                torch.full((4, 2), negative),
            )
            out = apply_decisions(images, policy, decisions)
            expected = torch.stack([transform(image) for image in images])
            # The versions round differently; contrast doubles a level of difference.
            assert (out.int() - expected.int()).abs().max() <= 2


def test_decisions_are_distributed_as_torchvision_s():
    n = 6000
    ours = draw_decisions(n, "imagenet", generator(1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        theirs = [AutoAugment.get_params(25) for _ in range(n)]
    theirs = Decisions(
        torch.tensor([index for index, _, _ in theirs]),
        torch.stack([chances for _, chances, _ in theirs]),
        torch.stack([signs == 0 for _, _, signs in theirs]),
    )
    # One cell for each sub-policy, set of operations done and signs.
    cells = []
    for drawn in (ours, theirs):
        bits = np.concatenate([applied("imagenet", drawn), drawn.negative.numpy()], axis=1)
        outcome = drawn.sub_policies.numpy() * 16 + bits @ [8, 4, 2, 1]
        cells.append(np.bincount(outcome, minlength=25 * 16))
    table = np.array(cells)
    common = table.sum(axis=0) >= 20
    pooled = np.column_stack([table[:, common], table[:, ~common].sum(axis=1)])
    assert common.sum() > 150
    assert chi2_contingency(pooled).pvalue > 0.01
    for column in (0, 1):
        tenths = [np.histogram(d.chances[:, column], 10, (0, 1))[0] for d in (ours, theirs)]
        assert chi2_contingency(tenths).pvalue > 0.01
        assert ours.chances[:, column].min() >= 0
        assert ours.chances[:, column].max() < 1


@pytest.mark.parametrize("policy", POLICIES)
def test_operations_are_done_as_often_as_the_policy_says(policy):
    decisions = draw_decisions(20_000, policy, generator(3))
    used = applied(policy, decisions)
    for index, pair in enumerate(sub_policies(policy)):
        chosen = (decisions.sub_policies == index).numpy()
        assert binomtest(int(chosen.sum()), 20_000, 1 / 25).pvalue > 1e-4
        for step, (_, probability, _) in enumerate(pair):
            done = used[chosen, step]
            assert binomtest(int(done.sum()), len(done), probability).pvalue > 1e-4
            below = decisions.negative[chosen, step]
            assert binomtest(int(below.sum()), len(below), 0.5).pvalue > 1e-4


def test_images_do_not_mix():
    images, decisions = some_images(64), draw_decisions(64, "imagenet", generator())
    out = apply_decisions(images, "imagenet", decisions)
    order = torch.randperm(64, generator=generator(1))
    moved = Decisions(
        decisions.sub_policies[order], decisions.chances[order], decisions.negative[order]
    )
    assert torch.equal(apply_decisions(images[order], "imagenet", moved), out[order])


def test_images_of_one_batch_are_varied_independently():
    same = some_images(1).expand(64, -1, -1, -1)
    out = auto_augment(same, "imagenet", generator())
    assert len({image.numpy().tobytes() for image in out}) > 10
    assert torch.equal(same, some_images(1).expand(64, -1, -1, -1)), "the input stays as it is"


@pytest.mark.parametrize("device", DEVICES)
def test_the_stream_stays_where_it_is_and_its_state_decides(device):
    images = some_images(32).to(device)
    stream = generator(device=device)
    state = stream.get_state()
    first = auto_augment(images, "imagenet", stream)
    assert first.dtype == torch.uint8
    assert first.device.type == device
    assert torch.equal(stream.get_state(), state)
    assert torch.equal(auto_augment(images, "imagenet", generator(device=device)), first)
    torch.rand(1, generator=stream, device=device)
    assert not torch.equal(auto_augment(images, "imagenet", stream), first)
    stream.set_state(state)
    assert torch.equal(auto_augment(images, "imagenet", stream), first)


def test_other_transforms_see_the_same_draws_with_and_without():
    images = some_images(32)
    others = {"crop_padding": 3, "flip": True, "rotate": 20, "brightness": 0.3, "cutout": 5}
    stream, reference = generator(), generator()
    for _ in range(2):
        expected = augment(
            auto_augment(images, "imagenet", reference), AugmentSpec(**others), reference
        )
        out = augment(images, AugmentSpec(auto_augment="imagenet", **others), stream)
        assert torch.equal(out, expected)
        assert torch.equal(stream.get_state(), reference.get_state())


def test_autocast_does_not_blur_rotations_and_shears():
    images = some_images(64)
    expected = auto_augment(images, "svhn", generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = auto_augment(images, "svhn", generator())
    assert torch.equal(out, expected)


def test_the_policies_are_all_of_torchvision_s():
    assert set(POLICIES) == {policy.value for policy in AutoAugmentPolicy}
