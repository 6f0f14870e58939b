"""Students that differ in coefficients alone: trained apart, or fused into one network (HFTA)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache, partial
from multiprocessing import get_context

import torch

from benchmarks.fused_students import (
    DIFFERENCES_ALLOWED,
    Apart,
    Batch,
    Case,
    Fused,
    differences,
    renderings,
)
from benchmarks.harness import Bar, Report, Samples, measure_in_turns
from mlfd_tune.core.numeric import fixed_threads

__all__ = ["run"]

_STUDENT_STEPS = 4  # of all students together in one turn
_STUDENTS_OF_BAR, _WORTH_IT = 4, 1.3

_LINEUP = ("test_efficientnet", "test_resnet", "test_convnext")
_QUICK_CASES = (Case(_LINEUP[0], 2, batch=4),)
_CASES = (
    *(Case(arch, count) for arch in _LINEUP for count in (1, 2, 4, 8)),
    Case("test_resnet", 4, batch=32),
    Case("test_resnet", 4, size=64, batch=32),
    Case("resnet18", 4, batch=32),
)

_FINDINGS = (
    "Verdict: it is left out of the platform, which goes on running trials side by side. On CPU a "
    "step's time is that of its convolutions and norms, and in groups these take about as long as "
    "one by one; wide ones (`resnet18`) take oneDNN longer. `vmap` calls the same grouped kernels "
    "and adds copies between its layouts; it loses most where a convolution is depthwise "
    "(`test_convnext`). What is gained is the fixed cost of the calls, and one update of the "
    "weights instead of many, which torch's fused AdamW speeds up for a student alone as well.",
    "Against it also: trials of one search differ in fusion depth, adaptor, augmentation or "
    "feature loss, so that few share network, targets and batches; and early stopping ends fused "
    "students one by one, so that the rest must be stacked anew. Dropout and stochastic depth "
    "would draw otherwise than apart: equal in distribution only.",
    "Tried and left out: grouped layers with a loop over the students in each convolution, which "
    "was no faster than apart. HFTA's gain comes from kernels too small to fill a GPU. With one "
    "this benchmark runs there; until its section says so, that is not measured.",
)


def run(quick: bool) -> Report:
    """Compare students fused with students apart, in one process and in two."""
    report = Report(
        name="fused",
        title="Students fused into one network",
        setting=(
            "Students of one architecture that differ in alpha, beta, temperature, learning rate "
            "and seed, on the same batches: augmentation, Eq. 3 at two levels, AdamW. *In turn*: "
            "one after the other in one process of one thread, in images/s of all students "
            "together; the ratios beside it are of one process of one thread as well. *Grouped*: "
            "one network whose convolutions have a group per student (HFTA, arXiv 2102.02344). "
            "*vmap*: `torch.func`. *Side by side*: two processes of one thread, each with half of "
            "the students in turn, as the platform runs its trials. The ratios after it are "
            "against that: of students fused (grouped, or by vmap where an architecture cannot be "
            "grouped) in one process of two threads, and in two of one thread, half of them each. "
            "Fused students prepare a batch once for all, and their optimiser is one."
        ),
        columns=(
            *("student", "px", "batch", "students", "in turn", "grouped", "vmap"),
            *("side by side", "fused, 2 threads", "fused, 2 processes"),
        ),
    )
    repeats = 1 if quick else 4
    report.notes.append(_check_equal(_LINEUP[:1] if quick else _LINEUP))
    with ExitStack() as stack, fixed_threads(1):
        spawn = get_context("spawn")  # a forked process would inherit this one's thread pools
        workers = [stack.enter_context(ProcessPoolExecutor(1, mp_context=spawn)) for _ in range(2)]
        for case in _QUICK_CASES if quick else _CASES:
            _measure(case, workers, repeats, report)
        report.notes.append(_fixed_costs(workers[0], _LINEUP[:1] if quick else _LINEUP, repeats))
    report.notes += _FINDINGS
    return report


def _measure(
    case: Case, workers: Sequence[ProcessPoolExecutor], repeats: int, report: Report
) -> None:
    steps = max(_STUDENT_STEPS // case.count, 1)
    kinds = renderings(case)
    contenders = {"in turn": partial(_at_once, workers, [case], Apart, steps)}
    contenders |= {kind.__name__: partial(_at_once, workers, [case], kind, steps) for kind in kinds}
    if case.count > 1:
        half = case.count // 2
        halves = [replace(case, count=half, first=first) for first in (0, half)]
        contenders |= {
            "side by side": partial(_at_once, workers, halves, Apart, steps),
            "2 threads": partial(_at_once, workers, [case], kinds[0], steps, threads=2),
            "2 processes": partial(_at_once, workers, halves, kinds[0], steps),
        }
    seconds = measure_in_turns(contenders, repeats)

    def rate(name: str) -> str:
        images = steps * case.count * case.batch
        return f"{images / seconds[name].median:,.0f}" if name in seconds else "-"

    def gain(name: str, over: str) -> Samples | str:
        return seconds[over].over(seconds[name]) if name in seconds else "-"

    report.rows.append(
        (
            *(case.arch, case.size, case.batch, case.count),
            *(rate("in turn"), gain("Grouped", "in turn"), gain("Vmapped", "in turn")),
            rate("side by side"),
            *(gain("2 threads", "side by side"), gain("2 processes", "side by side")),
        )
    )
    if case.count == _STUDENTS_OF_BAR and case.arch in _LINEUP and case.size == 32:
        best = min(("2 threads", "2 processes"), key=lambda name: seconds[name].median)
        what = f"{case.arch}, {case.count} students, batches of {case.batch}: fused, {best}"
        got = seconds["side by side"].over(seconds[best])
        report.bars.append(Bar(f"{what}, over side by side", got, _WORTH_IT))


def _at_once(
    workers: Sequence[ProcessPoolExecutor],
    cases: Sequence[Case],
    kind: Callable[[Case, torch.device], Apart | Fused],
    steps: int,
    threads: int = 1,
) -> None:
    """Train each of `cases` in a process of its own, all at the same time."""
    turns = [
        worker.submit(_train, case, kind, steps, threads)
        for case, worker in zip(cases, workers, strict=False)
    ]
    for turn in turns:
        turn.result()


def _train(
    case: Case, kind: Callable[[Case, torch.device], Apart | Fused], steps: int, threads: int
) -> None:
    """Train in a worker for some steps, with students that stay there for the next turn."""
    team, batches = _team(case, kind, steps)
    with fixed_threads(threads):
        team.train(batches)
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@lru_cache(maxsize=5)  # of one case; those of the next push them out
def _team(
    case: Case, kind: Callable[[Case, torch.device], Apart | Fused], steps: int
) -> tuple[Apart | Fused, list[Batch]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return kind(case, device), [Batch(case, number, device) for number in range(steps)]


def _check_equal(architectures: Sequence[str]) -> str:
    """Raise unless students fused are as students apart; say how far they differ.

    Raises:
        RuntimeError: They differ by more than `DIFFERENCES_ALLOWED`.
    """
    worst = {dtype: dict.fromkeys(kinds, 0.0) for dtype, kinds in DIFFERENCES_ALLOWED.items()}
    for dtype, kinds in DIFFERENCES_ALLOWED.items():
        for case in (Case(arch, 3, batch=8, dtype=dtype) for arch in architectures):
            for fused in renderings(case):
                got = differences(fused, case)
                for kind, allowed in kinds.items():
                    worst[dtype][kind] = max(worst[dtype][kind], got[kind])
                    if not got[kind] <= allowed:
                        raise RuntimeError(
                            f"{case.arch}, {fused.__name__}, {dtype}: {kind} differ from those of "
                            f"students apart by {got[kind]:.0e} (allowed: {allowed:.0e})"
                        )
    double, single = worst[torch.float64], worst[torch.float32]
    return (
        "Equal, as checked in this run: three steps from the same start give three students fused "
        "and apart the same weights, running statistics and optimiser moments, to "
        f"{max(double.values()):.0e} of the largest in double precision, and the same losses to "
        f"{single['losses']:.0e} in single precision."
    )


def _fixed_costs(worker: ProcessPoolExecutor, architectures: Sequence[str], repeats: int) -> str:
    """Measure how much of a step does not grow with the batch: what fusing can share."""
    seconds = measure_in_turns(
        {
            f"{arch} {batch}": partial(_at_once, [worker], [Case(arch, 1, batch=batch)], Apart, 4)
            for arch in architectures
            for batch in (2, 64)
        },
        repeats,
    )
    shares = (
        f"{seconds[f'{arch} 2'].median / seconds[f'{arch} 64'].median:.0%} ({arch})"
        for arch in architectures
    )
    return (
        "What fusing can share is the fixed cost of a step: calling some hundred operators and "
        "updating the weights. A step of 2 images takes this much of the time of one of 64, which "
        f"bounds it from above: {', '.join(shares)}."
    )
