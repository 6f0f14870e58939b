"""A matplotlib figure as SVG inside a page: text as text, colours by theme, names of its own.

matplotlib writes one colour scheme, style attributes and names such as ``figure_1`` that clash with
those of the next figure. Here the tree is rewritten: only elements and attributes that drawings
need are kept, colours that the page knows become its CSS variables, every style becomes plain
attributes (a strict content security policy allows no style attributes), and all names begin with
the figure's own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree  # reads what matplotlib wrote  # nosec B405

import matplotlib
from markupsafe import Markup
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from mlfd_tune.report.style import INK

__all__ = ["PALETTE", "drawn", "inlined", "keep_text_on_areas_dark"]

_SVG: Final = "{http://www.w3.org/2000/svg}"
_LINK: Final = "{http://www.w3.org/1999/xlink}href"

# fmt: off
_ELEMENTS: Final = frozenset({
    "svg", "g", "path", "defs", "use", "text", "tspan", "clipPath", "rect", "image", "circle",
    "ellipse", "line", "polyline", "polygon", "linearGradient", "stop", "pattern",
})
_ATTRIBUTES: Final = frozenset({
    "id", "d", "x", "y", "x1", "x2", "y1", "y2", "dx", "dy", "width", "height", "transform",
    "viewBox", "clip-path", "points", "cx", "cy", "r", "rx", "ry", "offset", "patternUnits",
    "preserveAspectRatio", "gradientUnits", "fill", "stroke", "opacity",
})
_PROPERTIES: Final = frozenset({
    "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity",
    "stroke-dasharray", "stroke-dashoffset", "stroke-linejoin", "stroke-linecap",
    "stroke-miterlimit", "opacity", "font-size", "font-weight", "font-style", "text-anchor",
    "stop-color", "stop-opacity",
})
# fmt: on

_PAPER: Final = frozenset({"#ffffff", "white"})
PALETTE: Final = {
    "#000000": "ink",
    "#222222": "ink",
    "#767676": "grey",
    "#808080": "grey",
    "#cccccc": "faint",
    "#d4d4d4": "faint",
    "#b0b0b0": "silver",
    "#e6e6e6": "grid",
    "#eeeeee": "grid",
    "#0072b2": "blue",
    "#d55e00": "vermilion",
    "#009e73": "green",
    "#cc79a7": "pink",
    "#e69f00": "orange",
    "#56b4e9": "sky",
    "#f0e442": "yellow",
    "#7b3294": "purple",
    "#c0a5cf": "lilac",
    "#8c510a": "brown",
    "#b2182b": "red",
    "#4d4d4d": "slate",
    "#2b2b2b": "coal",
    "#6f6f6f": "stone",
}
"""Colours of figures, and what the page's style sheet calls them; the rest stay as they are."""

_ON_AREAS: Final = "#212121"  # no colour of the palette: it stays dark in every theme
_INSIDE: Final = re.compile(r"url\(#([\w.-]+)\)")


def drawn(figure: Figure, name: str, title: str, description: str) -> Markup:
    """Return a figure as an inline SVG that a screen reader can tell about.

    Args:
        figure: The figure; its background is left out, so that the page's shows.
        name: Unique in the page; letters, digits and hyphens.
        title: A few words.
        description: What is to be seen, in a sentence or two.
    """
    # Told apart by the name: hashed names would be the same in two figures of one content.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return inlined(text.getvalue(), name, title, description)


