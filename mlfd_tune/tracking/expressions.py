"""The small language of ``leaderboard --filter``: comparisons of columns and settings.

``val/acc1 > 80 and distillation.alpha < 1 and status == "confirmed"``

Python's grammar and nothing but comparisons, ``and``, ``or``, ``not``, ``in``, constants, lists of
constants, and names with dots, slashes and dashes; a name that Python cannot read stands between
backticks. It is walked here and never evaluated by Python. What a row does not have is unknown, as
in SQL: a comparison with it is neither true nor false, so neither it nor its negation matches.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from mlfd_tune.core.errors import UserError, nearest

__all__ = ["MISSING", "Filter", "Missing", "Value", "parse_filter"]


class Missing:
    """Stands for a value that a row does not have."""


MISSING: Final = Missing()

Value: TypeAlias = float | str | bool | Missing | None
"""A cell; None is a setting that is None."""

Lookup: TypeAlias = Callable[[str], Value]
Truth: TypeAlias = bool | None
Kind: TypeAlias = Literal["number", "text"]

_Condition: TypeAlias = Callable[[Lookup], Truth]
_Operand: TypeAlias = Callable[[Lookup], Value]

_QUOTED = re.compile(r"`([^`]*)`")
_SHOWN = "comparisons (== != < <= > >=), and, or, not, in, numbers, quoted text, names"
_LONGEST = 4000  # characters of a condition
_DEEPEST = 100  # levels of one; without a bound it would depend on the caller's stack what is read
_QUOTED_BY_ERRORS = 200  # characters


@dataclass(frozen=True)
class Filter:
    """A condition on rows.

    Attributes:
        text: As it was written.
        names: The names in it.
        condition: True, False, or None where it cannot be told.
    """

    text: str
    names: frozenset[str]
    condition: _Condition

    def matches(self, lookup: Lookup) -> bool:
        """Tell whether a row is wanted.

        Args:
            lookup: Gives the row's value of a name, `MISSING` where it has none.
        """
        return self.condition(lookup) is True


def parse_filter(
    text: str, columns: Mapping[str, Kind], settings: Collection[str], option: str = "--filter"
) -> Filter:
    """Read a condition.

    Args:
        text: The condition.
        columns: The names of columns, with what they hold.
        settings: The names of settings, which may hold anything.
        option: What errors begin with.

    Raises:
        UserError: It cannot be read, or has a name that nothing has; the line shows the place.
    """
    return _Reader(text, columns, settings, option).read()


class _Reader:
    def __init__(
        self, text: str, columns: Mapping[str, Kind], settings: Collection[str], option: str
    ) -> None:
        self.text = " ".join(text.splitlines())
        self.columns = columns
        self.settings = settings
        self.option = option
        self.names: set[str] = set()
        self.quoted: dict[int, str] = {}

    def read(self) -> Filter:
        def hide(found: re.Match[str]) -> str:
            # An identifier of the same length, so that places stay where they were.
            self.quoted[len(self.text[: found.start()].encode())] = found[1]
            return "q" * len(found[0].encode())

        if any("\ud800" <= char <= "\udfff" for char in self.text):  # of arguments not in UTF-8
            raise UserError(f"{self.option}: is not text in UTF-8: {self.text[:60]!r}")
        if len(self.text) > _LONGEST:
            raise UserError(
                f"{self.option}: has {len(self.text):,} characters (allowed: up to {_LONGEST:,})"
            )
        source = _QUOTED.sub(hide, self.text)
        lead = len(source) - len(source.lstrip())
        self.lead = len(source[:lead].encode())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's advice on how to write Python
                tree = ast.parse(source.lstrip(), mode="eval")
            if _levels(tree.body) > _DEEPEST:
                raise UserError(f"{self.option}: has more than {_DEEPEST} levels")
            condition = self._condition(tree.body)
        except SyntaxError as error:
            place = lead + max((error.offset or 1) - 1, 0)
            raise self._fail(_syntax_problem(source, error), place) from None
        except (ValueError, RecursionError, MemoryError):
            raise UserError(f"{self.option}: cannot be read: {self.text[:60]!r}") from None
        return Filter(self.text, frozenset(self.names), condition)

    def _condition(self, node: ast.expr) -> _Condition:
        if isinstance(node, ast.BoolOp):
            parts = [self._condition(value) for value in node.values]
            return _all(parts) if isinstance(node.op, ast.And) else _any(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return _not(self._condition(node.operand))
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return _all([self._comparison(op, left, right) for op, left, right in pairs])
        if self._name(node) is not None:
            raise self._unexpected("compare it with something", node)
        raise self._unexpected(f"not a comparison (allowed: {_SHOWN})", node)

    def _comparison(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> _Condition:
        kind = type(op)
        if kind in (ast.In, ast.NotIn):
            inside = self._inside(left, right)
            return inside if kind is ast.In else _not(inside)
        compare = _COMPARISONS.get(kind)
        if compare is None:
            raise self._unexpected("'is' is not known here; use == or !=", right)
        self._check_kinds(left, right)
        return _compare(compare, self._operand(left), self._operand(right))

    def _inside(self, left: ast.expr, right: ast.expr) -> _Condition:
        """Return ``value in (a, b)``, or ``text in name``: part of the text."""
        value = self._operand(left)
        if isinstance(right, ast.List | ast.Tuple | ast.Set):
            for element in right.elts:
                self._check_kinds(left, element)
            each = [_compare(_equal, value, self._operand(element)) for element in right.elts]
            return _any(each)
        return _compare(_part_of, value, self._operand(right))

    def _operand(self, node: ast.expr) -> _Operand:
        name = self._name(node)
        if name is not None:
            self.names.add(self._known(name, node))
            return lambda lookup: lookup(name)
        known, value = self._constant(node)
        if not known:
            raise self._unexpected(f"not known here (allowed: {_SHOWN})", node)
        return lambda _: value

    def _constant(self, node: ast.expr) -> tuple[bool, Value]:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            known, value = self._constant(node.operand)
            if known and isinstance(value, float):
                return True, -value if isinstance(node.op, ast.USub) else value
            return False, MISSING
        if not isinstance(node, ast.Constant):
            return False, MISSING
        found = node.value
        if found is None or isinstance(found, float | str | bool):
            return True, found
        if not isinstance(found, int):
            return False, MISSING
        try:
            return True, float(found)
        except OverflowError:
            raise self._unexpected("is too large a number", node) from None

    def _name(self, node: ast.expr) -> str | None:
        """Return the name that a node spells: ``a``, ``a.b``, ``a/b``, ``a-b``."""
        if isinstance(node, ast.Name):
            return self.quoted.get(self.lead + node.col_offset, node.id)
        if isinstance(node, ast.Attribute):
            before = self._name(node.value)
            return None if before is None else f"{before}.{node.attr}"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Sub):
            before, after = self._name(node.left), self._name(node.right)
            if before is None or after is None:
                return None
            return f"{before}{'/' if isinstance(node.op, ast.Div) else '-'}{after}"
        return None

    def _known(self, name: str, node: ast.expr) -> str:
        if name in self.columns or name in self.settings:
            return name
        match = nearest(name[:_QUOTED_BY_ERRORS], [*self.columns, *self.settings])
        hint = f"; did you mean {match!r}?" if match else ""
        raise self._unexpected(
            f"no such column or setting (allowed: {', '.join(self.columns)}, or a setting by its "
            f"dotted name; text stands in quotes{hint})",
            node,
        )

    def _check_kinds(self, left: ast.expr, right: ast.expr) -> None:
        """Refuse what can never match: a column of numbers beside text, or the other way."""
        for name_node, other in ((left, right), (right, left)):
            name = self._name(name_node)
            known, value = self._constant(other)
            if name is None or name not in self.columns or not known:
                continue
            kind = self.columns[name]
            wanted: type = float if kind == "number" else str
            if not isinstance(value, wanted):
                other_kind = "a number" if kind == "number" else "text in quotes"
                raise self._unexpected(f"{name} is compared with {other_kind}", other)

    def _unexpected(self, problem: str, node: ast.expr) -> UserError:
        source = self.text.encode()
        start = self.lead + node.col_offset
        end = self.lead + (node.end_col_offset or node.col_offset)
        found = source[start:end].decode(errors="replace")
        place = len(source[:start].decode(errors="replace"))
        return self._fail(f"{found[:_QUOTED_BY_ERRORS]!r}: {problem}", place)

    def _fail(self, problem: str, place: int) -> UserError:
        text = self.text
        if len(text) > _QUOTED_BY_ERRORS:
            begin = max(0, place - _QUOTED_BY_ERRORS // 2)
            text = text[begin : begin + _QUOTED_BY_ERRORS]
        return UserError(f"{self.option}: at character {place + 1} of {text!r}: {problem}")


def _syntax_problem(source: str, error: SyntaxError) -> str:
    if re.search(r"(?<![=!<>])=(?!=)", source):
        return "two = compare, as in n == 3"
    return f"{error.msg} (allowed: {_SHOWN})"


def _levels(tree: ast.AST) -> int:
    """Return how deep a tree is, without going down into it by calls."""
    levels, row = 0, [tree]
    while row:
        levels, row = levels + 1, [below for node in row for below in ast.iter_child_nodes(node)]
    return levels


def _all(parts: Collection[_Condition]) -> _Condition:
    def condition(lookup: Lookup) -> Truth:
        truths = [part(lookup) for part in parts]
        return False if False in truths else None if None in truths else True

    return condition


def _any(parts: Collection[_Condition]) -> _Condition:
    def condition(lookup: Lookup) -> Truth:
        truths = [part(lookup) for part in parts]
        return True if True in truths else None if None in truths else False

    return condition


def _not(part: _Condition) -> _Condition:
    def condition(lookup: Lookup) -> Truth:
        truth = part(lookup)
        return None if truth is None else not truth

    return condition


def _compare(
    compare: Callable[[Value, Value], Truth], left: _Operand, right: _Operand
) -> _Condition:
    def condition(lookup: Lookup) -> Truth:
        one, other = left(lookup), right(lookup)
        if one is MISSING or other is MISSING:
            return None
        return compare(one, other)

    return condition


def _equal(one: Value, other: Value) -> Truth:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _part_of(one: Value, other: Value) -> Truth:
    return one in other if isinstance(one, str) and isinstance(other, str) else None


def _ordered(compare: Callable[[float | str, float | str], bool]) -> Callable[..., Truth]:
    """Compare numbers with numbers and text with text; of anything else nothing can be told."""

    def ordered(one: Value, other: Value) -> Truth:
        for kind in (float, str):
            if isinstance(one, kind) and isinstance(other, kind):
                return compare(one, other)
        return None

    return ordered


_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Value, Value], Truth]]] = {
    ast.Eq: _equal,
    ast.NotEq: lambda one, other: not _equal(one, other),
    ast.Lt: _ordered(lambda one, other: one < other),  # type: ignore[operator]
    ast.LtE: _ordered(lambda one, other: one <= other),  # type: ignore[operator]
    ast.Gt: _ordered(lambda one, other: one > other),  # type: ignore[operator]
    ast.GtE: _ordered(lambda one, other: one >= other),  # type: ignore[operator]
}
