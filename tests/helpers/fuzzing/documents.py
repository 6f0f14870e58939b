"""Documents that are nearly right: what ships, with a few places changed, as YAML or JSON."""

from __future__ import annotations

import copy
import datetime
import json
import math
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from mlfd_tune.config.reading import parse_yaml

__all__ = ["TEXTS", "VALUES", "Samples", "changed", "damaged", "json_text", "shipped", "yaml_text"]

PROJECT = Path(__file__).parents[3]

TEXTS: tuple[str, ...] = (
    "",
    " ",
    "\0",
    "a\0b",
    "a\nb",
    "\x1b[31mred\x1b[0m",
    "\ud800",
    "\u202egnp.exe",
    "日本語 ünïcode",
    "x" * 5000,
    "a/" * 3000,
    "../../../etc/passwd",
    "/dev/zero",
    "/proc/self/mem",
    "~nobody-of-this-name/x",
    "~",
    "%s%n{0}{x}$HOME`id`",
    "=cmd|' /C calc'!A0",
    "-rf",
    "--help",
    ".",
    "..",
    "null",
    "1e999",
    "models:/x/1",
    "http://[::1",
    "sqlite:////",
    "a.b.c",
    "L9",
    "beta.",
    "!!python/object/apply:os.system ['id']",
)

_SCALARS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    2**31,
    2**53 + 1,
    2**63,
    -(2**64),
    10**400,
    10**4000,
    0.0,
    0.5,
    -0.0,
    1e-320,
    1e308,
    math.inf,
    -math.inf,
    math.nan,
    b"\x00\xff",
    datetime.date(2024, 2, 29),
    datetime.datetime(1, 1, 1),
)

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(_SCALARS) | st.sampled_from(TEXTS) | st.text(max_size=8) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(TEXTS) | st.text(max_size=4), inner, max_size=3)
        | st.dictionaries(st.sampled_from((0, None, True, 1.5)), inner, max_size=1)
        | st.just({"float": [0, 1]})
        | st.just({"choice": [1, "a", None]})
        | st.builds(lambda a, b: {"int": [a, b], "step": a}, inner, inner)
    ),
    max_leaves=6,
)


class Samples(list[Any]):
    """What is sound, to begin with; hypothesis shows its strategies, and these are long."""

    def __repr__(self) -> str:
        return f"<{len(self)} samples>"


def shipped(*patterns: str) -> Samples:
    """Return the documents that ship, by patterns below the project's folder."""
    found = Samples()
    for pattern in patterns:
        for path in sorted(PROJECT.glob(pattern)):
            found.append(parse_yaml(path.read_text(encoding="utf-8"), str(path)))
    assert found
    return found


_CHANGES = ("drop", "replace", "replace", "rename", "wrap", "swap", "add")


@st.composite
def changed(draw: st.DrawFn, documents: Sequence[Any], most: int = 4) -> Any:
    """Make a document with up to `most` places changed: dropped, renamed, replaced, doubled."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(1, most))):
        places = list(_places(document))
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(
            st.sampled_from(("drop", "replace", "replace", "rename", "wrap", "swap", "add"))
        )
        if kind == "drop":
            del holder[key]
        elif kind == "replace":
            holder[key] = copy.deepcopy(draw(VALUES))  # else a later change is one of VALUES
        elif kind == "wrap":
            holder[key] = draw(st.sampled_from(([holder[key]], {"x": holder[key]})))
        elif kind == "swap":
            other, name = places[draw(st.integers(0, len(places) - 1))]
            holder[key] = copy.deepcopy(other[name]) if _has(other, name) else None
        elif isinstance(holder, dict):
            name = draw(st.sampled_from(TEXTS) | st.text(max_size=5) | st.just(f"{key}s"))
            holder[name] = copy.deepcopy(holder[key]) if kind == "add" else holder.pop(key)
        else:
            holder.append(copy.deepcopy(holder[key]))
    return document


@st.composite
def damaged(draw: st.DrawFn, contents: Sequence[bytes], most: int = 4) -> bytes:
    """Make bytes with a few places flipped, cut out, doubled, overwritten or cut off."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, most))):
        size = len(content)
        # Formats say in their first bytes how to read all others.
        at = draw(st.integers(0, min(size, 256)) | st.integers(0, size))
        kind = draw(st.sampled_from(("set", "set", "ends", "insert", "cut", "double", "off")))
        if kind == "set" and at < size:
            content[at] = draw(st.integers(0, 255))
        elif kind == "ends":
            word = draw(st.sampled_from(_WORDS))
            content[at : at + len(word)] = word
        elif kind == "insert":
            content[at:at] = draw(st.binary(max_size=8))
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == "double":
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
        elif kind == "off":
            del content[at:]
    return bytes(content)


_WORDS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
    b"\0\0\1\0",
    b"\xff" * 8,
    b"\0" * 8,
)


@st.composite
def yaml_text(draw: st.DrawFn, documents: Sequence[Any]) -> bytes:
    """Make the text of a YAML file: a changed document, its text sometimes changed further."""
    text = yaml.safe_dump(draw(changed(documents)), allow_unicode=True, sort_keys=False)
    content = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 2)) == 0:
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.sampled_from(_YAML)) + content[at:]
    return content


_YAML = (
    b"\t",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r\n---\r\n",
    b"&a [*a]",
    b"&b {<<: *b}",
    b"*missing",
    b"!!python/object/apply:os.system [id]",
    b"!!set {a, b}",
    b"!!omap [a: 1, a: 2]",
    b"!!binary =====",
    b"!!timestamp 2024-99-99",
    b"!!int x",
    b"!!float ''",
    b"!!bool x",
    b"!local",
    b"[" * 2000,
    b"{a: " * 500,
    b"? ",
    b"- " * 500,
    b"%YAML 9.9\n---\n",
    b"%TAG ! tag:x,2000:\n---\n",
    b'"\\ud800"',
    b'"\\x00\\x1b"',
    b"0x" + b"f" * 5000,
    b"9" * 5000,
    b"1:1:1:1:1",
    b"0b2",
    b"\ninclude: nowhere.yaml\n",
    b"\ninclude: [x.yaml, x.yaml]\n",
    b"#",
    b"'",
    b'"',
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b": ",
    b"\nx: " + b"k" * 2000 + b"\n",
)


@st.composite
def json_text(draw: st.DrawFn, documents: Sequence[Any]) -> bytes:
    """Make the text of a JSON file: a changed document, its text sometimes changed further."""
    text = json.dumps(draw(changed(documents)), default=repr, skipkeys=True)
    content = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.sampled_from(_JSON)) + content[at:]
    return content


_JSON = (
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"\xff",
    b"\0",
    b'"\\ud800"',
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"\xef\xbb\xbf",
    b",",
    b'"',
    b"null",
)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every mapping or list with each of its keys."""
    keys = list(node) if isinstance(node, MutableMapping) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], list | dict):
            yield from _places(node[key])


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)
