"""What `run --profile` leaves: a trace of one trial and the timeline, in files and in MLflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mlfd_tune.core.training.profiling import OPERATORS, TRACE
from mlfd_tune.report.figures import save_figure
from mlfd_tune.report.timeline import timeline_figure
from mlfd_tune.tracking.artifacts import log_to_run
from mlfd_tune.tracking.ledger import Ledger
from mlfd_tune.tune.run_folder import RunFolder
from mlfd_tune.tune.run_log import PARENT
from mlfd_tune.tune.timeline import PROFILE, read_timeline

__all__ = ["log_to_parent", "write_profile"]

_LEDGER = "ledger.sqlite"  # in a run's outbox


def write_profile(folder: RunFolder, uri: str, say: Callable[[str], None]) -> None:
    """Draw the timeline beside the trace and add both to the artifacts of the run in MLflow.

    Args:
        folder: The run's folder.
        uri: MLflow tracking URI.
        say: Told where everything is.

    Raises:
        UserError: MLflow cannot be reached or refuses.
    """
    profile = folder.path / PROFILE
    name = f"{folder.path.parent.name}, run {folder.id}"
    figure = timeline_figure(read_timeline(folder.path), name)
    picture, _ = save_figure(figure, profile / "timeline")
    say(f"timeline: {picture}")
    if (profile / TRACE).is_file():
        say(f"trace: {profile / TRACE} (open it in https://ui.perfetto.dev)")
        say(f"operators: {profile / OPERATORS}")
    else:
        say("no trace: no trial trained an epoch, all were in the store")
    log_to_parent(folder.path, uri, sorted(profile.iterdir()), PROFILE)


def log_to_parent(run: Path, uri: str, files: Sequence[Path], folder: str) -> str | None:
    """Add files to the MLflow run that a run's folder is of.

    Args:
        run: The run's folder.
        uri: MLflow tracking URI.
        files: What to add.
        folder: Folder among the artifacts.

    Returns:
        MLflow's id of the run, or None where it has not been sent there.

    Raises:
        UserError: MLflow cannot be reached or refuses.
    """
    path = RunFolder(run).outbox / _LEDGER
    if not path.is_file():
        return None
    ledger = Ledger(path)
    run_id = ledger.run_id(PARENT)
    ledger.close()
    if run_id is not None:
        log_to_run(uri, run_id, files, folder, {})
    return run_id
