"""What the user watches: a live table in a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mlfd_tune.core.store import Artifact, Stage
from mlfd_tune.tune.records import Outcome

__all__ = ["Progress", "duration"]

PLAIN_LINE_EVERY_S = 20.0
_BAR = 20


@dataclass
class DatasetTally:
    """How one dataset's trials stand."""

    planned: int
    states: Counter[str] = field(default_factory=Counter)
    best: float | None = None
    reused_epochs: int = 0
    epochs: int = 0
    seconds_shared: float = 0.0

    @property
    def ended(self) -> int:
        """Trials that are over, however they ended."""
        return sum(self.states.values())


class Progress:
    """Tells the user what happens. A context manager; the display lives inside the block.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.title = ""
        self.stages_reused = 0
        self.seconds_saved = 0.0
        self.stages_computed: Counter[str] = Counter()
        self._stages_total = 0
        self._stages_ended = 0
        self._moving: dict[str, tuple[Stage, float, str]] = {}
        self._tallies: dict[str, DatasetTally] = {}
        self._running: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._phase_started = time.monotonic()
        self._last_plain = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self.console,
                refresh_per_second=4,
                transient=True,
            )
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, traceback)
            self._live = None

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, highlight=False)

    def phase(self, title: str, planned: Mapping[str, int] | None = None) -> None:
        """Begin a phase with so many trials per dataset."""
        self.title = title
        self._phase_started = self._last_plain = time.monotonic()
        self._tallies = {name: DatasetTally(count) for name, count in (planned or {}).items()}
        self._running = {}

    def stages_found(self, todo: Sequence[Stage], reused: int, seconds_saved: float) -> None:
        """Tell which shared stages there are to compute."""
        self.stages_reused += reused
        self.seconds_saved += seconds_saved
        self._stages_total += len(todo)
        saved = f", {duration(seconds_saved)} of computing saved" if reused else ""
        self.say(f"stages: {reused} reused{saved}; {len(todo)} to compute{_by_name(todo)}")

    def stages_added(self, todo: int, reused: int, seconds_saved: float) -> None:
        """Count stages that turned out to be needed when a trial was drawn."""
        self.stages_reused += reused
        self.seconds_saved += seconds_saved
        self._stages_total += todo

    def stage_moved(self, stage: Stage, fraction: float, text: str) -> None:
        """Show how far a running stage is."""
        self._moving[stage.key] = (stage, fraction, text)
        self._plain_line()

    def stage_done(self, stage: Stage, artifact: Artifact) -> None:
        """Show a stage that was computed."""
        self._moving.pop(stage.key, None)
        self._stages_ended += 1
        self.stages_computed[stage.stage_name] += 1
        accuracy = artifact.manifest.metrics.get("val/acc1")
        shown = f"  val/acc1 {accuracy:.1f}" if accuracy is not None else ""
        took = duration(artifact.manifest.seconds)
        self.say(f"  [{self._stages_ended}/{self._stages_total}] {stage.label}: {took}{shown}")

    def trial_started(self, trial: str, dataset: str) -> None:
        """Show a trial that began."""
        self._running[trial] = (dataset, {})

    def trial_result(self, trial: str, dataset: str, result: Mapping[str, Any]) -> None:
        """Show a trial's latest epoch."""
        self._running[trial] = (dataset, result)
        self._plain_line()

    def trial_ended(
        self, trial: str, dataset: str, outcome: Outcome, result: Mapping[str, Any]
    ) -> None:
        """Count a trial that is over.

        Args:
            trial: Its id.
            dataset: Its dataset.
            outcome: How it ended.
            result: What it reported last; empty if nothing.
        """
        self._running.pop(trial, None)
        tally = self._tallies[dataset]
        tally.states[outcome] += 1
        tally.reused_epochs += result.get("reused_epochs", 0)
        tally.epochs += result.get("epoch", 0)
        tally.seconds_shared += result.get("seconds_reused", 0.0)
        value = result.get("val/acc1")
        if outcome == "complete" and value is not None:
            tally.best = value if tally.best is None else max(tally.best, value)
        self._plain_line()

    def finish_phase(self) -> None:
        """Print what came out of the phase's trials."""
        states: Counter[str] = Counter()
        for tally in self._tallies.values():
            states += tally.states
        took = duration(time.monotonic() - self._phase_started)
        counts = ", ".join(
            f"{states[name]} {name}" for name in ("complete", "pruned", "failed") if states[name]
        )
        epochs = sum(tally.epochs for tally in self._tallies.values())
        reused = sum(tally.reused_epochs for tally in self._tallies.values())
        replayed = f"; {reused} of {epochs} epochs taken from the store" if reused else ""
        self.say(f"{self.title}: {counts or 'nothing to do'} in {took}{replayed}")
        if self._seconds_shared:
            worth = duration(self._seconds_shared)
            self.say(f"  its trials read stages worth {worth} of computing, each computed once")

    @property
    def _seconds_shared(self) -> float:
        """What the phase's trials would have spent on stages that they found in the store."""
        return sum(tally.seconds_shared for tally in self._tallies.values())

    def _eta(self) -> str:
        planned = sum(tally.planned for tally in self._tallies.values())
        ended = sum(tally.ended for tally in self._tallies.values())
        if not ended or ended >= planned:
            return ""
        elapsed = time.monotonic() - self._phase_started
        return f"about {duration(elapsed / ended * (planned - ended))} left"

    def _plain_line(self) -> None:
        if self._live is not None or time.monotonic() - self._last_plain < PLAIN_LINE_EVERY_S:
            return
        self._last_plain = time.monotonic()
        parts = [f"{stage.label} {fraction:.0%}" for stage, fraction, _ in self._moving.values()]
        if self._tallies:
            trials = ", ".join(
                f"{name} {tally.ended}/{tally.planned}" for name, tally in self._tallies.items()
            )
            parts.append(f"{self.title}: {trials} {self._eta()}".rstrip())
        if parts:
            self.say(f"  ... {', '.join(parts)}")

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        for stage, fraction, text in list(self._moving.values()):
            done = round(fraction * _BAR)
            bar = "━" * done + "╌" * (_BAR - done)
            parts.append(Text(f"  {bar} {fraction:4.0%}  {stage.label}  {text}", no_wrap=True))
        if self._tallies:
            parts.append(self._table())
        return Group(*parts)

    def _table(self) -> Table:
        elapsed = duration(time.monotonic() - self._phase_started)
        table = Table(title=f"{self.title} · {elapsed} {self._eta()}", title_justify="left")
        table.add_column("dataset")
        for name in ("done", "running", "pruned", "failed", "best val/acc1", "reused epochs"):
            table.add_column(name, justify="right")
        running = Counter(dataset for dataset, _ in list(self._running.values()))
        for name, tally in self._tallies.items():
            table.add_row(
                name,
                f"{tally.ended}/{tally.planned}",
                str(running[name]),
                str(tally.states["pruned"]),
                str(tally.states["failed"]),
                "" if tally.best is None else f"{tally.best:.1f}",
                f"{tally.reused_epochs}/{tally.epochs}",
            )
        table.caption = (
            f"{self.stages_reused} stages reused, {duration(self.seconds_saved)} saved; "
            f"trials read stages worth {duration(self._seconds_shared)}"
        )
        table.caption_justify = "left"
        return table


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _by_name(stages: Sequence[Stage]) -> str:
    counts = Counter(stage.stage_name for stage in stages)
    shown = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f" ({shown})" if shown else ""
