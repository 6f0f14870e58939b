"""The page itself: one HTML file with its style, its script and its figures inside.

The page allows itself nothing but its own style and script, known by their hashes: no request goes
out, and text that comes from outside cannot become active even if it slipped through escaping.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mlfd_tune import __version__
from mlfd_tune.report.page.formats import time_text
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Section

__all__ = ["render"]

_PACKAGE = "mlfd_tune.report.page"
_ASSETS = "assets"


def render(material: Material, sections: Sequence[Section]) -> str:
    """Return the page.

    Args:
        material: What it is of.
        sections: What it shows.
    """
    environment = Environment(
        loader=PackageLoader(_PACKAGE, _ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _asset("page.css"), _asset("page.js")
    return environment.get_template("page.html.j2").render(
        material=material,
        sections=sections,
        made=time_text(time.time()),
        version=__version__,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _asset(name: str) -> Markup:
    text = (files(_PACKAGE) / _ASSETS / name).read_text(encoding="utf-8")
    return Markup(text)  # a file of this package  # nosec B704


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
