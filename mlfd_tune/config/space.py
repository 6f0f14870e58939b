"""Search spaces: which configuration keys a sweep varies, over which values, and when.

```yaml
distillation.alpha: {float: [0.1, 2.0], log: true}
distillation.temperature: {choice: [1, 2, 4]}
joint_teacher.levels: {choice: [L1, L2, [embedding, stride16]]}
joint_teacher.width: {int: [16, 64], step: 16}
joint_teacher.adaptor: {choice: [pointwise, conv3x3], when: {joint_teacher.levels: [L2]}}
distillation.beta.stride32: {float: [0.0, 1.0]}
```

Two things make a parameter conditional. `when` names other parameters of the same space and the
values that switch this one on. A key that ends in ``.beta.<level>`` exists only when the trial's
fusion levels hold that level, because a coefficient of a level that is not fused changes nothing
and would only mislead the sampler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import ConfigDict, RootModel, model_validator

from mlfd_tune.config.distributions import Choice, Distribution, FloatRange, IntRange, choice_text
from mlfd_tune.config.messages import ListedError
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.models.levels import LEVELS, parse_levels

__all__ = ["LEVELS_KEY", "SearchSpace"]

LEVELS_KEY = "joint_teacher.levels"
"""The key that names a trial's fusion levels."""

_KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_BETA_KEY = re.compile(r"(?:.*\.)?beta\.(?P<level>\w+)")


class SearchSpace(RootModel[dict[str, Distribution]]):
    """Dotted configuration keys and the distributions their values are drawn from."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _check(self) -> SearchSpace:
        problems = [p for key in self.root for p in self._problems_of(key)]
        if not self.root:
            problems.append("the search space is empty: name at least one key to vary")
        if not problems:
            try:
                self._order()
            except CycleError as error:
                problems.append("conditions form a cycle: " + " -> ".join(error.args[1]))
        if problems:
            raise ListedError(*problems)
        return self

    def __contains__(self, key: str) -> bool:
        return key in self.root

    def __getitem__(self, key: str) -> FloatRange | IntRange | Choice:
        return self.root[key]

    def __len__(self) -> int:
        return len(self.root)

    def ordered(self) -> Iterator[tuple[str, FloatRange | IntRange | Choice]]:
        """Yield keys and distributions, each after the parameters it depends on."""
        return ((key, self.root[key]) for key in self._order())

    def is_active(self, key: str, chosen: Mapping[str, Any], base_levels: tuple[str, ...]) -> bool:
        """Tell whether `key` exists in a trial that has drawn `chosen` so far.

        Args:
            key: A key of this space whose parents (see `ordered`) have had their turn.
            chosen: The parameters drawn so far; a parent missing here is itself inactive.
            base_levels: The fusion levels of a trial that does not draw them.
        """
        for parent, values in self.root[key].when.items():
            if parent not in chosen:
                return False
            if choice_text(chosen[parent]) not in [choice_text(value) for value in values]:
                return False
        level = _beta_level(key)
        if level is None:
            return True
        return level in (parse_levels(chosen[LEVELS_KEY]) if LEVELS_KEY in chosen else base_levels)

    def _parents(self, key: str) -> list[str]:
        parents = list(self.root[key].when)
        if _beta_level(key) is not None and LEVELS_KEY in self.root:
            parents.append(LEVELS_KEY)
        return parents

    def _order(self) -> list[str]:
        return list(
            TopologicalSorter({key: self._parents(key) for key in self.root}).static_order()
        )

    def _problems_of(self, key: str) -> Iterator[str]:
        if not _KEY.fullmatch(key):
            yield f"{key!r}: not a dotted key like distillation.alpha"
        for other in self.root:
            if other.startswith(f"{key}."):
                yield f"{key!r}: cannot be searched together with {other!r}, which is inside it"
        level = _beta_level(key)
        if level is not None and level not in LEVELS:
            yield f"{key!r}: unknown level {level!r} {allowed_values(level, LEVELS)}"
        if key == LEVELS_KEY:
            yield from self._problems_of_levels()
        for parent, values in self.root[key].when.items():
            if parent not in self.root:
                others = allowed_values(parent, self.root.keys() - {key})
                yield f"{key!r}: when names {parent!r}, which is not searched {others}"
                continue
            for value in values:
                if not self.root[parent].contains(value):
                    yield (
                        f"{key!r}: when {parent} is {value!r} can never hold "
                        f"(allowed: {self.root[parent].allowed()})"
                    )

    def _problems_of_levels(self) -> Iterator[str]:
        distribution = self.root[LEVELS_KEY]
        if not isinstance(distribution, Choice) or not all(map(_is_text, distribution.choice)):
            yield f"{LEVELS_KEY!r}: must be a choice of fusion depths or lists of levels"
            return
        for value in distribution.values():
            try:
                parse_levels(value)
            except UserError as error:
                yield f"{LEVELS_KEY!r}: {error}"


def _beta_level(key: str) -> str | None:
    match = _BETA_KEY.fullmatch(key)
    return match["level"] if match else None


def _is_text(value: Any) -> bool:
    """Tell whether `value` is text or a list of text."""
    return all(isinstance(item, str) for item in (value if isinstance(value, list) else [value]))
