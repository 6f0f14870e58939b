"""Backbones: timm's own logits, and the features of any level, in one pass."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models import VisionTransformer, _registry
from torch import Tensor

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import (
    FUSION_DEPTHS,
    Backbone,
    JointTeacher,
    check_arch,
    joint_out_shapes,
    level_shapes,
    require_levels,
)

CONVOLUTIONAL = [
    "test_resnet",
    "test_efficientnet",
    "test_convnext",
    "test_mambaout",  # gives (N, H, W, C), and has a hidden layer in its head
    "test_byobnet",
    "test_nfnet",
]
ARCHS = [*CONVOLUTIONAL, "test_vit"]


def images(count: int = 3, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def seeded_backbone(arch: str, size: int = 32, **settings: float) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Backbone(arch, 7, size, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("arch", ARCHS)
def test_logits_are_those_of_timm_whatever_levels_are_asked_for(arch: str) -> None:
    backbone = seeded_backbone(arch).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        img_size = {"img_size": 32} if arch == "test_vit" else {}
        plain = timm.create_model(arch, num_classes=7, **img_size).eval()
    with torch.no_grad():
        expected = plain(images())
        for levels in ((), ("embedding",), tuple(backbone.level_shapes)):
            logits, features = backbone(images(), levels)
            assert torch.equal(logits, expected)
            assert tuple(features) == levels


@pytest.mark.parametrize("arch", ARCHS)
def test_features_have_the_announced_shapes_and_the_embedding_is_what_the_classifier_takes(
    arch: str,
) -> None:
    backbone = seeded_backbone(arch).eval()
    with torch.no_grad():
        _, features = backbone(images(), tuple(backbone.level_shapes))
        final = backbone.model.forward_features(images())
        before_classifier = backbone.model.forward_head(final, pre_logits=True)  # type: ignore[call-arg]
    assert {name: tuple(x.shape[1:]) for name, x in features.items()} == backbone.level_shapes
    assert backbone.level_shapes == level_shapes(arch, 32)
    assert torch.equal(features["embedding"], before_classifier)


@pytest.mark.parametrize("arch", ARCHS)
def test_maps_have_the_stride_of_their_level(arch: str) -> None:
    shapes = level_shapes(arch, 64)
    sizes = {level: shape[1:] for level, shape in shapes.items()}
    assert sizes == {"embedding": (), "stride32": (2, 2), "stride16": (4, 4), "stride8": (8, 8)}


@pytest.mark.parametrize(
    ("arch", "at_32", "at_16", "at_8"),
    [
        ("resnet18", 512, 256, 128),
        ("tf_efficientnet_b0", 1280, 112, 40),
        ("seresnext26d_32x4d", 2048, 1024, 512),
    ],
)
def test_the_papers_first_lineup_has_the_papers_maps(
    arch: str, at_32: int, at_16: int, at_8: int
) -> None:
    assert level_shapes(arch, 224) == {
        "embedding": (at_32,),
        "stride32": (at_32, 7, 7),
        "stride16": (at_16, 14, 14),
        "stride8": (at_8, 28, 28),
    }


@pytest.mark.parametrize(
    ("arch", "channels"),
    [("convnextv2_tiny", 768), ("swinv2_tiny_window8_256", 768), ("fastvit_sa24", 1024)],
)
def test_the_papers_second_lineup_has_maps_of_8_pixels(arch: str, channels: int) -> None:
    assert level_shapes(arch, 256)["stride32"] == (channels, 8, 8)


def test_the_coarsest_map_is_the_one_the_features_end_in() -> None:
    backbone = seeded_backbone("test_mambaout", 64).eval()
    with torch.no_grad():
        _, features = backbone(images(size=64), ("stride32",))
        final = backbone.model.forward_features(images(size=64))
    assert torch.equal(features["stride32"], final.permute(0, 3, 1, 2))


def test_a_plain_vit_has_its_levels_by_depth() -> None:
    """Blocks 6, 4 and 3 of 6, after the last norm, at 2, 4 and 8 a side where tokens are 4."""
    backbone = seeded_backbone("test_vit", 64).eval()
    blocks: list[Tensor] = []
    for block in backbone.model.blocks:
        block.register_forward_hook(lambda _, __, out: blocks.append(out))
    with torch.no_grad():
        _, features = backbone(images(size=64), ("stride32", "stride16", "stride8"))
        maps = [
            backbone.model.norm(blocks[number - 1])[:, -16:].transpose(1, 2).reshape(3, -1, 4, 4)
            for number in (6, 4, 3)
        ]
    last, at_3_quarters, at_half = (map_.double().numpy() for map_ in maps)
    averaged = last.reshape(3, -1, 2, 2, 2, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(features["stride32"].numpy(), averaged, atol=1e-5)
    np.testing.assert_allclose(features["stride16"].numpy(), at_3_quarters, atol=1e-5)
    np.testing.assert_allclose(features["stride8"].numpy(), doubled(at_half), atol=1e-5)


def doubled(maps: np.ndarray) -> np.ndarray:
    """Interpolate maps linearly to twice their sides, pixel centres aligned."""
    for axis in (2, 3):
        side = maps.shape[axis]
        at = np.clip((np.arange(2 * side) + 0.5) / 2 - 0.5, 0, side - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, side - 1)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        maps = np.take(maps, low, axis) * (1 - share) + np.take(maps, high, axis) * share
    return maps


def test_a_network_of_two_blocks_has_three_levels_from_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def vit_of_two_blocks(num_classes: int, **_: Any) -> VisionTransformer:
        return VisionTransformer(
            img_size=32, num_classes=num_classes, embed_dim=16, depth=2, num_heads=2
        )

    monkeypatch.setitem(_registry._model_entrypoints, "vit_of_two_blocks", vit_of_two_blocks)
    backbone = seeded_backbone("vit_of_two_blocks").eval()
    with torch.no_grad():
        _, features = backbone(images(), ("stride32", "stride16", "stride8"))
    assert {level: tuple(x.shape) for level, x in features.items()} == {
        "stride32": (3, 16, 1, 1),
        "stride16": (3, 16, 2, 2),
        "stride8": (3, 16, 4, 4),
    }


@pytest.mark.parametrize("size", [100, 150, 299])
@pytest.mark.parametrize(
    "arch", ["inception_v3", "vgg11", "pit_ti_224", "resnet18", "tf_efficientnet_b0", "pit_b_224"]
)
def test_maps_have_the_size_of_their_level_whatever_stem_or_padding(arch: str, size: int) -> None:
    shapes = level_shapes(arch, size)
    for level, stride in (("stride32", 32), ("stride16", 16), ("stride8", 8)):
        assert shapes[level][1:] == (math.ceil(size / stride),) * 2


@pytest.mark.parametrize("depth", ["L2", "L3", "L4"])
def test_families_whose_own_maps_differ_are_fused_and_need_no_student_adaptor(depth: str) -> None:
    levels, archs = FUSION_DEPTHS[depth], ("pit_ti_224", "test_resnet", "test_vit")
    models = {arch: seeded_backbone(arch, 80).eval() for arch in archs}
    with torch.no_grad():
        given = {arch: model(images(size=80), levels)[1] for arch, model in models.items()}
    in_shapes = {arch: model.level_shapes[levels[-1]] for arch, model in models.items()}
    for student in models.values():
        channels = {level: shape[0] for level, shape in student.level_shapes.items()}
        shapes = joint_out_shapes(levels, channels, in_shapes, 8)
        with torch.random.fork_rng(devices=[]):
            joint = JointTeacher(
                levels=levels,
                in_shapes=in_shapes,
                out_shapes=shapes,
                num_classes={"mine": 7},
                width=8,
            )
        fused = joint({arch: features[levels[-1]] for arch, features in given.items()})
        for level in levels[1:]:
            assert tuple(fused[level].shape[1:]) == student.level_shapes[level]


def test_the_embedding_is_what_all_classifiers_take_whose_logits_are_averaged() -> None:
    backbone = seeded_backbone("deit_tiny_distilled_patch16_224").eval()
    with torch.no_grad():
        logits, features = backbone(images(), ("embedding",))
        tokens = backbone.model.forward_features(images())
    model = backbone.model
    assert torch.equal(features["embedding"], torch.cat([tokens[:, 0], tokens[:, 1]], dim=1))
    weight = torch.cat([model.head.weight, model.head_dist.weight], dim=1) / 2
    bias = (model.head.bias + model.head_dist.bias) / 2
    torch.testing.assert_close(logits, features["embedding"] @ weight.T + bias)


def test_two_classifiers_of_one_vector_have_it_once_as_embedding() -> None:
    backbone = seeded_backbone("swiftformer_xs").eval()
    with torch.no_grad():
        _, features = backbone(images(), ("embedding",))
        final = backbone.model.forward_features(images())
        before_classifiers = backbone.model.forward_head(final, pre_logits=True)  # type: ignore[call-arg]
    assert torch.equal(features["embedding"], before_classifiers)


def test_a_pass_that_failed_leaves_nothing_behind() -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    backbone = seeded_backbone("test_resnet").eval()
    with torch.no_grad():
        expected = backbone(images(), ("embedding",))[1]["embedding"]
        handle = backbone.model.get_classifier().register_forward_hook(fail)  # type: ignore[union-attr]
        with pytest.raises(RuntimeError, match="out of memory"):
            backbone(images(), ("embedding",))
        handle.remove()
        assert torch.equal(backbone(images(), ("embedding",))[1]["embedding"], expected)


@pytest.mark.parametrize(
    "arch",
    [
        "test_resnet",
        "test_convnext",
        "test_vit",
        "swiftformer_xs",  # two classifiers of one vector
        "deit_tiny_distilled_patch16_224",  # two classifiers, a token each
        "levit_128s",  # dropout between a norm and the last layer
    ],
)
def test_dropout_is_timms_own_but_leaves_the_embedding_alone(arch: str) -> None:
    backbone = seeded_backbone(arch, drop_rate=0.5).train()
    fixed_size = timm.get_pretrained_cfg(arch).fixed_input_size
    img_size = {"img_size": 32} if fixed_size else {}
    plain = timm.create_model(arch, num_classes=7, drop_rate=0.5, **img_size).train()
    plain.load_state_dict(backbone.model.state_dict())

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        logits, features = backbone(images(), ("embedding",))
        torch.manual_seed(1)
        expected = plain(images())
        backbone.dropout.eval()
        _, without_dropout = backbone(images(), ("embedding",))
    assert torch.equal(logits, expected)
    assert torch.equal(features["embedding"], without_dropout["embedding"])


def test_taking_levels_moves_no_draw_and_no_running_statistic() -> None:
    plain, observed = (
        seeded_backbone("test_efficientnet", drop_rate=0.3, drop_path_rate=0.3).train()
        for _ in range(2)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        logits, _ = plain(images())
        torch.manual_seed(1)
        same_logits, _ = observed(images(), tuple(observed.level_shapes))
    assert torch.equal(logits, same_logits)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, observed.state_dict()[name]), name


def test_asking_for_shapes_moves_no_random_draw() -> None:
    before = torch.get_rng_state()
    level_shapes("resnet10t", 96)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_level_gives_gradients_to_the_backbone() -> None:
    backbone = seeded_backbone("test_resnet").train()
    for level in backbone.level_shapes:
        backbone.zero_grad()
        backbone(images(), (level,))[1][level].square().sum().backward()
        assert next(backbone.parameters()).grad is not None


def test_a_deep_copy_sees_its_own_features() -> None:
    backbone = seeded_backbone("test_resnet").eval()
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(2)
        _, features = backbone(images(), ("embedding",))
        _, others = other(images(), ("embedding",))
    assert not torch.equal(features["embedding"], others["embedding"])


def test_an_unknown_architecture_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"unknown architecture 'resnt18'.*did you mean 'resnet18'"):
        check_arch("resnt18")
    with pytest.raises(UserError, match="resnet18"):
        Backbone("resnt18", 7, 32)
    with pytest.raises(UserError, match=r"did you mean 'resnet18.a1_in1k'"):
        check_arch("resnet18.a1_in1")
    with pytest.raises(ValueError, match="not None"):
        check_arch(None)  # type: ignore[arg-type]
    check_arch("resnet18.a1_in1k")


def test_a_level_the_architecture_lacks_is_an_error_that_names_those_it_has() -> None:
    has = "(it has: embedding, stride16, stride8)"
    with pytest.raises(UserError) as raised:
        require_levels("nest_tiny", 224, ("embedding", "stride32", "stride16", "stride8"))
    assert raised.value.problems == (
        f"architecture 'nest_tiny' has no level 'stride32' at 224 px {has}",
    )
    with pytest.raises(
        UserError, match=r"no level 'stride8' at 64 px \(it has: embedding, stride32"
    ):
        seeded_backbone("shvit_s1", 64)(images(size=64), ("stride8",))
    require_levels("test_vit", 32, ("embedding", "stride32", "stride16", "stride8"))


@pytest.mark.parametrize(
    ("arch", "size", "expected"),
    [
        ("test_vit", 33, "'test_vit'.* 33 px .*made for 160 px"),
        ("halonet_h1", 64, "'halonet_h1'.* 64 px .*made for 256 px"),
        ("inception_v3", 32, "'inception_v3'.* 32 px .*made for 299 px"),
    ],
)
def test_a_size_that_does_not_suit_is_an_error_that_names_one_that_does(
    arch: str, size: int, expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as raised:
        level_shapes(arch, size)
    assert "\n" not in str(raised.value)


def test_stochastic_depth_where_there_is_none_is_an_error() -> None:
    no_weights = torch.device("meta")
    with no_weights, pytest.raises(UserError, match="'vgg11' has no stochastic depth"):
        Backbone("vgg11", 7, 64, drop_path_rate=0.1)
