"""Learning curves: of all trials with the rungs, and of what was confirmed or compared."""

from __future__ import annotations

from mlfd_tune.core.errors import UserError
from mlfd_tune.report.curves import curves_figure
from mlfd_tune.report.histories import curves_of
from mlfd_tune.report.page.drawing import draw
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Part, Section
from mlfd_tune.report.page.searched import METRIC, search_trials
from mlfd_tune.report.runs import finished_run
from mlfd_tune.report.trial_figures import trial_curves_figure
from mlfd_tune.report.trials import rungs_of

__all__ = ["curves"]


def curves(material: Material) -> Section:
    """Return the section."""
    is_sweep = material.parent.kind == "sweep"
    parts = [*(_of_trials(material) if is_sweep else ()), _of_results(material)]
    return Section("curves", "Learning curves", parts)


def _of_trials(material: Material) -> list[Part]:
    trials = [trial for trial in search_trials(material) if trial.values]
    if not trials:
        return [Absent("No trial of the search has reported an epoch.", material.again())]
    sweep = material.sweep
    rungs = (
        {
            name: rungs_of(sweep.search, sweep.students[name].train.epochs)
            for name in sweep.target_names
        }
        if sweep
        else {}
    )
    figure = trial_curves_figure(trials, rungs, METRIC, "All trials of the search")
    return [
        draw(
            material,
            "trial-curves",
            figure,
            "Learning curves of all trials",
            f"Validation accuracy of all {len(trials)} trials after every epoch. Stopped trials "
            "end with a mark at the rung where they were stopped; the best is drawn strongly.",
            keys=("kind", "seed", "student", "search"),
        )
    ]


def _of_results(material: Material) -> Part:
    experiment, run = material.parent.experiment, material.parent.id
    what = "confirmations" if material.parent.kind == "sweep" else "arms"
    try:
        found = finished_run(material.uri, experiment, run)
        of_run = curves_of(material.uri, found, METRIC)
    except UserError as error:
        return Absent(
            f"There are no curves of {what}: {'; '.join(error.problems)}.", material.again()
        )
    return draw(
        material,
        "curves",
        curves_figure(of_run, METRIC, f"Learning curves of the {what}"),
        f"Learning curves of the {what}",
        f"Validation accuracy of the {what} and their teachers after every epoch, averaged over "
        "seeds.",
        *("plot", "curves", experiment),
    )
