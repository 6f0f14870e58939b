"""What all benchmarks share: turns, medians, and their sections of `RESULTS.md`.

Machines are noisy, so nothing here is compared across runs: contenders take turns within one run,
and what counts is the ratio of their medians.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

__all__ = ["RESULTS", "Bar", "Report", "Samples", "measure_in_turns", "write_section"]

RESULTS = Path(__file__).parent / "RESULTS.md"

_HEADING = """# What it costs, measured

Written by `make bench`, or one section by `python -m benchmarks NAME`. Contenders take turns within
one run of one section; compare ratios, not seconds, and nothing across sections. A spread is the
smallest and largest value over the repeats. A bar is what was asked for beforehand; one that is
missed says so.
"""
_PACKAGES = ("torch", "timm", "ray", "optuna", "mlflow")


@dataclass(frozen=True)
class Samples:
    """Repeated measurements of one thing.

    Attributes:
        values: In the order they were taken.
        unit: Such as ``s`` or ``images/s``.
    """

    values: tuple[float, ...]
    unit: str = "s"

    @property
    def median(self) -> float:
        """The median of the values."""
        return median(self.values)

    def over(self, other: Samples) -> Samples:
        """Return how many times `other` this is, pair by pair of repeats."""
        ratios = (mine / its for mine, its in zip(self.values, other.values, strict=True))
        return Samples(tuple(ratios), "x")

    def __str__(self) -> str:
        """Return the median and, of several values, their spread."""
        text = _number(self.median, self.unit)
        if len(self.values) == 1:
            return text
        low, high = _number(min(self.values)), _number(max(self.values))
        return f"{text} ({low} to {high})"


@dataclass(frozen=True)
class Bar:
    """What a figure should reach.

    Attributes:
        what: The figure.
        got: Its measurement.
        wanted: The bar.
        at_least: Whether more is better.
    """

    what: str
    got: Samples
    wanted: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the median reaches the bar."""
        better, worse = (self.got.median, self.wanted)[:: 1 if self.at_least else -1]
        return better >= worse

    def __str__(self) -> str:
        """Return one line that says what was wanted and what was measured."""
        word = "at least" if self.at_least else "at most"
        wanted = _number(self.wanted, self.got.unit)
        return (
            f"{self.what}: {word} {wanted}, measured {self.got}: {'met' if self.met else 'MISSED'}"
        )


@dataclass
class Report:
    """One section of the results.

    Attributes:
        name: The benchmark, as `python -m benchmarks` takes it.
        title: What it measures.
        setting: Sentences on what is compared with what, and at which sizes.
        columns: Headings of the table.
        rows: Its cells.
        bars: What was asked for.
        notes: Further paragraphs: equalities, limits, what was tried.
        pictures: Markdown of figures beside the results.
    """

    name: str
    title: str
    setting: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the section, with the machine and versions it was measured on."""
        parts = [
            f"## {self.title}",
            f"`python -m benchmarks {self.name}` · {_machine()}",
            self.setting,
            _table(self.columns, self.rows),
        ]
        if self.bars:
            parts.append("\n".join(f"* {bar}" for bar in self.bars))
        return "\n\n".join([*parts, *self.notes])


def measure_in_turns(
    contenders: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1
) -> dict[str, Samples]:
    """Return the seconds of each contender; in every repeat each has one turn.

    Args:
        contenders: What to time, by name.
        repeats: Turns that count.
        warm_up: Turns of each that do not count.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warm_up + repeats):
        for name, run in contenders.items():
            begin = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= warm_up:
                taken[name].append(time.perf_counter() - begin)
    return {name: Samples(tuple(values)) for name, values in taken.items()}


def write_section(report: Report, path: Path = RESULTS) -> None:
    """Print a section and put it in its place in the results, leaving the others alone."""
    section = report.markdown()
    print(section)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end -->", before, flags=re.DOTALL))
    sections[report.name] = section
    text = "\n".join(
        f"\n<!-- {name} -->\n{body}\n<!-- end -->" for name, body in sorted(sections.items())
    )
    path.write_text(f"{_HEADING}{text}\n", encoding="utf-8")


def _machine() -> str:
    processor = platform.machine()
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    names = [f"{len(os.sched_getaffinity(0))} cores, {found[1] if found else processor}"]
    if torch.cuda.is_available():
        names.append(torch.cuda.get_device_name())
    names.append(f"Python {platform.python_version()}")
    names += [f"{package} {version(package)}" for package in _PACKAGES]
    return ", ".join(names) + f" · {time.strftime('%Y-%m-%d')}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _number(value: float, unit: str = "") -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    text = f"{value:,.{digits}f}"
    return f"{text}{'' if unit in ('', 'x', '%') else ' '}{unit}"
