"""The joint teacher: its shapes at every depth, its blocks, its heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import FUSION_DEPTHS, JointTeacher, joint_out_shapes, parse_levels

CHANNELS = {"stride32": 12, "stride16": 10, "stride8": 6}
TEACHERS_AT = {
    "embedding": {"digits": (16,), "letters": (20,), "photos": (24,)},
    "stride32": {"digits": (16, 1, 1), "letters": (20, 1, 1), "photos": (24, 1, 1)},
    "stride16": {"digits": (16, 2, 2), "letters": (20, 2, 2), "photos": (24, 2, 2)},
    "stride8": {"digits": (16, 4, 4), "letters": (20, 3, 3), "photos": (24, 2, 2)},
}
CLASSES = {"digits": 10, "letters": 26, "photos": 17}


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


def features_for(levels: Any, count: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = TEACHERS_AT[parse_levels(levels)[-1]]
    return {
        teacher: torch.randn(count, *shape, generator=generator)
        for teacher, shape in shapes.items()
    }


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(
    ("levels", "adaptor"),
    [
        (levels, adaptor)
        for levels in (*FUSION_DEPTHS, "stride32", "embedding,stride16", "stride32,stride8")
        for adaptor in ("linear", "pointwise", "conv3x3", "none")
        if (levels, adaptor) != ("L1", "conv3x3")  # conv3x3 works on maps only
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
    assert joint_out_shapes(("embedding",), {}, vectors, 8, "none") == {"embedding": (36,)}


def test_plain_l1_is_one_linear_layer_on_the_concatenated_embeddings() -> None:
    model = joint_teacher("L1", "none").eval()
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


def test_the_order_of_mappings_changes_nothing() -> None:
    model = joint_teacher("L3").eval()
    backwards = dict(reversed(TEACHERS_AT["stride16"].items()))
    other = joint_teacher(
        "L3", in_shapes=backwards, num_classes=dict(reversed(CLASSES.items()))
    ).eval()
    features = features_for("L3")
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


def test_group_norm_keeps_the_images_of_a_batch_apart() -> None:
    model = joint_teacher("L3", norm="group").train()
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
    with pytest.raises(ValueError, match="but this joint teacher gives"):
        JointTeacher(
            levels=("embedding",),
            in_shapes={"a": (16,), "b": (20,)},
            out_shapes={"embedding": (35,)},
            num_classes={"a": 3},
            adaptor="none",
            width=8,
        )
