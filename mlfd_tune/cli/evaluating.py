"""What `evaluate` does: checks, the work through the store, files, MLflow and the table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.table import Table

from mlfd_tune.cli.checks import check_inputs
from mlfd_tune.cli.computing import compute, usable_device
from mlfd_tune.cli.evaluation_files import as_json, write_files
from mlfd_tune.cli.evaluation_log import Destination, choose_destination, log_evaluation
from mlfd_tune.cli.options import console, print_json, problems_in
from mlfd_tune.cli.transfer import transfer_datasets
from mlfd_tune.config import Loaded, TrainConfig, pipeline_settings
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.evaluation import (
    JOINT_TEACHER,
    STUDENT,
    TEACHER,
    Evaluation,
    Measured,
    networks,
    usual_comparisons,
)
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.pipeline import Catalogue, Pipeline, check_settings
from mlfd_tune.core.stages import DatasetStage
from mlfd_tune.core.stages.throughput import BATCH_SIZES
from mlfd_tune.core.store import Store
from mlfd_tune.tracking.weights import mlflow_fetcher

__all__ = ["Request", "evaluate_one"]

_WIDEST = 1000


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Attributes:
        beside: What to evaluate beside the student, joined by commas; None for the usual.
        transfers: ``NAME=SOURCE[:PATH]`` of each new dataset.
        output: Folder to write to; None for ``evaluation/<dataset>``.
        uri: MLflow tracking URI; None for the configuration's.
        log: Whether anything is written to MLflow.
        device: Torch device; None for a GPU where there is one.
        json: Whether JSON is printed.
    """

    beside: str | None
    transfers: tuple[str, ...]
    output: Path | None
    uri: str | None
    log: bool
    device: str | None
    json: bool


def evaluate_one(loaded: Loaded, request: Request) -> None:
    """Evaluate the student of a configuration, and print, write and log what is found.

    Raises:
        UserError: Bad settings, names, datasets, device or folder, or MLflow is away.
    """
    config = loaded.config
    assert isinstance(config, TrainConfig)
    device = usable_device(request.device)
    pipeline, store, transfer, names = _checked(loaded, config, request)
    evaluation = Evaluation(
        networks(pipeline, config.target, names), pipeline.student_data(config.target), transfer
    )
    destination = choose_destination(loaded, evaluation, request.uri) if request.log else None
    folder = _folder(request.output or Path("evaluation") / config.target)
    started = time.monotonic()
    with problems_in(loaded.path):
        stages = evaluation.stages()
        todo = [stage for stage in stages if not store.has(stage)]
        needed = sum(stage.estimate_bytes() for stage in todo)
        store.require_space(needed, "the networks and their evaluation")
        compute(todo, store, device, console(stderr=request.json))
    found = evaluation.measure(store, torch.device(device))
    content = as_json(found, loaded, evaluation.data, transfer, device)
    files = write_files(folder, found, content, evaluation.data.listing[1], config.seed)
    work = {
        "computed_stages": len(todo),
        "reused_stages": len(stages) - len(todo),
        "seconds": time.monotonic() - started,
    }
    if not request.json:  # before logging: MLflow may have gone away meanwhile
        _print(found, evaluation, list(transfer))
        console().print(
            f"{work['reused_stages']} stages reused, {work['computed_stages']} computed; "
            f"{work['seconds']:.0f} s. {len(files)} files in {folder}",
            highlight=False,
            soft_wrap=True,
        )
    logged = log_evaluation(destination, files, found[0]) if destination else None
    if request.json:
        told = {"files": [str(file) for file in files], "logged": logged, **work}
        print_json({**content, **told})
    elif destination and logged:
        _print_logged(destination, logged["run_id"])


