"""How the search went: value by trial, and what the trials drew."""

from __future__ import annotations

from mlfd_tune.report.page.drawing import draw
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Part, Section
from mlfd_tune.report.page.searched import METRIC, search_trials, spaces_of
from mlfd_tune.report.parallel_figure import parallel_figure
from mlfd_tune.report.trial_figures import history_figure
from mlfd_tune.report.trials import SearchTrial

__all__ = ["search"]

_TITLE = "Search"
_KEYS = ("kind", "seed", "targets", "search")


def search(material: Material) -> Section | None:
    """Return the section of a sweep; an ablation searches nothing."""
    if material.parent.kind != "sweep":
        return None
    trials = [trial for trial in search_trials(material) if trial.values]
    if not trials:
        why = "No trial of the search has reported an epoch."
        return Section("search", _TITLE, (Absent(why, material.again()),))
    history = draw(
        material,
        "history",
        history_figure(trials, METRIC, "Trial after trial"),
        "Optimisation history",
        "Last validation accuracy of every trial by its number, and the best so far among those "
        "that ran to the end.",
        keys=_KEYS,
    )
    return Section("search", _TITLE, (history, _parallel(material, trials)))


def _parallel(material: Material, trials: list[SearchTrial]) -> Part:
    spaces = spaces_of(material)
    known = [trial for trial in trials if trial.dataset in spaces]
    if not known:
        return Absent(
            "The configuration was not logged with the run, or this version cannot read it, so "
            "what was searched is not known."
        )
    return draw(
        material,
        "parallel",
        parallel_figure(known, spaces, METRIC, "What was tried, and what came of it"),
        "Parallel coordinates of all trials",
        "A line is a trial: it passes every parameter's axis at the value it drew and ends at its "
        "validation accuracy.",
        keys=_KEYS,
    )
