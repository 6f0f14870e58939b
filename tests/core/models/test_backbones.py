"""Backbones: timm's own logits, and the features of any level, in one pass."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone, check_arch, level_shapes, require_levels

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


@pytest.mark.parametrize("arch", CONVOLUTIONAL)
def test_convolutional_maps_have_the_stride_of_their_level(arch: str) -> None:
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


def test_a_plain_vit_has_the_map_of_its_last_tokens() -> None:
    backbone = seeded_backbone("test_vit").eval()
    with torch.no_grad():
        _, features = backbone(images(), ("stride16",))
        tokens = backbone.model.forward_features(images())[:, -4:]
    assert torch.equal(features["stride16"].flatten(2).transpose(1, 2), tokens)


@pytest.mark.parametrize("arch", ["test_resnet", "test_convnext", "test_vit"])
def test_dropout_is_timms_own_but_leaves_the_embedding_alone(arch: str) -> None:
    backbone = seeded_backbone(arch, drop_rate=0.5).train()
    img_size = {"img_size": 32} if arch == "test_vit" else {}
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
    with pytest.raises(UserError) as raised:
        require_levels("test_vit", 32, ("embedding", "stride32", "stride16", "stride8"))
    assert raised.value.problems == (
        "architecture 'test_vit' has no level 'stride32' at 32 px (it has: embedding, stride16)",
        "architecture 'test_vit' has no level 'stride8' at 32 px (it has: embedding, stride16)",
    )
    with pytest.raises(UserError, match="no level 'stride32'"):
        seeded_backbone("test_vit")(images(), ("stride32",))
    require_levels("test_resnet", 32, ("embedding", "stride32", "stride16", "stride8"))


@pytest.mark.parametrize(
    ("arch", "size", "expected"),
    [
        ("test_vit", 33, "33 px"),
        ("crossvit_tiny_240", 240, "cannot read its levels"),
        ("samvit_base_patch16_224", 224, "not a vector"),
    ],
)
def test_what_cannot_be_read_is_a_clear_error(arch: str, size: int, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as raised:
        level_shapes(arch, size)
    assert "\n" not in str(raised.value)


def test_stochastic_depth_where_there_is_none_is_an_error() -> None:
    no_weights = torch.device("meta")
    with no_weights, pytest.raises(UserError, match="'vgg11' has no stochastic depth"):
        Backbone("vgg11", 7, 64, drop_path_rate=0.1)
