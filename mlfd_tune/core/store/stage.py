"""What a stage is: a pure step with a frozen spec and input stages that writes one artifact."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mlfd_tune.core.spec import Spec, content_hash

if TYPE_CHECKING:
    from mlfd_tune.core.store.artifact import Artifact

__all__ = ["Progress", "Stage", "StageContext", "StageResult", "read_below", "walk"]

Progress = Callable[[float, str], None]
"""Called with the fraction done in [0, 1] and a short text such as ``val/acc1 81.3``."""


def _silent(fraction: float, text: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class StageContext:
    """What a running stage is given.

    Attributes:
        out: Empty folder; what is written there becomes the artifact.
        work: Folder that survives a dead owner; checkpoints live here.
        inputs: The artifacts that the stage reads, by the names of `Stage.reads`.
        device: Torch device to compute on. Never part of a stage's identity.
        progress: Called as the work goes on.
    """

    out: Path
    work: Path
    inputs: Mapping[str, Artifact]
    device: str = "cpu"
    progress: Progress = _silent


@dataclass(frozen=True)
class StageResult:
    """What a stage reports beside its files: final metrics, and one dict of metrics an epoch."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()


class Stage(ABC):
    """A pure step: the same spec and inputs give the same artifact.

    Attributes:
        name: The stage's name in the vocabulary, such as ``teacher``.
        version: Raised whenever the code of the stage changes its result.
        spec: All that changes the result, and nothing else (no paths, devices, worker counts).
        stored: Whether the store is to hold its artifact for those who read it. Where it is not,
            they read what it is made of (`reads`) and make it anew. Part of no identity.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    spec: Spec
    stored: bool = True

    @property
    def stage_name(self) -> str:
        """The name under which the artifact is filed."""
        return self.name

    @cached_property
    def inputs(self) -> dict[str, Stage]:
        """The stages that this one is made of, by name: part of its identity and its lineage."""
        return {}

    @property
    def reads(self) -> dict[str, Stage]:
        """The stages whose artifacts must be there before `run`, by the name it reads them under.

        These are the inputs, but for those that are not stored: in place of an input ``targets``
        there is what it reads itself, as ``targets/joint_teacher`` and so on.
        """
        found: dict[str, Stage] = {}
        for name, below in self.inputs.items():
            if below.stored:
                found[name] = below
            else:
                found |= {f"{name}/{inner}": stage for inner, stage in below.reads.items()}
        return found

    @cached_property
    def key(self) -> str:
        """The artifact's name: sha256 over stage name, version, spec and input keys."""
        return content_hash(
            {
                "stage": self.stage_name,
                "version": self.version,
                "spec": self.spec,
                "inputs": {name: stage.key for name, stage in self.inputs.items()},
            }
        )

    @property
    @abstractmethod
    def label(self) -> str:
        """A few words that tell a person which stage this is."""

    @property
    def dataset(self) -> str | None:
        """The dataset the artifact belongs to, or None when it serves several."""
        return None

    def estimate_bytes(self) -> int:
        """Return a bound on the artifact's size in bytes, from shapes alone."""
        return 0

    @abstractmethod
    def run(self, context: StageContext) -> StageResult:
        """Compute the artifact into `context.out`."""


def walk(stages: Iterable[Stage]) -> Iterator[Stage]:
    """Yield every stored stage below and including `stages` once, before whatever reads it."""
    seen: set[tuple[str, bool]] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        # One that is not stored may be met again by somebody who reads it from the store.
        if (stage.key, stage.stored) in seen:
            return
        seen.add((stage.key, stage.stored))
        for below in stage.inputs.values():
            yield from visit(below)
        if stage.stored:
            yield stage

    for stage in stages:
        yield from visit(stage)


def read_below(artifacts: Mapping[str, Artifact], name: str) -> dict[str, Artifact]:
    """Return what an input that is not stored reads itself, from what its reader was given."""
    above = f"{name}/"
    return {
        path.removeprefix(above): artifact
        for path, artifact in artifacts.items()
        if path.startswith(above)
    }
