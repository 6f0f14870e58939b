"""The joint teacher: its shapes at every depth, its blocks, its heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import (
    FUSION_DEPTHS,
    Backbone,
    JointTeacher,
    adaptor_kinds,
    joint_out_shapes,
    parse_levels,
)

CHANNELS = {"stride32": 12, "stride16": 10, "stride8": 6}
TEACHERS_AT = {
    "embedding": {"digits": (16,), "letters": (20,), "photos": (24,)},
    "stride32": {"digits": (16, 1, 1), "letters": (20, 1, 1), "photos": (24, 1, 1)},
    "stride16": {"digits": (16, 2, 2), "letters": (20, 2, 2), "photos": (24, 2, 2)},
    "stride8": {"digits": (16, 4, 4), "letters": (20, 3, 3), "photos": (24, 2, 2)},
}
CLASSES = {"digits": 10, "letters": 26, "photos": 17}
MAPS_ONLY = ("conv3x3", "depthwise_separable")


def joint_teacher(levels: Any, adaptor: str = "pointwise", **settings: Any) -> JointTeacher:
    levels = parse_levels(levels)
    in_shapes = settings.pop("in_shapes", TEACHERS_AT[levels[-1]])
    settings = {"width": 8, "num_classes": CLASSES} | settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return JointTeacher(
            levels=levels,
            in_shapes=in_shapes,
            out_shapes=joint_out_shapes(levels, CHANNELS, in_shapes, settings["width"], adaptor),
            adaptor=adaptor,
            **settings,
        )


def features_for(
    levels: Any, count: int = 4, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = shapes or TEACHERS_AT[parse_levels(levels)[-1]]
    return {
        teacher: torch.randn(count, *shape, generator=generator)
        for teacher, shape in shapes.items()
    }


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
@pytest.mark.parametrize(
    ("levels", "adaptor"),
    [
        (levels, adaptor)
        for levels in (*FUSION_DEPTHS, "stride32", "embedding,stride16", "stride32,stride8")
        for adaptor in adaptor_kinds()
        if levels != "L1" or adaptor not in MAPS_ONLY
    ],
)
def test_every_level_comes_out_as_announced_and_every_dataset_has_its_logits(
    levels: str, adaptor: str, norm: str
) -> None:
    model = joint_teacher(levels, adaptor, norm=norm)
    fused = model(features_for(levels))
    assert {level: tuple(x.shape[1:]) for level, x in fused.items()} == model.out_shapes
    assert set(parse_levels(levels)) <= set(fused)
    for dataset, classes in CLASSES.items():
        assert tuple(model.logits(fused["embedding"], dataset).shape) == (4, classes)


def test_shapes_follow_the_student_and_the_largest_teacher_map() -> None:
    teachers = {"a": (16, 5, 5), "b": (20, 3, 6)}
    assert joint_out_shapes(FUSION_DEPTHS["L4"], CHANNELS, teachers, width=8) == {
        "embedding": (12,),
        "stride32": (12, 2, 2),
        "stride16": (10, 3, 3),
        "stride8": (6, 5, 6),
    }
    vectors = {"a": (16,), "b": (20,)}
    assert joint_out_shapes(("embedding",), {}, vectors, width=8) == {"embedding": (16,)}
    assert joint_out_shapes(("embedding",), {}, vectors, 8, "identity") == {"embedding": (36,)}


def test_plain_l1_is_one_linear_layer_on_the_concatenated_embeddings() -> None:
    model = joint_teacher("L1", "identity").eval()
    features = features_for("L1")
    embedding = model(features)["embedding"]
    stacked = np.concatenate(
        [features[name].numpy() for name in ("digits", "letters", "photos")], 1
    )
    assert np.array_equal(embedding.numpy(), stacked)
    head = model.heads["of_letters"]
    assert isinstance(head, nn.Linear)
    expected = stacked @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    logits = model.logits(embedding, "letters").detach().numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert sum(p.numel() for p in model.trunk.parameters()) == 0


def test_the_embedding_is_the_average_of_the_coarsest_map() -> None:
    fused = joint_teacher("L3").eval()(features_for("L3"))
    torch.testing.assert_close(fused["embedding"], fused["stride32"].mean(dim=(2, 3)))


def test_l2_is_fuse_norm_gelu_mix_norm_gelu() -> None:
    model = joint_teacher("L2", "linear", norm="batch").eval().double()
    features = {name: x.double() for name, x in features_for("L2").items()}

    def channels_last(x: Tensor) -> np.ndarray:
        return x.detach().numpy()[:, :, 0, 0]

    def gelu(x: np.ndarray) -> np.ndarray:
        erf = torch.erf(torch.from_numpy(x / np.sqrt(2))).numpy()
        return x * (1 + erf) / 2

    def untrained_norm(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt(1 + 1e-5)

    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    joined = np.concatenate(
        [
            channels_last(features[name])
            @ weights[f"adaptors.of_{name}.project.weight"][:, :, 0, 0].T
            + weights[f"adaptors.of_{name}.project.bias"]
            for name in ("digits", "letters", "photos")
        ],
        axis=1,
    )
    mixed = gelu(untrained_norm(joined)) @ weights["trunk.blocks.stride32.0.weight"][:, :, 0, 0].T
    expected = gelu(untrained_norm(mixed))
    np.testing.assert_allclose(channels_last(model(features)["stride32"]), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("levels", "adaptor", "settings"),
    [
        ("L3", "pointwise", {}),
        ("L1", "transformer", {"depth": 2, "residual": True}),
        ("L4", "bottleneck", {"depth": 2, "residual": True, "alignment": "strided_conv"}),
    ],
)
def test_the_order_of_mappings_changes_nothing(
    levels: str, adaptor: str, settings: dict[str, Any]
) -> None:
    model = joint_teacher(levels, adaptor, **settings).eval()
    backwards = dict(reversed(TEACHERS_AT[parse_levels(levels)[-1]].items()))
    classes = dict(reversed(CLASSES.items()))
    other = joint_teacher(
        levels, adaptor, in_shapes=backwards, num_classes=classes, **settings
    ).eval()
    features = features_for(levels)
    for level, value in model(features).items():
        assert torch.equal(value, other(dict(reversed(features.items())))[level])


def test_a_datasets_class_count_leaves_the_trunks_initialisation_alone() -> None:
    model = joint_teacher("L2")
    other = joint_teacher("L2", num_classes=CLASSES | {"digits": 11})
    for part in ("adaptors", "trunk"):
        for one, two in zip(
            getattr(model, part).parameters(), getattr(other, part).parameters(), strict=True
        ):
            assert torch.equal(one, two)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_group_and_layer_norm_keep_the_images_of_a_batch_apart(norm: str) -> None:
    model = joint_teacher("L3", norm=norm).train()
    features = features_for("L3")
    alone = model({name: x[:1] for name, x in features.items()})
    together = model(features)
    for level in together:
        torch.testing.assert_close(together[level][:1], alone[level], atol=1e-5, rtol=1e-5)


def test_cached_half_precision_features_are_taken_as_they_are() -> None:
    model = joint_teacher("L2").eval()
    halves = {name: x.half() for name, x in features_for("L2").items()}
    assert model(halves)["stride32"].dtype == torch.float32


def test_every_parameter_learns_from_a_batch_of_all_datasets() -> None:
    model = joint_teacher("L4", dropout=0.0).train()
    embedding = model(features_for("L4"))["embedding"]
    sum(model.logits(embedding, name).square().sum() for name in CLASSES).backward()  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def many_teachers(level: str, count: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of teachers that differ in channels, input size and aspect."""
    halved = {"stride32": 0, "stride16": 1, "stride8": 2}.get(level, 0)
    sizes = [(1, 1), (2, 2), (2, 1), (3, 3), (1, 2)]
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(count):
        height, width = (side << halved for side in sizes[i % len(sizes)])
        shapes[f"teacher {i}"] = (8 + i,) if level == "embedding" else (8 + i, height, width)
    return shapes