def inlined(svg: str, name: str, title: str, description: str) -> Markup:
    """Return an SVG file's text as `drawn` does; whatever could be active is left out.

    Raises:
        ValueError: It is no SVG.
    """
    try:
        root = ElementTree.fromstring(svg)  # nosec B314
    except ElementTree.ParseError as error:
        raise ValueError(f"not an SVG: {error}") from error
    if root.tag != f"{_SVG}svg":
        raise ValueError(f"not an SVG, but {root.tag}")
    new = _rewritten(root, name)
    assert new is not None
    width = new.attrib.pop("width", "")
    new.attrib.pop("height", None)
    told = {"title": title, "desc": description}
    for position, (tag, words) in enumerate(told.items()):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = words
        new.insert(position, element)
    new.attrib |= {
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
        "width": f"{_points(width) * 4 / 3:.0f}",  # a point is 4/3 of a browser's pixel
    }
    # Serialised from a tree of known elements, so that all text in it is escaped.
    text = ElementTree.tostring(new, encoding="unicode")
    return Markup(text)  # nosec B704


def keep_text_on_areas_dark(figure: Figure) -> None:
    """Keep dark text that stands on opaque areas dark in every theme: the areas stay as they are.

    Args:
        figure: Finished. Text on a faint area or on none follows the theme.
    """
    for axes in figure.axes:
        areas = [
            path.get_extents()
            for collection in axes.collections
            if any(alpha == 1 for *_, alpha in to_rgba_array(collection.get_facecolor()))
            for path in collection.get_paths()
        ]
        for text in axes.texts:
            if text.get_color() != INK or isinstance(text, Annotation):
                continue
            if axes.images or any(area.contains(*text.get_position()) for area in areas):
                text.set_color(_ON_AREAS)


def _points(width: str) -> float:
    match = re.match(r"[\d.]+", width)
    return float(match[0]) if match else 0.0


def _rewritten(element: ElementTree.Element, name: str) -> ElementTree.Element | None:
    """Return a cleaned copy of an element and what is in it, or None where it has no place."""
    tag = element.tag.removeprefix(_SVG) if isinstance(element.tag, str) else ""
    if tag not in _ELEMENTS:
        return None
    new = ElementTree.Element(tag, dict(_attributes(element, tag, name)))
    if tag in ("text", "tspan"):
        new.text = element.text
    for child in element:
        kept = _rewritten(child, name)
        if kept is not None:
            new.append(kept)
    return new


def _attributes(element: ElementTree.Element, tag: str, name: str) -> Iterator[tuple[str, str]]:
    values = {key: value for key, value in element.attrib.items() if key in _ATTRIBUTES}
    values |= {
        key: value for key, value in _declarations(element.get("style", "")) if key in _PROPERTIES
    }
    for key, value in values.items():
        if key == "id":
            yield key, f"{name}-{value}"
        elif key in ("fill", "stroke", "stop-color"):
            yield key, _colour(value, tag, name)
        elif key == "d":
            yield key, " ".join(value.split())
        else:
            yield key, _renamed(value, name)
    link = element.get(_LINK) or element.get("href") or ""
    if link.startswith("#"):
        yield "href", f"#{name}-{link[1:]}"
    elif link.startswith("data:image/png;base64,"):
        yield "href", "".join(link.split())


def _declarations(style: str) -> Iterator[tuple[str, str]]:
    for part in style.split(";"):
        key, colon, value = part.partition(":")
        key, value = key.strip(), value.strip()
        if key == "font":  # such as: 700 10px 'DejaVu Sans', sans-serif
            size = re.search(r"[\d.]+px", value)
            if size:
                yield "font-size", size[0]
            weight = re.match(r"(bold|\d{3}) ", value)
            if weight:
                yield "font-weight", weight[1]
        elif colon:
            yield key, value


def _colour(value: str, tag: str, name: str) -> str:
    """Return a colour as the page knows it; white text stands on dark areas and stays white."""
    value = value.lower()
    if value in _PAPER:
        return "#ffffff" if tag in ("text", "tspan") else "var(--paper)"
    if value in PALETTE:
        return f"var(--{PALETTE[value]})"
    return _renamed(value, name)


def _renamed(value: str, name: str) -> str:
    """Return a value with the figure's own names in it; nothing may point elsewhere."""
    if "url(" not in value:
        return value
    match = _INSIDE.fullmatch(value)
    return f"url(#{name}-{match[1]})" if match else "none"
