from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from mlfd_tune.report.curves import Curve, CurveRole, curves_figure

Texts = Callable[[Figure], list[str]]

METHODS: dict[str, CurveRole] = {
    "mlfd": "student",
    "kd": "student",
    "own_teacher": "control",
    "none": "baseline",
    "joint_head": "baseline",
}


def curve(
    label: str,
    dataset: str = "digits",
    role: CurveRole = "student",
    epochs: int = 20,
    seeds: int = 3,
) -> Curve:
    steps = np.arange(1, epochs + 1)
    mean = 90 * (1 - np.exp(-steps / 5))
    several = seeds > 1
    return Curve(
        label,
        dataset,
        role,
        steps,
        mean,
        mean - 2 if several else None,
        mean + 2 if several else None,
        seeds,
    )


def comparison(*datasets: str) -> list[Curve]:
    return [
        *(curve(method, name, role) for name in datasets for method, role in METHODS.items()),
        *(curve("teacher", name, "teacher", seeds=1) for name in datasets),
        *(curve("joint teacher L2", name, "joint_teacher", 30, 1) for name in datasets),
    ]


def line_of(figure: Figure, label: str, panel: int = 0):  # type: ignore[no-untyped-def]
    (line,) = (line for line in figure.axes[panel].get_lines() if line.get_label() == label)
    return line


def test_each_dataset_has_a_panel_with_a_line_per_label_and_a_band_over_seeds() -> None:
    figure = curves_figure(comparison("digits", "letters", "photos"), "val/acc1", "compare")

    assert [axes.get_title() for axes in figure.axes] == ["digits", "letters", "photos"]
    for axes in figure.axes:
        assert len(axes.get_lines()) == 7
        assert len(axes.collections) == 5
    np.testing.assert_allclose(line_of(figure, "mlfd").get_ydata(), curve("mlfd").mean)


def test_the_line_tells_the_role_and_the_colour_the_label_in_every_panel() -> None:
    figure = curves_figure(comparison("digits", "letters"), "val/acc1", "compare")

    for label in ("mlfd", "kd", "none", "teacher", "joint teacher L2"):
        colours = {line_of(figure, label, panel).get_color() for panel in (0, 1)}
        assert len(colours) == 1
    assert line_of(figure, "mlfd").get_linestyle() == "-"
    assert line_of(figure, "kd").get_linestyle() == "-"
    dashes = {line_of(figure, label).is_dashed() for label in ("none", "teacher", "own_teacher")}
    assert dashes == {True}
    colours = [line.get_color() for line in figure.axes[0].get_lines()]
    assert len(set(colours)) == 7


def test_where_colours_come_round_again_markers_tell_lines_apart() -> None:
    figure = curves_figure([curve(f"arm {i}") for i in range(13)], "val/acc1", "many arms")

    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].get_lines()}
    assert len(looks) == 13


def test_it_is_said_that_the_curves_are_of_validation(texts: Texts) -> None:
    figure = curves_figure(comparison("digits"), "val/acc1", "compare_methods, run 1")

    assert "validation accuracy, top-1, in %" in texts(figure)
    (caption,) = (text for text in texts(figure) if "Measured on the validation split" in text)
    caption = " ".join(caption.split())
    assert "the test split is read once" in caption
    assert "mean over 3 seeds; bands: its 95 % interval" in caption
    assert "Lines without a band: one seed" in caption


def test_a_training_loss_is_not_called_validation(texts: Texts) -> None:
    found = texts(curves_figure([curve("mlfd")], "train/loss", "losses"))

    assert "training loss" in found
    assert not any("validation" in text for text in found)


def test_the_legend_says_every_role_once() -> None:
    (legend,) = curves_figure(comparison("digits"), "val/acc1", "t").legends

    assert [text.get_text() for text in legend.get_texts()] == [
        "mlfd (student)",
        "kd (student)",
        "joint teacher L2",
        "teacher",
        "own_teacher (control)",
        "none (baseline)",
        "joint_head (baseline)",
    ]


def test_a_joint_teacher_that_goes_on_for_long_does_not_squeeze_the_others(texts: Texts) -> None:
    figure = curves_figure(
        [curve("mlfd"), curve("joint teacher L1", role="joint_teacher", epochs=1650, seeds=1)],
        "val/acc1",
        "t",
    )

    assert figure.axes[0].get_xlim()[1] == pytest.approx(22)
    read = " ".join(" ".join(texts(figure)).split())
    assert "digits, joint teacher L1: 90.0 at epoch 1650" in read


def test_a_loaded_teacher_is_a_point() -> None:
    loaded = Curve(
        "teacher", "digits", "teacher", np.array([0]), np.array([88.0]), None, None, seeds=1
    )
    figure = curves_figure([curve("mlfd"), loaded], "val/acc1", "t")
    assert line_of(figure, "teacher").get_marker() == "o"


@pytest.mark.parametrize("datasets", [1, 2, 3, 7])
def test_legend_and_caption_cover_nothing(datasets: int) -> None:
    figure = curves_figure(comparison(*(f"data{i}" for i in range(datasets))), "val/acc1", "title")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()

    panels = [box for axes in figure.axes if axes.axison and (box := axes.get_tightbbox(renderer))]
    (legend,) = figure.legends
    (caption,) = (text for text in figure.texts if "Measured" in text.get_text())
    below = [legend.get_window_extent(renderer), caption.get_window_extent(renderer)]
    assert below[0].y0 >= below[1].y1
    for box in below:
        assert all(Bbox.intersection(box, panel) is None for panel in panels)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0


def test_no_curves_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        curves_figure([], "val/acc1", "t")
