from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mlfd_tune.core.statistics import Interval
from mlfd_tune.report.calibration import reliability_figure
from mlfd_tune.report.confusion import confusion_figure
from mlfd_tune.report.curves import Curve, curves_figure
from mlfd_tune.report.embeddings import EmbeddingPanel, embedding_figure
from mlfd_tune.report.figures import DPI, save_figure
from mlfd_tune.report.scaling import ScalingRow
from mlfd_tune.report.scaling_figure import scaling_figure

POINTS = np.random.default_rng(0).normal(size=(30, 2))
EPOCHS = np.arange(1, 6)


def _reliability() -> Figure:
    bins = SimpleNamespace(
        edges=np.linspace(0, 1, 3),
        counts=np.array([1, 3]),
        confidence=np.array([0.3, 0.9]),
        accuracy=np.array([0.2, 1.0]),
    )
    return reliability_figure(bins, "calibration")


def _scaling() -> Figure:
    rows = [
        ScalingRow(n, tuple("abcd"[:n]), "a", Interval(n, n - 1.0, n + 1.0, 3), None, "val/acc1",
                   {"teacher": 2.0 * n}, {"teacher": 1000 * n}, 0)
        for n in (2, 4)
    ]  # fmt: skip
    return scaling_figure(rows, "scaling")


FIGURES: dict[str, Callable[[], Figure]] = {
    "confusion": lambda: confusion_figure(np.eye(3, dtype=int) * 4, ["a", "b", "c"], "confusion"),
    "many classes": lambda: confusion_figure(
        np.eye(50, dtype=int), [f"c{i}" for i in range(50)], "t"
    ),
    "reliability": _reliability,
    "embeddings": lambda: embedding_figure(
        {"teacher": EmbeddingPanel(POINTS, np.arange(30) % 3, ("a", "b", "c"), "note")}
    ),
    "curves": lambda: curves_figure(
        [Curve("mlfd", "digits", "student", EPOCHS, EPOCHS * 2.0, EPOCHS - 1.0, EPOCHS * 3.0, 3)],
        "val/acc1",
        "curves",
    ),
    "scaling": _scaling,
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_as_png_and_svg_with_the_same_bytes_each_time(
    name: str, tmp_path: Path
) -> None:
    figure = FIGURES[name]()
    first = save_figure(figure, tmp_path / "first" / "figure")
    again = save_figure(figure, tmp_path / "again" / "figure")
    anew = save_figure(FIGURES[name](), tmp_path / "anew" / "figure")

    assert [path.name for path in first] == ["figure.png", "figure.svg"]
    for path, second, third in zip(first, again, anew, strict=True):
        assert path.read_bytes() == second.read_bytes() == third.read_bytes()

    png, svg = first
    with Image.open(png) as image:
        image.load()
        width, height = figure.get_size_inches()
        assert image.size == (int(width * DPI), int(height * DPI))
        assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert ElementTree.parse(svg).getroot().tag.endswith("}svg")


def test_nothing_but_the_two_files_is_left_and_settings_stay(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)

    files = save_figure(FIGURES["curves"](), tmp_path / "val.acc1" / "run 1.5")

    assert sorted((tmp_path / "val.acc1").iterdir()) == sorted(files)
    assert [path.name for path in files] == ["run 1.5.png", "run 1.5.svg"]
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_imported() -> None:
    program = (
        "import sys; import mlfd_tune.report.confusion, mlfd_tune.report.curves, "
        "mlfd_tune.report.embeddings, mlfd_tune.report.calibration, mlfd_tune.report.figures; "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    folder = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=folder, check=False).returncode == 0
