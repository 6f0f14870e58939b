"""How often a comparison claims what is not there, and finds what is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special

from mlfd_tune.ablation.comparison import compare
from mlfd_tune.ablation.statistics import look_confidences

ABLATIONS = 2_000
ALPHA = 0.05


def simulated(
    arms: int, seeds: int, effect: float, seed: int, ablations: int = ABLATIONS
) -> np.ndarray:
    """Accuracies `(ablation, arm, seed)`: a shared effect of the seed, and noise of every run.

    Arm 0 is the reference. Arm 1 is better by `effect` times the spread of a paired difference.
    """
    rng = np.random.default_rng(seed)
    of_seed = rng.normal(0, 2.0, size=(ablations, 1, seeds))
    values = 70 + of_seed + rng.normal(0, 0.5, size=(ablations, arms, seeds))
    values[:, 1] += effect * 0.5 * math.sqrt(2)
    return values


def verdicts(values: np.ndarray) -> list[list[str]]:
    """What is said of every arm but the reference, by ablation."""
    found = []
    for ablation in values.tolist():
        arms = {
            str(number): dict(enumerate(map(float, arm))) for number, arm in enumerate(ablation)
        }
        by_text = {name: {str(s): v for s, v in arm.items()} for name, arm in arms.items()}
        reference = by_text.pop("0")
        found.append([one.verdict for one in compare(by_text, reference).values()])
    return found


def share_of_claims(found: list[list[str]]) -> float:
    """Ablations with one claim or more."""
    return sum("higher" in one or "lower" in one for one in found) / len(found)


def monte_carlo(share: float, runs: int = ABLATIONS) -> float:
    """Three standard errors of a share."""
    return 3 * math.sqrt(share * (1 - share) / runs)


@pytest.mark.parametrize(("arms", "seeds"), [(2, 6), (3, 7), (4, 8)])
def test_null_ablations_make_a_false_claim_no_more_often_than_allowed(
    arms: int, seeds: int
) -> None:
    share = share_of_claims(verdicts(simulated(arms, seeds, effect=0.0, seed=arms)))

    assert share <= ALPHA + monte_carlo(ALPHA)
    assert share > 0  # the test is not blind either


def test_six_seeds_of_one_comparison_claim_exactly_as_often_as_their_floor() -> None:
    # Claimed if all six differences have one sign: 2 / 2**6 of the time under the null hypothesis.
    runs, floor = 4 * ABLATIONS, 2 / 2**6
    share = share_of_claims(verdicts(simulated(2, 6, effect=0.0, seed=11, ablations=runs)))
    assert share == pytest.approx(floor, abs=monte_carlo(floor, runs))


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_an_effect_is_found_as_often_as_it_should_be(effect: float) -> None:
    # All six of one sign, each positive with probability Phi(effect).
    expected = special.ndtr(effect) ** 6 + special.ndtr(-effect) ** 6
    found = verdicts(simulated(2, 6, effect, seed=12))
    assert share_of_claims(found) == pytest.approx(expected, abs=monte_carlo(expected))
    assert sum(one == ["lower"] for one in found) <= 0.01 * ABLATIONS


def test_more_seeds_find_more() -> None:
    shares = [
        sum(one[0] == "higher" for one in verdicts(simulated(3, n, 1.2, n, ablations=600))) / 600
        for n in (7, 9, 12)
    ]
    assert all(after > before + 0.05 for before, after in itertools.pairwise(shares))
    assert shares[-1] > 0.9


@pytest.mark.parametrize(("arms", "seeds"), [(2, 5), (3, 6), (4, 6), (8, 7)])
def test_too_few_seeds_claim_nothing_however_large_the_effect(arms: int, seeds: int) -> None:
    found = verdicts(simulated(arms, seeds, effect=50.0, seed=1, ablations=100))
    assert {verdict for one in found for verdict in one} == {"too few seeds"}


def excluded(differences: np.ndarray, counts: list[int], confidences: list[float]) -> np.ndarray:
    """Whether the interval of each look leaves zero, the true difference, out."""
    out = []
    for n, confidence in zip(counts, confidences, strict=True):
        seen = differences[:, :n]
        half = special.stdtrit(n - 1, (1 + confidence) / 2) * seen.std(axis=1, ddof=1) / n**0.5
        out.append(np.abs(seen.mean(axis=1)) > half)
    return np.stack(out)


def test_intervals_cover_what_they_should_however_one_stops_looking() -> None:
    counts, runs = [4, 6, 8, 10, 12], 20_000
    differences = np.random.default_rng(7).normal(size=(runs, 12))
    missed = excluded(differences, counts, look_confidences(len(counts)))
    naive = excluded(differences, counts, [0.95] * len(counts))

    # The worst rule of all: stop as soon as an interval leaves the truth out.
    assert missed.any(axis=0).mean() <= ALPHA + monte_carlo(ALPHA, runs)
    assert naive.any(axis=0).mean() > 0.1

    # The rule of the program: stop at the first look whose interval is narrow enough.
    spread = np.stack([differences[:, :n].std(axis=1, ddof=1) / n**0.5 for n in counts])
    narrow = spread < 0.3
    narrow[-1] = True
    last = narrow.argmax(axis=0)
    assert len(set(last.tolist())) == len(counts)
    assert missed[last, np.arange(runs)].mean() <= ALPHA + monte_carlo(ALPHA, runs)