@pytest.mark.parametrize("count", [2, 20])
@pytest.mark.parametrize(
    ("adaptor", "settings"),
    [
        ("pointwise", {}),
        ("identity", {"norm": "layer", "depth": 3}),
        ("linear", {"norm": "group", "residual": True, "alignment": "interpolate"}),
        ("bottleneck", {"norm": "group", "depth": 2, "alignment": "strided_conv"}),
        ("transformer", {"norm": "layer", "depth": 2, "residual": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.parametrize("levels", FUSION_DEPTHS)
def test_a_few_or_many_teachers_of_any_shape_fuse_and_all_learn(
    levels: str, adaptor: str, settings: dict[str, Any], count: int
) -> None:
    shapes = many_teachers(parse_levels(levels)[-1], count)
    model = joint_teacher(levels, adaptor, in_shapes=shapes, width=16, dropout=0.0, **settings)
    fused = model.train()(features_for(levels, shapes=shapes))
    assert {level: tuple(x.shape[1:]) for level, x in fused.items()} == model.out_shapes
    if levels != "L1":
        finest = model.out_shapes[parse_levels(levels)[-1]][1:]
        assert finest == tuple(max(shape[side] for shape in shapes.values()) for side in (1, 2))
    logits = [model.logits(fused["embedding"], name) for name in CLASSES]
    sum(torch.nn.functional.cross_entropy(x, torch.arange(4)) for x in logits).backward()  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for name in model.teachers:
        for parameter in model.adaptors[f"of_{name}"].parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 0, name


def test_teachers_of_other_architectures_and_image_sizes_fuse() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbones = {
            f"{arch} at {size}": Backbone(arch, 3, size).eval()
            for arch, size in (
                ("test_resnet", 32),
                ("test_convnext", 64),
                ("test_efficientnet", 96),
            )
        }
    generator = torch.Generator().manual_seed(0)
    features = {}
    for name, backbone in backbones.items():
        images = torch.randn(2, 3, backbone.image_size, backbone.image_size, generator=generator)
        with torch.no_grad():
            features[name] = backbone(images, ("stride16",))[1]["stride16"]
    shapes = {name: backbone.level_shapes["stride16"] for name, backbone in backbones.items()}
    assert len({shape[1:] for shape in shapes.values()}) == 3
    fused = joint_teacher("L3", in_shapes=shapes)(features)
    assert tuple(fused["stride16"].shape) == (2, 10, 6, 6)
    assert tuple(fused["stride32"].shape) == (2, 12, 3, 3)


def plain_network(levels: tuple[str, ...]) -> dict[str, Tensor]:
    """Draw the network of the paper as it is without residual, depth or alignment: by hand."""
    state: dict[str, Tensor] = {}

    def add(name: str, module: nn.Module) -> None:
        state.update({f"{name}.{key}": value for key, value in module.state_dict().items()})

    vectors = levels == ("embedding",)
    shapes = TEACHERS_AT[levels[-1]]
    for name in ("digits", "letters", "photos"):
        channels = shapes[name][0]
        # Adaptors of smaller maps are followed by the interpolation.
        place = ".0" if shapes[name][1:] != shapes["digits"][1:] else ""
        project = nn.Linear(channels, 8) if vectors else nn.Conv2d(channels, 8, 1)
        norm = nn.BatchNorm1d(channels) if vectors else nn.BatchNorm2d(channels)
        add(f"adaptors.of_{name}{place}.project", project)
        add(f"adaptors.of_{name}{place}.norm", norm)
    width = 24
    if not vectors:
        add("trunk.fuse.0", nn.BatchNorm2d(24))
    for level in reversed(levels[1:]):
        channels, block = CHANNELS[level], f"trunk.blocks.{level}"
        if level == levels[-1]:
            add(f"{block}.0", nn.Conv2d(width, channels, 1, bias=False))
            add(f"{block}.1", nn.BatchNorm2d(channels))
        else:
            add(f"{block}.0", nn.Conv2d(width, channels, 3, bias=False))
            add(f"{block}.1", nn.BatchNorm2d(channels))
            add(f"{block}.3", nn.Conv2d(channels, channels, 1, bias=False))
            add(f"{block}.4", nn.BatchNorm2d(channels))
        width = channels
    for name, classes in CLASSES.items():
        add(f"heads.of_{name}", nn.Linear(width, classes))
    return state


@pytest.mark.parametrize("levels", FUSION_DEPTHS)
def test_at_its_defaults_the_network_is_the_plain_one_to_the_draw(levels: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = plain_network(parse_levels(levels))
    model = joint_teacher(levels)
    state = model.state_dict()
    assert set(state) == set(expected)
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
    same = joint_teacher(levels, residual=False, alignment="pool", depth=1)
    features = features_for(levels)
    for level, value in model(features).items():
        assert torch.equal(same(features)[level], value)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_depth_is_the_number_of_1x1_convolutions_each_block_ends_in(depth: int) -> None:
    model = joint_teacher("L4", depth=depth)
    convolutions = {
        level: [
            (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0])
            for layer in block.modules()
            if isinstance(layer, nn.Conv2d)
        ]
        for level, block in model.trunk.blocks.items()  # type: ignore[union-attr, operator]
    }
    assert convolutions == {
        "stride8": [(24, 6, 1, 1), *[(6, 6, 1, 1)] * (depth - 1)],
        "stride16": [(6, 10, 3, 2), *[(10, 10, 1, 1)] * depth],
        "stride32": [(10, 12, 3, 2), *[(12, 12, 1, 1)] * depth],
    }


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_at_l1_depth_adds_feed_forward_blocks_before_the_heads(depth: int) -> None:
    model = joint_teacher("L1", "identity", depth=depth).eval().double()
    features = {name: x.double() for name, x in features_for("L1").items()}
    expected = torch.cat([features[name] for name in ("digits", "letters", "photos")], dim=1)
    weights = dict(model.trunk.named_parameters())
    assert len(weights) == 3 * (depth - 1)  # of the linear layer, and two of its norm
    for block in range(depth - 1):
        weight = weights[f"blocks.{block}.0.weight"]
        assert tuple(weight.shape) == (60, 60)
        x = (expected @ weight.T / np.sqrt(1 + 1e-5)).detach()  # the norm is untrained
        expected = x * (1 + torch.erf(x / np.sqrt(2))) / 2
    torch.testing.assert_close(model(features)["embedding"], expected)


def test_residuals_go_around_every_adaptor() -> None:
    plain, residual = joint_teacher("L2", "linear"), joint_teacher("L2", "linear", residual=True)
    names = {name for name, _ in residual.adaptors.named_parameters()}
    blocks = {
        name.replace("project", "block.project") for name, _ in plain.adaptors.named_parameters()
    }
    assert names - blocks == {f"of_{name}.skip.weight" for name in CLASSES}


def test_names_that_modules_cannot_have_are_fine() -> None:
    names = {"train": 2, "v1.0": 3, "type": 4}
    model = joint_teacher("L1", num_classes=names, in_shapes=dict.fromkeys(names, (5,)))
    embedding = model({name: torch.ones(2, 5) for name in names})["embedding"]
    assert [model.logits(embedding, name).shape[1] for name in names] == [2, 3, 4]


def test_a_joint_teacher_of_one_teacher_is_the_own_teacher_control() -> None:
    model = joint_teacher("L2", in_shapes={"digits": (16, 1, 1)}, num_classes={"digits": 10})
    assert set(model(features_for("L2"))) == {"embedding", "stride32"}


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(UserError, match="maps only"):
        joint_teacher("L1", "conv3x3")
    with pytest.raises(UserError, match="only scale them"):
        joint_teacher("L1", "identity", residual=True)
    with pytest.raises(UserError, match=r"depth is 0 \(allowed: 1 or more\)"):
        joint_teacher("L2", depth=0)
    with pytest.raises(UserError, match="did you mean 'strided_conv'"):
        joint_teacher("L2", alignment="strided")
    with pytest.raises(UserError, match="did you mean 'linear'"):
        joint_out_shapes(("embedding",), {}, {"a": (16,)}, 8, "liner")
    with pytest.raises(ValueError, match="but this joint teacher gives"):
        JointTeacher(
            levels=("embedding",),
            in_shapes={"a": (16,), "b": (20,)},
            out_shapes={"embedding": (35,)},
            num_classes={"a": 3},
            adaptor="identity",
            width=8,
        )
