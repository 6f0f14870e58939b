"""Real stages that take no time, for tests of the store, importable by spawned processes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pydantic import Field

from mlfd_tune.core.spec import Spec
from mlfd_tune.core.store import Stage, StageContext, StageResult

STEPS = 5


class NoteSpec(Spec):
    text: str = ""
    number: float = 0.0
    tags: dict[str, float] = Field({})


class NoteStage(Stage):
    """Writes its text to ``note.txt``, after what its inputs wrote.

    Args:
        text: What to write.
        diary: File outside the store that gets a line whenever the stage runs.
        seconds: How long a run takes.
        estimate: What `estimate_bytes` says.
    """

    name = "note"
    spec: NoteSpec

    def __init__(
        self,
        text: str = "",
        *,
        number: float = 0.0,
        tags: Mapping[str, float] | None = None,
        below: Mapping[str, Stage] | None = None,
        diary: Path | None = None,
        seconds: float = 0.0,
        estimate: int = 0,
    ) -> None:
        self.spec = NoteSpec(text=text, number=number, tags=dict(tags or {}))
        self._below = dict(below or {})
        self.diary = diary
        self.seconds = seconds
        self.estimate = estimate

    @cached_property
    def inputs(self) -> dict[str, Stage]:
        return self._below

    @property
    def label(self) -> str:
        return f"note {self.spec.text[:20]}"

    @property
    def dataset(self) -> str:
        return "diary"

    def estimate_bytes(self) -> int:
        return self.estimate

    def run(self, context: StageContext) -> StageResult:
        write_line(self.diary, self.spec.text)
        time.sleep(self.seconds)
        above = [context.inputs[name].path / "note.txt" for name in sorted(context.inputs)]
        text = "".join(file.read_text() for file in above) + self.spec.text
        (context.out / "note.txt").write_text(text)
        (context.out / "folder").mkdir()
        (context.out / "folder" / "length.txt").write_text(str(len(text)))
        context.progress(1.0, "written")
        return StageResult({"length": float(len(text))}, ({"step": 1.0}, {"step": 2.0}))


class SecondNoteStage(NoteStage):
    """The same under another name."""

    name = "second_note"


class NewerNoteStage(NoteStage):
    """The same by newer code."""

    version = 2


class StepsStage(NoteStage):
    """Takes `STEPS` steps with a checkpoint after each; waits for ever at the step `stop_at`."""

    name = "steps"

    def __init__(self, text: str, diary: Path, stop_at: int | None = None) -> None:
        super().__init__(text, diary=diary)
        self.stop_at = stop_at

    def run(self, context: StageContext) -> StageResult:
        checkpoint = context.work / "step.txt"
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for step in range(done + 1, STEPS + 1):
            write_line(self.diary, f"step {step}")
            checkpoint.write_text(str(step))
            (context.out / "half.txt").write_text("half")
            while step == self.stop_at:
                time.sleep(1)
        (context.out / "steps.txt").write_text(str(STEPS))
        return StageResult({"resumed_after": float(done)})


class FailingStage(NoteStage):
    """Fails after writing half of its files, until told not to."""

    name = "failing"
    fails = True

    def run(self, context: StageContext) -> StageResult:
        (context.work / "checkpoint.txt").write_text("kept")
        (context.out / "half.txt").write_text("half")
        time.sleep(self.seconds)
        if self.fails:
            raise RuntimeError("half way")
        return super().run(context)


def write_line(diary: Path | None, line: str) -> None:
    if diary is not None:
        with diary.open("a") as file:
            file.write(line + "\n")


def lines(diary: Path) -> list[str]:
    return diary.read_text().splitlines() if diary.exists() else []
