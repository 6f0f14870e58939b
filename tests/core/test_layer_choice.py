from __future__ import annotations

import re

import pytest
from scipy import stats

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.layer_choice import (
    LevelScore,
    agreement,
    best_levels,
    level_scores,
    rank_levels,
    ranked,
)
from mlfd_tune.core.models import FUSION_DEPTHS, LEVELS, parse_levels
from mlfd_tune.core.store import Store
from tests.helpers.pipelines import pipeline

LINEUP = {"teachers": {"two": {"arch": "test_vit"}}}
DEPTHS = list(FUSION_DEPTHS.values())


def scored(images: int, probe: tuple[float, ...], cka: tuple[float, ...] | None = None):
    """Return the metrics of stage `level_scores` with these values, coarse to fine."""
    metrics = {"images": float(images)}
    for number, level in enumerate(LEVELS):
        metrics |= {f"probe/{level}": probe[number], f"probe_own/{level}": 50.0}
        if cka is not None:
            metrics[f"cka/{level}"] = cka[number]
    return metrics


def order(scores: list[LevelScore]) -> list[str]:
    return [score.depth for score in scores]


def by_cka(scores: list[LevelScore]) -> list[str]:
    return [score.depth for score in sorted(scores, key=lambda score: score.rank_by_cka or 0)]


def test_the_better_probe_goes_first_where_it_is_better_by_more_than_a_standard_error():
    scores = ranked(scored(10_000, (60.0, 70.0, 65.0, 80.0)), DEPTHS)
    assert order(scores) == ["L4", "L2", "L3", "L1"]
    assert [score.rank_by_probe for score in scores] == [1, 2, 3, 4]
    assert scores[0].probe == 80.0
    assert scores[0].standard_error == pytest.approx(0.4, abs=1e-3)  # sqrt(0.8 * 0.2 / 10000)


def test_within_a_standard_error_of_the_best_the_candidate_of_fewer_levels_goes_first():
    # At 100 images one standard error of 80 % is 4 points: L2 and L3 are tied with L4, L1 is not.
    scores = ranked(scored(100, (75.0, 77.0, 78.0, 80.0)), DEPTHS)
    assert order(scores) == ["L2", "L3", "L4", "L1"]


def test_of_candidates_of_as_many_levels_the_coarser_goes_first_when_tied():
    candidates = [parse_levels(["embedding", name]) for name in ("stride8", "stride32", "stride16")]
    scores = ranked(scored(100, (70.0, 70.0, 70.0, 71.0)), candidates)
    assert order(scores) == ["L2", "embedding+stride16", "embedding+stride8"]


def test_candidates_of_one_finest_level_have_one_score():
    candidates = [FUSION_DEPTHS["L3"], ("embedding", "stride16"), ("stride16",)]
    scores = ranked(scored(10_000, (60.0, 70.0, 65.0, 80.0)), candidates)
    assert {score.probe for score in scores} == {65.0}
    assert order(scores) == ["stride16", "embedding+stride16", "L3"]


def test_a_perfect_probe_on_few_images_is_not_taken_as_certain():
    scores = ranked(scored(50, (99.0, 100.0, 98.0, 97.0)), DEPTHS)
    assert order(scores)[0] == "L1"
    assert all(score.standard_error > 0 for score in scores)


def test_by_cka_the_teachers_that_are_least_alike_go_first_and_fewer_levels_when_equal():
    scores = ranked(scored(100, (1.0, 2.0, 3.0, 4.0), (0.4, 0.2, 0.2, -0.01)), DEPTHS)
    assert by_cka(scores) == ["L4", "L2", "L3", "L1"]


def test_with_one_teacher_there_is_no_ranking_by_cka():
    scores = ranked(scored(100, (1.0, 2.0, 3.0, 4.0)), DEPTHS)
    assert [(score.cka, score.rank_by_cka) for score in scores] == [(None, None)] * 4


def test_levels_are_ranked_from_the_teachers_alone(tmp_path):
    store, made = Store(tmp_path), pipeline(**LINEUP)
    seen: list[float] = []
    scores = rank_levels(made, "one", store, progress=lambda fraction, _: seen.append(fraction))
    metrics = store.get_or_compute(level_scores(made, "one")).manifest.metrics
    assert sorted(order(scores)) == ["L1", "L2", "L3", "L4"]
    for score in scores:
        level = score.levels[-1]
        assert score.probe == metrics[f"probe/{level}"]
        assert score.probe_own == metrics[f"probe_own/{level}"]
        assert score.cka == metrics[f"cka/{level}"]
    assert seen[-1] == 1
    made_of = {path.parent.name for path in tmp_path.glob("artifacts/*/*")}
    assert made_of == {"dataset", "teacher", "pooled_features", "level_scores"}
    assert rank_levels(made, "one", store) == scores


