"""UNIC's loss between a student's features and one teacher's."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from mlfd_tune.core.losses.directions import cosine_similarity
from mlfd_tune.core.losses.precision import full_precision, without_autocast

__all__ = ["unic_feature_loss"]


def unic_feature_loss(student: Tensor, target: Tensor) -> Tensor:
    """Return half of ``1 - cosine`` and half of the smooth L1 distance, for each image.

    Both halves are per token: the cosine over its D elements, the smooth L1 distance (beta 1) the
    mean over them. An image has the mean over its tokens (Sariyildiz et al., "UNIC: Universal
    Classification Models via Multi-teacher Distillation", ECCV 2024; the official code). Computed
    in float32, or in float64 where the student is; without gradient to the target.

    Args:
        student: Vectors ``(N, D)`` or tokens ``(N, L, D)``.
        target: One teacher's, of the same shape.

    Returns:
        The losses ``(N,)``, of which `teacher_weights` takes a column for each teacher.

    Raises:
        ValueError: When the shapes differ or are of neither form.
    """
    if student.shape != target.shape or student.ndim not in (2, 3):
        raise ValueError(
            f"the target has shape {tuple(target.shape)}, the student {tuple(student.shape)}; "
            "both must be (N, D) or (N, L, D)"
        )
    with without_autocast(student):
        student = full_precision(student)
        target = target.detach().to(dtype=student.dtype)
        distance = F.smooth_l1_loss(student, target, reduction="none", beta=1.0).mean(dim=-1)
        per_token = 0.5 * (1 - cosine_similarity(student, target, dim=-1)) + 0.5 * distance
        return per_token.reshape(len(student), -1).mean(dim=1)
