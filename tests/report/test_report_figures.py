"""The figures of searches and comparisons that a report shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from mlfd_tune.ablation.comparison import ArmRow, compare
from mlfd_tune.ablation.contribution import Contribution
from mlfd_tune.ablation.statistics import Ranks, bca_interval
from mlfd_tune.config.search import SearchSettings
from mlfd_tune.config.space import SearchSpace
from mlfd_tune.core.statistics import Interval
from mlfd_tune.report.contribution_figure import contribution_figure
from mlfd_tune.report.forest_figure import forest_figure
from mlfd_tune.report.parallel_figure import parallel_figure
from mlfd_tune.report.ranks_figure import cliques_of, ranks_figure
from mlfd_tune.report.reuse_figure import Reuse, reuse_figure
from mlfd_tune.report.trial_figures import history_figure, trial_curves_figure
from mlfd_tune.report.trials import SearchTrial, TrialEnd, best_of, rungs_of

Texts = Callable[[Figure], list[str]]

SPACE = SearchSpace.model_validate(
    {
        "distillation.alpha": {"float": [0.1, 1.0], "log": True},
        "joint_teacher.levels": {"choice": ["L1", "L2"]},
        "distillation.beta.stride32": {"float": [0.0, 1.0]},
    }
)


def trial(number: int, end: TrialEnd, *values: float, **params: object) -> SearchTrial:
    named = {name.replace("__", "."): value for name, value in params.items()}
    return SearchTrial("digits", number, end, dict(enumerate(values, start=1)), named)


TRIALS = [
    trial(0, "complete", 10, 20, 30, 40, distillation__alpha=0.1, joint_teacher__levels="L1"),
    trial(1, "pruned", 15, 60, distillation__alpha=0.3, joint_teacher__levels="L2"),
    trial(2, "complete", 12, 25, 35, 50, distillation__alpha=1.0, joint_teacher__levels="L2"),
    trial(3, "failed", 5),
]


def settings(scheduler: str, grace: int, factor: int) -> SearchSettings:
    return SearchSettings.model_validate(
        {
            "trials": 4,
            "scheduler": scheduler,
            "grace_epochs": grace,
            "reduction_factor": factor,
            "space": {"distillation.alpha": {"float": [0.1, 1.0]}},
        }
    )


def test_a_stopped_trial_is_never_the_best() -> None:
    best = best_of(TRIALS)

    assert best is not None
    assert best.number == 2
    assert best_of([trial(0, "pruned", 99)]) is None


def test_rungs_are_the_grace_period_times_powers_of_the_factor() -> None:
    assert rungs_of(settings("asha", 2, 3), epochs=20) == (2, 6, 18)
    assert rungs_of(settings("asha", 5, 2), epochs=20) == (5, 10)
    assert rungs_of(settings("median", 5, 2), epochs=20) == (5,)
    assert rungs_of(settings("none", 5, 2), epochs=20) == ()


def test_all_trials_are_drawn_and_the_best_is_named(texts: Texts) -> None:
    figure = trial_curves_figure(TRIALS, {"digits": (1, 2)}, "val/acc1", "All")

    lines = [
        line
        for axes in figure.axes
        for collection in axes.collections
        if isinstance(collection, LineCollection)
        for line in collection.get_segments()
    ]
    assert len(lines) == 2  # beside the best; the failed one has one epoch only
    assert "trial 2: 50.0" in texts(figure)
    stopped = {"stopped early", "failed", "rung"} & set(texts(figure))
    assert stopped == {"stopped early", "failed", "rung"}


def test_the_best_so_far_leaves_stopped_trials_out() -> None:
    (axes,) = history_figure(TRIALS, "val/acc1", "History").axes

    (best,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert list(best.get_xdata()) == [0, 2, 3]
    assert list(best.get_ydata()) == [40, 50, 50]


def test_parallel_coordinates_pass_below_an_axis_that_a_trial_does_not_have(texts: Texts) -> None:
    figure = parallel_figure(TRIALS, {"digits": SPACE}, "val/acc1", "Parallel")

    (axes,) = figure.axes
    of_trials = [line for line in axes.lines if len(line.get_xdata()) > 2]
    order = [key for key, _ in SPACE.ordered()]
    beta = order.index("distillation.beta.stride32")
    assert len(of_trials) == len(TRIALS)
    assert all(line.get_ydata()[beta] < 0 for line in of_trials)
    shown = texts(figure)
    assert {"alpha", "levels", "beta.stride32", "val/acc1", "L1", "L2"} <= set(shown)


def rows(differences: list[float]) -> list[ArmRow]:
    reference = {str(seed): 70.0 + seed for seed in range(len(differences))}
    values = {
        seed: value + gain
        for (seed, value), gain in zip(reference.items(), differences, strict=True)
    }
    found = compare({"other": values}, reference)["other"]
    of_reference = bca_interval(list(reference.values()))
    return [
        ArmRow("digits", "base", True, reference, of_reference, 1.0, None),
        ArmRow("digits", "other", False, values, bca_interval(list(values.values())), 1.0, found),
    ]


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([3.0, 3.1, 2.9, 3.2, 3.0, 2.8], "higher"),
        ([-3.0, -3.1, -2.9, -3.2, -3.0, -2.8], "lower"),
        ([0.1, -0.1, 0.2, -0.2, 0.1, -0.1], "no difference shown"),
        ([3.0, 3.1, 2.9], "too few seeds"),
    ],
)
def test_a_forest_plot_says_what_is_shown(
    differences: list[float], verdict: str, texts: Texts
) -> None:
    shown = texts(forest_figure(rows(differences), "test/acc1", "Forest"))

    assert verdict in shown
    assert "digits: against base" in shown
    assert f"{sum(differences) / len(differences):+.2f}" in shown


def ranks(means: tuple[float, ...], critical: float) -> Ranks:
    arms = tuple(f"arm {number}" for number in range(len(means)))
    return Ranks(arms, means, 5, 0.01, critical, {})


def test_bars_join_the_widest_groups_that_are_not_shown_to_differ() -> None:
    assert cliques_of(ranks((1.0, 2.0, 3.0, 4.0), 1.5)) == [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    assert cliques_of(ranks((1.0, 1.4, 3.9, 4.0), 3.0)) == [(1.0, 3.9), (1.4, 4.0)]
    assert cliques_of(ranks((1.0, 2.5, 4.0), 0.5)) == []


def test_a_critical_difference_diagram_names_every_arm(texts: Texts) -> None:
    shown = texts(ranks_figure(ranks((1.2, 1.8, 3.0), 1.0), "Ranks"))

    assert {"arm 0 (1.20)", "arm 1 (1.80)", "arm 2 (3.00)"} <= set(shown)
    assert "critical difference 1.00" in shown


def test_contributions_of_all_teachers_are_shown(texts: Texts) -> None:
    one = Interval(1.0, 0.5, 1.5, 6)
    found = [
        Contribution("digits", "letters", one, one, 6, sampled=False),
        Contribution("digits", "photos", one, Interval(0.0, None, None, 1), 6, sampled=True),
    ]

    shown = texts(contribution_figure(found, "val/acc1", "Teachers"))

    assert {"student of digits", "letters", "photos", "Shapley value", "drop one"} <= set(shown)
    assert any("sampled" in text for text in shown)


def test_reuse_says_what_was_computed_and_what_was_saved(texts: Texts) -> None:
    shown = texts(reuse_figure([Reuse("teacher", 5.0, 120.0)], "Reuse"))

    assert "5.0 s, saved 2 min 00 s" in shown


@pytest.mark.parametrize(
    "make",
    [
        lambda: trial_curves_figure([], {}, "val/acc1", "t"),
        lambda: history_figure([], "val/acc1", "t"),
        lambda: parallel_figure([], {}, "val/acc1", "t"),
        lambda: forest_figure([], "val/acc1", "t"),
        lambda: contribution_figure([], "val/acc1", "t"),
        lambda: reuse_figure([], "t"),
    ],
)
def test_a_figure_of_nothing_is_refused(make: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        make()