def _checked(
    loaded: Loaded, config: TrainConfig, request: Request
) -> tuple[Pipeline, Store, dict[str, DatasetStage], tuple[str, ...]]:
    """Check all that can be before anything is computed."""
    with problems_in(loaded.path):
        settings = pipeline_settings(config)
        check_settings(settings)
        names = _beside(request.beside)
        names = usual_comparisons(settings) if names is None else names
        for name in names:
            if name != TEACHER:
                try:
                    check_settings(settings.model_copy(update={"method": name}))
                except UserError as error:
                    raise UserError(
                        *(f"--with {name}: {line}" for line in error.problems)
                    ) from None
        store = Store(config.store.path, config.store.max_bytes)
        catalogue = Catalogue(mlflow_fetcher(config.tracking.uri, store.root / "weights"))
        check_inputs(config, catalogue, store)
        transfer = transfer_datasets(request.transfers, config, catalogue)
    return Pipeline(settings, catalogue), store, transfer, names


def _beside(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a list joined by commas; an empty text names nothing."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = [TEACHER, *METHODS]
    problems = [
        f"--with {name}: unknown network {allowed_values(name, known)}"
        for name in names
        if name not in known
    ]
    if problems:
        raise UserError(*problems)
    return names


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {path}: cannot be made: {error.strerror}") from None
    return path


def _print(found: Sequence[Measured], evaluation: Evaluation, transfer: Sequence[str]) -> None:
    out = console()
    # One space between columns and two lines of headings, so that it fits a narrow terminal.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("network", no_wrap=True)
    columns = ["acc1", "acc5", "ECE", "k-NN", "probe"]
    columns += [f"{name}\n{what}" for name in transfer for what in ("k-NN", "probe")]
    columns += ["params", *(f"img/s\nby {size}" for size in BATCH_SIZES)]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for one in found:
        table.add_row(*_row(one, transfer))
    # As wide as it gets: a narrow terminal wraps lines, but rich would leave digits out.
    out.print(table, width=_WIDEST, crop=False)
    images = int(found[0].matrix.sum())
    out.print(
        f"\nTest split of {evaluation.data.dataset}, {images} images; all but size and speed in %.",
        highlight=False,
    )
    for one in found:
        out.print(f"{one.network.name}: {one.network.label}", highlight=False, markup=False)
    for line in _notes(found):
        out.print(line, highlight=False, markup=False)


def _row(one: Measured, transfer: Sequence[str]) -> list[str]:
    names = ["test/acc1", "test/acc5", "test/ece", "test/knn_acc1", "test/probe_acc1"]
    names += [f"transfer/{name}/{what}_acc1" for name in transfer for what in ("knn", "probe")]
    speeds = [one.images_per_second.get(size) for size in BATCH_SIZES]
    return [
        one.network.name,
        *(f"{one.metrics[name]:.2f}" for name in names),
        f"{one.parameters / 1e6:.2f}M",
        *("" if speed is None else f"{speed:,.0f}" for speed in speeds),
    ]


def _notes(found: Sequence[Measured]) -> list[str]:
    seeds = ", ".join(
        f"{one.network.name} {'none' if one.network.seed is None else one.network.seed}"
        for one in found
    )
    notes = [
        f"Seeds: {seeds}. These are numbers of one seed, without an interval; whether there is a "
        "gain, several seeds tell: see the confirmed rows of `mlfd-tune leaderboard`."
    ]
    sizes = {one.network.name: one.parameters for one in found}
    if STUDENT in sizes and "none" in sizes and JOINT_TEACHER in sizes:
        same = sizes[STUDENT] == sizes["none"]
        of_student = "exactly" if same else f"{sizes[STUDENT] / sizes['none']:.2f} times"
        times = sizes[JOINT_TEACHER] / sizes[STUDENT]
        notes.append(
            f"The student runs {of_student} as many parameters as its baseline, and its joint "
            f"teacher {times:.1f} times as many as the student."
        )
    return notes


def _print_logged(destination: Destination, run_id: str) -> None:
    out = console()
    for line in (*destination.notes, f"logged to run {run_id} of {destination.shown}"):
        out.print(line, highlight=False, markup=False, soft_wrap=True)
