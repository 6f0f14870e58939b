"""The runs of the teachers and joint teachers that a run's students learned from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.models import fusion_depth
from mlfd_tune.report.runs import Trained
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.limits import valid_name
from mlfd_tune.tracking.results import Result

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["TeacherRun", "teacher_runs"]

Kind = Literal["teacher", "joint_teacher"]


@dataclass(frozen=True)
class TeacherRun:
    """A teacher or joint teacher on one dataset.

    Attributes:
        role: Which of them it is.
        dataset: The dataset it is measured on.
        label: What to call it, such as ``joint teacher L2``.
        run_ids: MLflow's ids of its stage's runs, one per seed.
        of_one_dataset: Whether it learned this dataset's labels only.
    """

    role: Kind
    dataset: str
    label: str
    run_ids: tuple[str, ...]
    of_one_dataset: bool


def teacher_runs(client: MlflowClient, trained: Iterable[Trained]) -> list[TeacherRun]:
    """Return the teachers of the datasets, and the joint teachers, that students learned from.

    A stage that several runs used has one run, be it of an earlier sweep, to which they are linked
    by tags. What only controls learned from is left out, and a joint teacher that was measured as
    a method of its own stands among the methods.

    Args:
        client: Of the tracking server.
        trained: What the run trained.
    """
    users: dict[tuple[Kind, str, str], list[Trained]] = {}
    measured = set()
    for one in trained:
        method = METHODS.get(one.result.method)
        role = "method" if method is None else method.role
        for kind, run_id in _linked(one):
            if role == "reference":
                measured.add(run_id)
            elif role == "method":
                users.setdefault((kind, one.result.dataset, run_id), []).append(one)
    found: dict[tuple[Kind, str, str], list[tuple[Run, list[Trained]]]] = {}
    for (kind, dataset, run_id), its_users in users.items():
        if run_id not in measured or kind == "teacher":
            run = client.get_run(run_id)
            found.setdefault((kind, dataset, _label(kind, run)), []).append((run, its_users))
    return [
        teacher
        for (kind, dataset, label), runs in found.items()
        for teacher in _told_apart(kind, dataset, label, runs)
    ]


def _linked(one: Trained) -> list[tuple[Kind, str]]:
    """Return the runs of a student's own dataset's teacher and of its joint teacher."""
    dataset = one.result.dataset
    links: list[tuple[Kind, str]] = []
    for kind, of in (("teacher", dataset), ("joint_teacher", dataset), ("joint_teacher", "all")):
        run_id = one.tags.get(valid_name(vocabulary.stage_tag(f"{kind}.{of}")))
        if run_id:
            links.append(("teacher" if kind == "teacher" else "joint_teacher", run_id))
    return links


def _label(kind: Kind, run: Run) -> str:
    if kind == "teacher":
        return "teacher"
    levels = ast.literal_eval(run.data.params["fusion.levels"])
    return f"joint teacher {fusion_depth(levels)}"


def _told_apart(
    kind: Kind, dataset: str, label: str, runs: list[tuple[Run, list[Trained]]]
) -> list[TeacherRun]:
    """Fold runs that differ by their seed only; name others by what else differs."""
    one = all(vocabulary.DATASET in run.data.tags for run, _ in runs)
    specs = {tuple(sorted(_without_seed(run).items())) for run, _ in runs}
    if len(specs) == 1 and len({run.data.params.get("seed") for run, _ in runs}) == len(runs):
        run_ids = tuple(run.info.run_id for run, _ in runs)
        return [TeacherRun(kind, dataset, label, run_ids, one)]
    names = _differing([users[0].result for _, users in runs])
    return [
        TeacherRun(kind, dataset, f"{label} ({name})", (run.info.run_id,), one)
        for (run, _), name in zip(runs, names, strict=True)
    ]


def _without_seed(run: Run) -> dict[str, str]:
    return {
        name: value
        for name, value in run.data.params.items()
        if name not in ("seed", "artifact_key")
    }


def _differing(results: Sequence[Result]) -> list[str]:
    """Return what to call a joint teacher of each result: its settings that others do not share."""
    prefix = "joint_teacher."
    names = sorted({name for r in results for name in r.params if name.startswith(prefix)})
    names = [name for name in names if len({r.params.get(name) for r in results}) > 1]
    told = [
        ", ".join(f"{name.removeprefix(prefix)}={_shown(r.params.get(name))}" for name in names)
        for r in results
    ]
    if len(set(told)) == len(results):
        return told
    return [r.arm or f"{r.method} {r.config}" for r in results]


def _shown(value: str | None) -> str:
    """Return a setting as arms are named: lists with ``+``."""
    return re.sub(r"'?, '?", "+", (value or "").strip("[]'"))
