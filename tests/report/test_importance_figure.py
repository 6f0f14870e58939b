"""Figures of importances say how many points there were, and when nothing is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mlfd_tune.report.figures import save_figure
from mlfd_tune.report.importance_figure import (
    importance_figure,
    marginals_figure,
    parameters_by_share,
    short_names,
)
from mlfd_tune.report.interactions_figure import interactions_figure
from mlfd_tune.tune.importance import Importance, ImportanceReport, Interaction, Marginal

Texts = Callable[[Figure], list[str]]

ALPHA, LEVELS, BETA = "distillation.alpha", "joint_teacher.levels", "distillation.beta.stride32"
RATES = tuple(float(rate) for rate in np.geomspace(0.1, 10, 9))


def shares(dataset: str, evaluator: str, trials: int, **values: float) -> Importance:
    named = {"alpha": ALPHA, "levels": LEVELS, "beta": BETA}
    return Importance(dataset, evaluator, 4, trials, {named[k]: v for k, v in values.items()})


def curve(dataset: str, parameter: str, grid: tuple[object, ...], level: float) -> Marginal:
    mean = tuple(level + i for i in range(len(grid)))
    return Marginal(
        dataset, parameter, grid, mean, tuple(m - 1 for m in mean), tuple(m + 1 for m in mean)
    )


@pytest.fixture
def report() -> ImportanceReport:
    return ImportanceReport(
        importances=(
            shares("digits", "fanova", 30, levels=0.6, alpha=0.1),
            shares("digits", "fanova", 18, beta=0.3),
            shares("digits", "ped_anova", 30, levels=0.8, alpha=0.2),
            shares("digits", "ped_anova", 18, beta=0.4),
            shares("letters", "fanova", 30, levels=0.4, alpha=0.2),
            shares("letters", "ped_anova", 30, levels=0.5, alpha=0.5),
        ),
        marginals=(
            curve("digits", ALPHA, RATES, 90.0),
            curve("digits", LEVELS, ("L1", '["embedding", "stride16"]'), 90.0),
            curve("letters", ALPHA, RATES, 30.0),
            curve("letters", LEVELS, ("L1", "L2"), 30.0),
        ),
        interactions=(
            Interaction("digits", ALPHA, LEVELS, 0.7),
            Interaction("digits", ALPHA, BETA, 0.1),
            Interaction("letters", ALPHA, LEVELS, 0.25),
        ),
        notes=(),
        explained={"digits": 0.62, "letters": -0.2},
    )


def test_parameters_stand_by_their_shares_over_datasets(report: ImportanceReport) -> None:
    assert parameters_by_share(report) == [LEVELS, BETA, ALPHA]
    assert short_names([LEVELS, BETA]) == ["levels", "beta.stride32"]
    assert short_names(["a.x", "b.x", "seed"]) == ["a.x", "b.x", "seed"]


def test_bars_are_as_long_as_the_shares_and_faint_where_nothing_is_shown(
    report: ImportanceReport, texts: Texts
) -> None:
    figure = importance_figure(report, "quick, run 1")

    digits, letters = figure.axes
    widths = sorted(round(float(bar.get_width()), 3) for bar in digits.patches)
    assert widths == [0.1, 0.2, 0.3, 0.4, 0.6, 0.8]
    assert {bar.get_alpha() for bar in digits.patches} == {1.0}
    assert {bar.get_alpha() for bar in letters.patches} == {0.35}
    hatched = [bar.get_width() for bar in digits.patches if bar.get_hatch()]
    assert hatched == [0.3, 0.4]
    told = texts(figure)
    assert "quick, run 1" in told
    assert "digits: 30 points at epoch 4\n62% of unseen points' variance explained" in told
    assert "letters: 30 points at epoch 4\nno importance shown (R² of unseen points -0.20)" in told
    assert "of 18 points" in told
    assert "in too few points" in told  # beta on letters
    assert any("Hatched: the parameter exists in some points only" in text for text in told)


def test_curves_of_all_datasets_are_shifted_to_one_scale(
    report: ImportanceReport, texts: Texts
) -> None:
    figure = marginals_figure(report, "quick, run 1")

    levels, alpha = figure.axes
    assert [axes.get_title() for axes in (levels, alpha)] == ["levels", "alpha"]
    assert alpha.get_xscale() == "log"
    lines = [line for line in alpha.get_lines() if len(line.get_xdata()) == len(RATES)]
    assert len(lines) == 2
    for line in lines:
        assert np.asarray(line.get_ydata()) == pytest.approx(np.arange(9) - 4)
    assert [label.get_text() for label in levels.get_xticklabels()][::2] == ["L1", "L2"]
    told = texts(figure)
    assert any("not a confidence interval" in text for text in told)
    assert any("explains next to nothing of unseen points of letters" in t for t in told)


def test_a_pair_is_one_cell_and_one_that_is_not_known_is_empty(
    report: ImportanceReport, texts: Texts
) -> None:
    figure = interactions_figure(report, "quick, run 1")
    digits, letters = figure.axes
    assert sorted(text.get_text() for text in digits.texts) == ["0.10", "0.70"]
    assert [text.get_text() for text in letters.texts] == ["0.25"]
    assert "letters: noise, the forest explains nothing" in texts(figure)


def test_many_datasets_and_parameters_can_be_drawn(tmp_path: Path) -> None:
    names = [f"student.train.quite_a_long_parameter_{i}" for i in range(5)]
    datasets = [f"dataset {i}" for i in range(7)]
    report = ImportanceReport(
        tuple(
            Importance(d, evaluator, 10, 40, dict.fromkeys(names, 0.05))
            for d in datasets
            for evaluator in ("fanova", "ped_anova")
        ),
        tuple(curve(d, name, (1, 2, 4), 50.0) for d in datasets for name in names),
        tuple(Interaction(d, names[0], name, 0.5) for d in datasets for name in names[1:]),
        (),
    )
    for name, draw in (
        ("bars", importance_figure),
        ("curves", marginals_figure),
        ("pairs", interactions_figure),
    ):
        png, _ = save_figure(draw(report, "many"), tmp_path / name)
        with Image.open(png) as image:
            assert min(image.size) > 500


def test_of_many_parameters_those_with_the_largest_shares_have_a_curve(texts: Texts) -> None:
    values = {f"p{i:02}": 1 / (i + 2) for i in range(20)}
    curves = tuple(curve("digits", name, (1, 2), 50.0) for name in reversed(values))
    report = ImportanceReport((Importance("digits", "fanova", 9, 40, values),), curves, (), ())
    figure = marginals_figure(report, "many")
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == list(values)[:16]
    told = " ".join(" ".join(texts(figure)).split())
    assert "The 16 of 20 parameters with the largest shares" in told


def test_without_anything_to_draw_there_is_no_figure(report: ImportanceReport) -> None:
    with pytest.raises(ValueError, match="at least one"):
        importance_figure(replace(report, importances=()), "none")
    with pytest.raises(ValueError, match="at least one"):
        marginals_figure(replace(report, marginals=()), "none")
    with pytest.raises(ValueError, match="at least one"):
        interactions_figure(replace(report, interactions=()), "none")
