"""What a pickle may not ask for, found out by reading its opcodes and running none of them.

An unpickler that imports nothing still obeys a file in two ways that end the process: it makes room
for as many remembered objects as the file names, gigabytes for a few bytes; and the hash of a tuple
goes down into the tuples inside of it without a bound.
"""

from __future__ import annotations

import pickletools
from typing import Any

__all__ = ["check_pickle"]

_DEEPEST = 100  # tuples inside one another; four in the deepest that torch or NumPy writes

_REMEMBER = {"PUT", "BINPUT", "LONG_BINPUT"}
_RECALL = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"}
_MARK = pickletools.markobject


def check_pickle(content: bytes) -> int:
    """Check a pickle before it is loaded.

    Args:
        content: The pickle, and what follows it.

    Returns:
        Where it ends.

    Raises:
        ValueError: It is cut short, or asks for what no honest pickle does.
    """
    stack: list[Any] = []  # how deep the tuple at each place is, 0 for anything else
    memo: dict[int, int] = {}
    end = 0
    argument: Any
    for number, (code, argument, place) in enumerate(pickletools.genops(content)):
        end = place or 0
        name = code.name
        if name in _REMEMBER or name == "MEMOIZE":
            index = len(memo) if name == "MEMOIZE" else int(argument)
            if index > number + 1:
                raise ValueError(f"it asks for room for {index:,} objects after {number:,} steps")
            memo[index] = stack[-1] if stack and stack[-1] is not _MARK else 0
            continue
        taken = _take(stack, code)
        depth = 0
        if name in _TUPLES:
            depth = 1 + max(taken, default=0)
            if depth > _DEEPEST:
                raise ValueError(f"more than {_DEEPEST} tuples stand inside one another")
        elif name in _RECALL:
            depth = memo.get(int(argument), 0)
        elif name == "DUP":
            depth = max(taken, default=0)
        stack += [_MARK if kind is _MARK else depth for kind in code.stack_after]
    return end + 1  # STOP, which is one byte, comes last


def _take(stack: list[Any], code: pickletools.OpcodeInfo) -> list[int]:
    """Take from the stack what an opcode takes, and return how deep these tuples are."""
    before = code.stack_before
    taken: list[int] = []
    single = len(before)
    if _MARK in before or (code.name == "POP" and stack and stack[-1] is _MARK):
        while stack and stack[-1] is not _MARK:
            taken.append(stack.pop())
        if not stack:
            raise ValueError("it takes more than it has")
        stack.pop()
        single = before.index(_MARK) if _MARK in before else 0
    if single > len(stack):
        raise ValueError("it takes more than it has")
    for _ in range(single):
        top = stack.pop()
        taken.append(0 if top is _MARK else top)
    return taken
