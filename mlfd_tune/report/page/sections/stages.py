"""The stages a run is made of: which it computed, which it found, and what that saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mlfd_tune.core.sizes import size_text
from mlfd_tune.report.page.drawing import draw
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Cell, Node, Part, Section, Table, Tree
from mlfd_tune.report.page.recorded import StageRun
from mlfd_tune.report.page.reused import RunReuse, reuse_of
from mlfd_tune.report.reuse_figure import reuse_figure
from mlfd_tune.tune.progress import duration

__all__ = ["stages"]

_TITLE = "Stages and reuse"
_FEW = 10
_MOST = 400
"""Of the stages in the table and the knots in the tree; a page with more would be slow."""


def stages(material: Material) -> Section:
    """Return the section."""
    reuse = reuse_of(material)
    used = [material.stages[run_id] for run_id in reuse.users]
    if not used:
        why = (
            "No training of this run is linked to a stage; the links are written when a training "
            "ends."
        )
        return Section("stages", _TITLE, (Absent(why, material.again()),))
    kinds = [kind for kind in reuse.kinds if kind.computed + kind.saved > 0]
    parts: list[Part] = []
    if kinds:
        figure = reuse_figure(
            kinds, f"{duration(reuse.computed)} computed, {duration(reuse.saved)} saved"
        )
        parts.append(
            draw(
                material,
                "reuse",
                figure,
                "Seconds computed and saved",
                f"What the run computed ({duration(reuse.computed)}) and what it was spared "
                f"({duration(reuse.saved)}) because stages are computed once and kept.",
                keys=("kind", "datasets", "teacher", "teachers", "joint_teacher", "store"),
            )
        )
    parts += [_tree(used, reuse), _table(used, reuse)]
    return Section("stages", _TITLE, parts, note=f"In the store: {_ls()}")


def _ls() -> str:
    return "mlfd-tune store ls"


def _table(used: list[StageRun], reuse: RunReuse) -> Table:
    shown = sorted(used, key=lambda stage: -_saved(stage, reuse))[:_MOST]
    left_out = f" {len(used) - len(shown)} more are left out." if len(shown) < len(used) else ""
    return Table(
        "table-stages",
        f"{len(used)} stages",
        ("stage", "kind", "dataset", "seconds", "size", "read by", "saved, s", "from"),
        [
            [
                Cell(stage.name),
                Cell(stage.stage.replace("_", " ")),
                Cell(stage.dataset or "all"),
                Cell(f"{stage.seconds:.1f}", stage.seconds),
                Cell(size_text(stage.bytes), stage.bytes),
                Cell(str(reuse.users[stage.run_id]), reuse.users[stage.run_id]),
                Cell(f"{_saved(stage, reuse):.1f}", _saved(stage, reuse)),
                Cell(_origin(stage, reuse), mark=_origin(stage, reuse)),
            ]
            for stage in shown
        ],
        frozenset({3, 4, 5, 6}),
        f"Read by: how many of the run's trainings are made of it.{left_out}",
        folded=len(shown) > _FEW,
    )


def _saved(stage: StageRun, reuse: RunReuse) -> float:
    count = reuse.users[stage.run_id]
    return stage.seconds * (count - 1 if stage.run_id in reuse.here else count)


def _origin(stage: StageRun, reuse: RunReuse) -> str:
    return "this run" if stage.run_id in reuse.here else "the store"


def _tree(used: list[StageRun], reuse: RunReuse) -> Tree:
    """Return the stages that no other one reads, with all they are made of below.

    A stage that several others read is unfolded where it comes first.
    """
    known = {stage.run_id: stage for stage in used}
    read = {run_id for stage in used for run_id in stage.reads}
    tops = [stage for stage in used if stage.run_id not in read]
    tops.sort(key=lambda stage: (stage.dataset, -len(stage.reads), stage.name))
    seen: set[str] = set()
    roots = []
    for top in tops:
        if len(seen) >= _MOST:
            break
        roots.append(_node(top, known, reuse, seen))
    return Tree("What is made of what, from the last stage down to the images", roots)


def _node(stage: StageRun, known: dict[str, StageRun], reuse: RunReuse, seen: set[str]) -> Node:
    again = stage.run_id in seen
    seen.add(stage.run_id)
    below: Iterable[StageRun] = (
        () if again else (known[run_id] for run_id in stage.reads if run_id in known)
    )
    users = reuse.users[stage.run_id]
    note = f"{duration(stage.seconds)}, read by {users} training{'s' if users != 1 else ''}"
    if again and stage.reads:
        note = "unfolded above"
    # What is made of most comes first: the joint teacher before the images it reads, too.
    order: Callable[[StageRun], tuple[int, str]] = lambda one: (-len(one.reads), one.name)  # noqa: E731
    return Node(
        stage.name,
        note,
        _origin(stage, reuse),
        [_node(one, known, reuse, seen) for one in sorted(below, key=order)],
    )
