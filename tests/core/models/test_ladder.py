"""The ladder of projectors against a plain NumPy statement of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor

from mlfd_tune.core.models import Backbone, ModelChoiceError
from mlfd_tune.core.models.ladder import LadderOfProjectors, check_rungs

STUDENT = {"embedding": (6,), "stride32": (5, 1, 1), "stride16": (4, 2, 2), "stride8": (3, 4, 4)}
TEACHERS = {
    "cub.200": {"embedding": (7,), "map": (9, 2, 2)},  # a name that no module can bear
    "aircraft": {"embedding": (8,), "map": (2, 3, 3)},
}
RUNGS = ("embedding", "stride32", "stride16", "stride8")


def features(count: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(count, *shape, generator=generator) for name, shape in STUDENT.items()
    }


def ladder(rungs=RUNGS, teachers=TEACHERS, hidden=11, last_hidden=13) -> LadderOfProjectors:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return LadderOfProjectors(STUDENT, teachers, rungs, hidden=hidden, last_hidden=last_hidden)


def projectors(
    of: LadderOfProjectors, teacher: str, token_type: str
) -> dict[str, list[np.ndarray]]:
    """Return weight, bias, weight, bias of every rung's projector."""
    place = of.predicts.index((teacher, token_type))
    return {
        level: [value.detach().numpy() for value in projector.parameters()]
        for level, projector in of.ladders[place].projectors.items()
    }


def mlp(
    x: np.ndarray, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray
) -> np.ndarray:
    hidden = x @ w1.T + b1
    gelu = 0.5 * hidden * (1 + erf(hidden / np.sqrt(2)))
    return gelu @ w2.T + b2


def with_biases(of: LadderOfProjectors) -> LadderOfProjectors:
    """Give every weight a size and every bias a value that show when they are left out."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in of.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return of


@pytest.mark.parametrize("rungs", [RUNGS, ("stride16", "embedding"), ("stride32", "stride8")])
def test_an_embedding_is_predicted_by_the_sum_of_all_rungs_averaged_over_space(rungs):
    made, given = with_biases(ladder(rungs)), features()
    predicted = made(given)
    for teacher in TEACHERS:
        expected = 0.0
        for level, weights in projectors(made, teacher, "embedding").items():
            values = given[level].numpy()
            vectors = values if level == "embedding" else values.mean(axis=(2, 3))
            expected = expected + mlp(vectors, *weights)
        actual = predicted[teacher]["embedding"].detach().numpy()
        assert set(projectors(made, teacher, "embedding")) == set(rungs)
        assert actual.shape == (3, *TEACHERS[teacher]["embedding"])
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_map_is_predicted_position_by_position_from_the_rungs_that_are_maps():
    made, given = with_biases(ladder()), features()
    actual = made(given)["cub.200"]["map"].detach().numpy()
    weights = projectors(made, "cub.200", "map")
    assert set(weights) == {"stride32", "stride16", "stride8"}
    at_2x2 = {
        "stride32": np.broadcast_to(given["stride32"].numpy(), (3, 5, 2, 2)),
        "stride16": given["stride16"].numpy(),
        "stride8": given["stride8"].numpy().reshape(3, 3, 2, 2, 2, 2).mean(axis=(3, 5)),
    }
    assert actual.shape == (3, 4, 9)
    for row, column in np.ndindex(2, 2):
        rungs = [mlp(at_2x2[level][:, :, row, column], *weights[level]) for level in at_2x2]
        predicted = actual[:, 2 * row + column]
        np.testing.assert_allclose(predicted, sum(rungs), rtol=1e-4, atol=1e-5)


def test_a_map_of_any_size_is_predicted_from_maps_of_any_size():
    predicted = ladder()(features())
    assert predicted["aircraft"]["map"].shape == (3, 9, 2)


@pytest.mark.parametrize(
    ("rungs", "last"),
    [
        (RUNGS, {"embedding": "embedding", "map": "stride32"}),
        (("embedding", "stride8", "stride16"), {"embedding": "embedding", "map": "stride16"}),
        (("stride8", "stride16"), {"embedding": "stride16", "map": "stride16"}),
    ],
)
def test_the_coarsest_rung_of_each_token_type_has_the_wide_projector(rungs, last):
    made = ladder(rungs, hidden=11, last_hidden=13)
    for teacher, token_type in made.predicts:
        for level, (first, *_) in projectors(made, teacher, token_type).items():
            assert len(first) == (13 if level == last[token_type] else 11)


def test_the_papers_widths_are_the_default():
    made = LadderOfProjectors(STUDENT, {"one": {"embedding": (8,)}}, ("embedding", "stride32"))
    shapes = {level: of[0].shape for level, of in projectors(made, "one", "embedding").items()}
    assert shapes == {"embedding": (3072, 6), "stride32": (768, 5)}


def test_weights_start_normal_with_a_deviation_of_two_hundredths_and_biases_at_zero():
    made = ladder(hidden=768, last_hidden=3072)
    for name, parameter in made.named_parameters():
        values = parameter.detach()
        if name.endswith("bias"):
            assert not values.any()
        else:
            spread = 4 * 0.02 / np.sqrt(values.numel())  # four standard errors
            assert values.std().item() == pytest.approx(0.02, abs=spread)
            assert abs(values.mean().item()) < spread


def test_the_order_in_which_anything_is_named_does_not_matter():
    turned = {name: dict(reversed(shapes.items())) for name, shapes in reversed(TEACHERS.items())}
    one, other = ladder(), ladder(tuple(reversed(RUNGS)), turned)
    assert one.teachers == other.teachers == ("aircraft", "cub.200")
    assert one.predicts == other.predicts
    given = features()
    for teacher, predicted in one(given).items():
        for token_type, values in predicted.items():
            assert torch.equal(values, other(given)[teacher][token_type])


def test_only_the_token_types_that_a_teacher_has_are_predicted():
    made = ladder(("embedding",), {"one": {"embedding": (8,)}})
    assert {name: set(by_type) for name, by_type in made(features()).items()} == {
        "one": {"embedding"}
    }


def test_every_rung_of_a_real_student_gets_a_gradient_from_every_teacher_alone():
    backbone = Backbone("test_efficientnet", 10, 32).train()
    made = LadderOfProjectors(backbone.level_shapes, TEACHERS, RUNGS, hidden=8, last_hidden=8)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    _, given = backbone(images, RUNGS)
    leaves = {level: values.detach().requires_grad_() for level, values in given.items()}
    for predicted in made(leaves).values():
        for token_type, values in predicted.items():
            gradients = torch.autograd.grad(
                values.sum(), leaves.values(), retain_graph=True, allow_unused=True
            )
            reached = {
                level for level, grad in zip(leaves, gradients, strict=True) if grad is not None
            }
            expected = set(RUNGS) - ({"embedding"} if token_type == "map" else set())
            assert reached == expected


def test_a_ladder_without_a_map_cannot_predict_maps():
    with pytest.raises(ModelChoiceError, match=r"rungs embedding cannot predict maps.*stride32"):
        ladder(("embedding",))
    with pytest.raises(ModelChoiceError, match="did you mean 'stride16'"):
        check_rungs(("stride61",), ("embedding",))
    with pytest.raises(ModelChoiceError, match="levels must be"):
        check_rungs((), ("embedding",))
    check_rungs(("embedding",), ("embedding",))
