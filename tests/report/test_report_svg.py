"""Figures inside a page: their text, their colours, their names, and nothing active."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from mlfd_tune.report.page.svg import drawn, inlined, keep_text_on_areas_dark
from mlfd_tune.report.style import INK


def figure(label: str = "a label") -> Figure:
    made = Figure(figsize=(3, 2))
    axes = made.subplots()
    axes.plot([1, 2], [3, 4], marker="o", color="#0072b2", label=label)
    axes.fill_between([1, 2], [1, 2], [2, 3], color="#123456", alpha=0.3)
    axes.set_title(label, color=INK)
    axes.legend()
    return made


def test_text_is_text_and_told_to_screen_readers() -> None:
    root = ElementTree.fromstring(drawn(figure(), "one", "A <title>", "What & why"))

    assert "a label" in [element.text for element in root.iter("text")]
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "one-title one-desc"
    assert root.findtext("title") == "A <title>"
    assert root.findtext("desc") == "What & why"


def test_known_colours_follow_the_theme_and_others_stay() -> None:
    svg = drawn(figure(), "one", "t", "d")

    assert 'stroke="var(--blue)"' in svg
    assert 'stroke="var(--ink)"' in svg
    assert 'fill="#123456"' in svg
    assert "#0072b2" not in svg
    assert "style=" not in svg
    assert "<style" not in svg


def test_names_of_two_figures_do_not_clash() -> None:
    first, second = (ElementTree.fromstring(drawn(figure(), name, "t", "d")) for name in "ab")

    def names(root: ElementTree.Element) -> set[str]:
        return {element.get("id", "") for element in root.iter()} - {""}

    assert names(first)
    assert not names(first) & names(second)
    for root in (first, second):
        used = {element.get("href", "")[1:] for element in root.iter("use")}
        assert used
        assert used <= names(root)


def test_nothing_active_comes_in_with_a_file_from_elsewhere() -> None:
    file = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
      viewBox="0 0 9 9" onload="alert(1)"><script>alert(2)</script>
      <foreignObject><b>x</b></foreignObject><a href="https://example.org"><text>t</text></a>
      <image xlink:href="https://example.org/x.png"/><use xlink:href="other.svg#x"/>
      <path d="M 0 0" onclick="alert(3)" style="fill: url(https://example.org/f)"/></svg>"""

    svg = inlined(file, "one", "t", "d")

    for word in ("script", "alert", "foreignObject", "example.org", "onload", "other.svg"):
        assert word not in svg


def test_what_is_no_svg_is_refused() -> None:
    with pytest.raises(ValueError, match="not an SVG"):
        inlined("<html></html>", "one", "t", "d")


def test_text_on_opaque_areas_stays_dark_and_other_text_follows_the_theme() -> None:
    made = Figure()
    axes = made.subplots()
    axes.broken_barh([(0, 1)], (0, 1), facecolor=(1, 0.8, 0, 1.0))
    axes.broken_barh([(2, 1)], (0, 1), facecolor=(1, 0.8, 0, 0.3))
    on, faint = (axes.text(x, 0.5, "x", color=INK) for x in (0.5, 2.5))

    keep_text_on_areas_dark(made)

    assert on.get_color() != INK
    assert faint.get_color() == INK