def test_the_values_of_a_search_space_come_back_as_they_were_best_first(store):
    made = pipeline(**LINEUP)
    values = ["L1", ["embedding", "stride16"], "L2", ["embedding", "stride32"], "L4"]
    best = best_levels(made, "one", values, store)
    assert sorted(map(str, best)) == sorted(map(str, values))
    ranks = {score.levels: score.rank_by_probe for score in rank_levels(made, "one", store, values)}
    places = [ranks[parse_levels(value)] for value in best]
    assert places == sorted(places)
    assert best.index("L2") + 1 == best.index(["embedding", "stride32"])


def test_nothing_is_trained_where_all_values_are_the_same_levels(tmp_path):
    values = ["L2", ["embedding", "stride32"]]
    assert best_levels(pipeline(), "one", values, Store(tmp_path / "store")) == values
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("changes", "candidates", "says"),
    [
        ({}, ["L1", "L5"], "unknown level 'L5' (allowed: L1, L2, L3, L4, "),
        (
            {"teachers": {"two": {"arch": "levit_128s"}}},
            ["L1", "L4"],
            "teachers.two.arch: architecture 'levit_128s' has no level 'stride8' at 32 px",
        ),
    ],
)
def test_levels_that_cannot_be_are_told_before_anything_is_computed(
    tmp_path, changes, candidates, says
):
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match=re.escape(says)):
        rank_levels(pipeline(**changes), "one", store, candidates)
    assert not (tmp_path / "store").exists()


def four(*probe: float) -> list[LevelScore]:
    return ranked(scored(10**8, probe, (0.1, 0.2, 0.3, 0.4)), DEPTHS)


def test_agreement_is_that_of_scipy_on_the_ranks():
    scores = four(40.0, 30.0, 20.0, 10.0)  # L1, L2, L3, L4
    found = {"L1": 71.0, "L2": 74.0, "L3": 70.0, "L4": 65.0}
    told = agreement(scores, found)
    assert told is not None
    assert list(told) == ["probe", "cka"]
    for value in told.values():
        assert value.n == 4
        assert value.kendall == pytest.approx(stats.kendalltau([4, 3, 2, 1], [71, 74, 70, 65])[0])
        assert value.spearman == pytest.approx(stats.spearmanr([4, 3, 2, 1], [71, 74, 70, 65])[0])
        assert value.kendall == pytest.approx(4 / 6)  # 5 of 6 pairs are in order
        assert value.spearman == pytest.approx(0.8)
        assert not value.same_best


def test_a_ranking_agrees_wholly_with_itself_and_not_at_all_with_its_reverse():
    scores = four(10.0, 30.0, 20.0, 40.0)
    same = agreement(scores, {"L1": 1.0, "L2": 3.0, "L3": 2.0, "L4": 4.0})
    reverse = agreement(scores, {"L1": 4.0, "L2": 2.0, "L3": 3.0, "L4": 1.0})
    assert same is not None
    assert reverse is not None
    probe, against = same["probe"], reverse["probe"]
    assert (probe.kendall, probe.spearman, probe.same_best) == (1, pytest.approx(1), True)
    assert (against.kendall, against.spearman, against.same_best) == (-1, pytest.approx(-1), False)


def test_only_depths_that_were_both_ranked_and_trained_count():
    scores = four(40.0, 30.0, 20.0, 10.0)
    told = agreement(scores, {"L2": 3.0, "L3": 2.0, "L4": 1.0, "stride8": 9.0})
    assert told is not None
    assert (told["probe"].n, told["probe"].kendall, told["probe"].same_best) == (3, 1, True)
    assert agreement(scores, {"L1": 1.0, "L2": 3.0, "stride8": 9.0}) is None


def test_with_equal_accuracies_no_correlation_is_claimed():
    told = agreement(four(40.0, 30.0, 20.0, 10.0), dict.fromkeys(FUSION_DEPTHS, 50.0))
    assert told is not None
    assert (told["probe"].kendall, told["probe"].spearman) == (None, None)
    assert told["probe"].same_best
