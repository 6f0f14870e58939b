from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from mlfd_tune.core.spec import Spec, canonical_json, content_hash

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


class Inner(Spec):
    rate: float = 0.5
    names: tuple[str, ...] = ("a", "b")


class Outer(Spec):
    inner: Inner = Inner()
    weights: dict[str, float] = Field({})
    size: int | None = None


def turned(value):
    """Return an equal value with every mapping in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(item) for key, item in reversed(list(value.items()))}
    return [turned(item) for item in value] if isinstance(value, list) else value


@given(values)
def test_the_text_says_the_value_and_nothing_but_the_value(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(values)
def test_equal_content_has_an_equal_hash_whatever_its_order(value):
    assert content_hash(turned(value)) == content_hash(value)


@given(values, values)
def test_different_content_has_a_different_text(one, other):
    # Not the other way round: JSON tells 1, 1.0 and true apart, which Python calls equal.
    if one != other:
        assert canonical_json(one) != canonical_json(other)


def test_the_form_is_sorted_compact_and_ascii():
    value = {"b": [1, 2.50, None, True], "a": {"ü": "x y"}, "c": (1e20, 0.1)}
    expected = '{"a":{"\\u00fc":"x y"},"b":[1,2.5,null,true],"c":[1e+20,0.1]}'
    assert canonical_json(value) == expected


def test_tuples_lists_and_sets_of_strings_are_sequences():
    assert canonical_json(("a", "b")) == canonical_json(["a", "b"]) == '["a","b"]'
    assert canonical_json({"b", "a"}) == canonical_json(frozenset("ab")) == '["a","b"]'


def test_zero_has_no_sign():
    assert canonical_json(-0.0) == "0.0"
    assert content_hash(Inner(rate=-0.0)) == content_hash(Inner(rate=0.0))


def test_a_spec_is_hashed_as_its_content():
    spec = Outer(weights={"b": 1, "a": 2}, size=3)
    assert canonical_json(spec) == (
        '{"inner":{"names":["a","b"],"rate":0.5},"size":3,"weights":{"a":2.0,"b":1.0}}'
    )
    assert content_hash({"spec": spec}) == content_hash({"spec": json.loads(canonical_json(spec))})


def test_a_default_and_the_same_value_given_are_equal():
    assert content_hash(Outer()) == content_hash(Outer(inner={"rate": 0.5, "names": ["a", "b"]}))


def test_every_field_changes_the_hash():
    changed = [
        Outer(),
        Outer(size=1),
        Outer(weights={"a": 1}),
        Outer(weights={"b": 1}),
        Outer(inner=Inner(rate=0.25)),
        Outer(inner=Inner(names=("b", "a"))),
    ]
    assert len({content_hash(spec) for spec in changed}) == len(changed)


def test_the_hash_is_64_hex_digits():
    assert len(content_hash({})) == 64
    assert int(content_hash({}), 16) >= 0


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_has_no_json_form_is_refused(number):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": [number]})
    with pytest.raises(ValidationError, match="finite"):
        Inner(rate=number)
    with pytest.raises(ValidationError, match="finite"):
        Outer(weights={"a": number})


def test_a_spec_is_frozen_and_knows_its_keys():
    with pytest.raises(ValidationError, match="frozen"):
        Inner().rate = 1.0
    with pytest.raises(ValidationError, match="Extra inputs"):
        Inner(ratio=1.0)
