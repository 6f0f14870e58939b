"""Reading experiment files: includes, overrides, and all errors at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlfd_tune.config.assign import assign
from mlfd_tune.config.base import put_below
from mlfd_tune.config.checking import problems_of
from mlfd_tune.config.messages import Location, short, shorter
from mlfd_tune.config.reading import Reader, absolute_paths, parse_yaml, with_text_keys
from mlfd_tune.config.schema import AblationConfig, ExperimentConfig, SweepConfig, TrainConfig
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.names import problem_with_name
from mlfd_tune.core.uris import without_logins

__all__ = ["KINDS", "Loaded", "load_experiment"]

KINDS: dict[str, type[ExperimentConfig]] = {
    "sweep": SweepConfig,
    "ablation": AblationConfig,
    "train": TrainConfig,
}


_SHOWN = 200  # characters of --set in messages
_MOST_BASES = 20  # each is checked as a whole; one around one around one is rare already


@dataclass(frozen=True)
class Loaded:
    """An experiment file that was read and checked.

    Attributes:
        config: The checked configuration.
        raw: What was read, includes and overrides merged, before defaults were filled in.
        path: The file.
    """

    config: ExperimentConfig
    raw: dict[str, Any]
    path: Path

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.config.name or self.path.stem

    @property
    def kept(self) -> dict[str, Any]:
        """What was read, without logins in URIs: what may be written where others read it."""
        kept: dict[str, Any] = without_logins(self.raw)
        return kept


def load_experiment(path: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """Read and check an experiment file.

    ``include: other.yaml`` (or a list) in any mapping merges another file's keys under those that
    stand beside it. The settings of an ablation's ``design.base`` come below all of them. Paths of
    datasets, weights, includes and bases are relative to the file that names them.

    Args:
        path: A YAML file with a key ``kind``.
        overrides: ``a.b=value`` texts whose values are YAML.

    Raises:
        UserError: With every problem found.
    """
    return _load(Path(path), overrides, ())[0]


def _load(
    path: Path, overrides: Sequence[str], above: tuple[Path, ...]
) -> tuple[Loaded, Mapping[Location, str]]:
    """Return an experiment, and the file that each of its keys stands in.

    Args:
        path: The file.
        overrides: Of `load_experiment`.
        above: The files that are built around it, outermost first.
    """
    reader = Reader()
    raw = reader.read(path)
    for text in overrides:
        _override(raw, text, reader.origins)
    absolute_paths(raw, Path.cwd())  # those that --set gave
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        problem = "this key is needed" if kind is None else f"unknown kind {short(kind)}"
        where = reader.origin(("kind",))
        raise UserError(f"{where}: kind: {problem} {allowed_values(str(kind), KINDS)}")
    base = _base_of(raw)
    if base is not None:
        below, origins = _load_base(base, (*above, path))
        raw = put_below(raw, below.raw)
        reader.origins = {**origins, **reader.origins}
    problems = problems_of(raw, KINDS[kind])
    if problems:
        raise UserError(*(f"{reader.origin(found.location)}: {found}" for found in problems))
    loaded = Loaded(KINDS[kind].model_validate(raw), raw, path)
    unfit = problem_with_name(loaded.name)
    if unfit is not None:
        raise UserError(
            f"{path}: name: this key is needed: the file's name, {loaded.name!r}, {unfit}"
        )
    return loaded, reader.origins


def _base_of(raw: Mapping[str, Any]) -> Path | None:
    design = raw.get("design") if raw["kind"] == "ablation" else None
    base = design.get("base") if isinstance(design, Mapping) else None
    return Path(base) if isinstance(base, str) else None


def _load_base(base: Path, above: tuple[Path, ...]) -> tuple[Loaded, Mapping[Location, str]]:
    where = f"{above[-1]}: design.base"
    if len(above) > _MOST_BASES:
        raise UserError(f"{where}: more than {_MOST_BASES} files are built around one another")
    if os.path.realpath(base) in map(os.path.realpath, above):
        chain = " -> ".join(str(file) for file in (*above, base))
        raise UserError(f"{where}: {base} is built around itself ({chain})")
    try:
        return _load(base, (), above)
    except UserError as error:
        first, *others = error.problems
        named = first if str(base) in first else f"{base}: {first}"
        more = f" (and {len(others)} more)" if others else ""
        raise UserError(f"{where}: {named}{more}") from None


def _override(raw: dict[str, Any], text: str, origins: dict[Location, str]) -> None:
    key, equals, written = text.partition("=")
    shown = shorter(text, _SHOWN)
    if not equals:
        raise UserError(f"--set {shown}: expected key=value, such as search.trials=4")
    try:
        value = with_text_keys(parse_yaml(written, f"--set {shown}"))
        parts = assign(raw, key.strip(), value)
    except UserError as error:
        raise UserError(*(_named(line, shown) for line in error.problems)) from None
    for location in [at for at in origins if at[: len(parts)] == parts]:
        del origins[location]
    origins[parts] = "--set"


def _named(line: str, text: str) -> str:
    return line if line.startswith("--set") else f"--set {text}: {line}"
