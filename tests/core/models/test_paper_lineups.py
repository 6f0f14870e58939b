"""The lineups of the paper: fused, distilled and trained at every fusion depth (section 4.6)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mlfd_tune.core.losses import distillation_loss
from mlfd_tune.core.models import (
    FUSION_DEPTHS,
    Backbone,
    JointTeacher,
    StudentAdaptors,
    finest,
    joint_out_shapes,
    level_shapes,
)

SIZE, CLASSES, IMAGES, WIDTH = 64, 5, 2, 16
LINEUPS = {
    "T1": ("resnet18", "tf_efficientnet_b0", "seresnext26d_32x4d"),
    "T1 of the official code": ("resnet18", "tf_efficientnet_b0", "seresnext26t_32x4d"),
    "T2": ("convnextv2_tiny", "swinv2_tiny_window8_256", "fastvit_sa24"),
}
LEVELS_AT_224 = {
    "resnet18": (512, 256, 128),
    "tf_efficientnet_b0": (1280, 112, 40),
    "seresnext26d_32x4d": (2048, 1024, 512),
    "seresnext26t_32x4d": (2048, 1024, 512),
}
LEVELS_AT_256 = {
    "convnextv2_tiny": (768, 384, 192),
    "swinv2_tiny_window8_256": (768, 384, 192),
    "fastvit_sa24": (1024, 256, 128),
}
CASES = [
    (lineup, depth, student)
    for lineup, archs in LINEUPS.items()
    for student in archs
    for depth in FUSION_DEPTHS
    if lineup != "T1 of the official code" or student == "seresnext26t_32x4d"
]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def made(arch: str, seed: int) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(arch, CLASSES, SIZE)


@pytest.fixture(scope="module")
def teachers() -> dict[str, Backbone]:
    """Every architecture as a frozen teacher."""
    archs = sorted({arch for lineup in LINEUPS.values() for arch in lineup})
    return {arch: made(arch, seed=1).eval() for arch in archs}


@pytest.fixture(scope="module")
def taught(teachers: dict[str, Backbone]) -> dict[str, dict[str, Tensor]]:
    """Each teacher's features of every level of the same images."""
    with torch.no_grad():
        return {
            arch: teacher(draw(IMAGES, 3, SIZE, SIZE), tuple(teacher.level_shapes))[1]
            for arch, teacher in teachers.items()
        }


@pytest.fixture(scope="module")
def students() -> dict[str, Backbone]:
    """Every architecture as a student; no test changes a weight."""
    return {arch: made(arch, seed=2).train() for arch in {student for *_, student in CASES}}


@pytest.mark.parametrize(
    ("arch", "size", "channels"),
    [(arch, 224, channels) for arch, channels in LEVELS_AT_224.items()]
    + [(arch, 256, channels) for arch, channels in LEVELS_AT_256.items()],
)
def test_the_lineups_have_the_papers_maps(
    arch: str, size: int, channels: tuple[int, int, int]
) -> None:
    at_32, at_16, at_8 = channels
    assert level_shapes(arch, size) == {
        "embedding": (at_32,),
        "stride32": (at_32, size // 32, size // 32),
        "stride16": (at_16, size // 16, size // 16),
        "stride8": (at_8, size // 8, size // 8),
    }


@pytest.mark.parametrize(("lineup", "depth", "arch"), CASES)
def test_a_student_learns_from_the_joint_teacher_of_its_lineup(
    lineup: str,
    depth: str,
    arch: str,
    students: dict[str, Backbone],
    teachers: dict[str, Backbone],
    taught: dict[str, dict[str, Tensor]],
) -> None:
    levels, student = FUSION_DEPTHS[depth], students[arch]
    given = {name: taught[name][finest(levels)] for name in LINEUPS[lineup]}
    joint, adaptors = fusion(depth, student, given)
    with torch.no_grad():
        targets = joint(given)
        target_logits = joint.logits(targets["embedding"], "mine")
    assert {level: shape_of(x) for level, x in targets.items()} == joint.out_shapes

    student.zero_grad(set_to_none=True)
    logits, features = student(draw(IMAGES, 3, SIZE, SIZE), levels)
    assert {level: shape_of(x) for level, x in features.items()} == {
        level: student.level_shapes[level] for level in levels
    }
    loss = distillation_loss(
        logits,
        torch.arange(IMAGES) % CLASSES,
        target_logits,
        adaptors(features),
        targets,
        alpha=1.0,
        beta=dict.fromkeys(levels, 1.0),
        temperature=2.0,
    )
    assert all(bool(part.isfinite()) for part in loss.parts.values())
    assert {f"loss_level/{level}" for level in levels} <= loss.parts.keys()

    loss.total.backward()
    gradients = {name: parameter.grad for name, parameter in student.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(bool(g.isfinite().all()) for g in gradients.values() if g is not None)
    frozen = [joint, *teachers.values()]
    assert all(parameter.grad is None for model in frozen for parameter in model.parameters())


def fusion(
    depth: str, student: Backbone, given: dict[str, Tensor]
) -> tuple[JointTeacher, StudentAdaptors]:
    """Return the joint teacher of what the teachers gave, and the student's way to its targets."""
    levels = FUSION_DEPTHS[depth]
    in_shapes = {name: shape_of(features) for name, features in given.items()}
    channels = {level: shape[0] for level, shape in student.level_shapes.items()}
    out_shapes = joint_out_shapes(levels, channels, in_shapes, WIDTH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        joint = JointTeacher(
            levels=levels,
            in_shapes=in_shapes,
            out_shapes=out_shapes,
            num_classes={"mine": CLASSES},
            width=WIDTH,
        ).eval()
        adaptors = StudentAdaptors(student.level_shapes, out_shapes, levels)
    # A joint teacher of maps gives the student's own shapes; its L1 gives the joined embeddings.
    assert bool(list(adaptors.parameters())) == (depth == "L1")
    return joint, adaptors


def shape_of(features: Tensor) -> tuple[int, ...]:
    return tuple(features.shape[1:])
