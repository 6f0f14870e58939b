"""What two arms must share before their seeds are paired. Whatever does not is refused.

A paired difference is free of what the seed alone does only if the runs of one seed differ in
nothing but the design: the same images, the same student trained for as long, measured at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mlfd_tune.ablation.designs import Arm
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods import METHODS
from mlfd_tune.tracking.results import Result

__all__ = ["Paired", "check_pairing", "value_of"]

EPOCHS: Final = "student.train.epochs"
_LENGTHS: Final = (EPOCHS, "student.train.batch_size")
_OF_THE_IMAGES: Final = ("datasets", "seed")


@dataclass(frozen=True)
class Paired:
    """The arms of one dataset, ready to be compared.

    Attributes:
        dataset: The target dataset.
        arms: Runs by the arm's name and their seed, in the design's order; only arms that ran.
        reference: Name of the reference arm.
        notes: What a reader of the comparison must know.
    """

    dataset: str
    arms: Mapping[str, Mapping[str, Result]]
    reference: str
    notes: tuple[str, ...]


def check_pairing(
    dataset: str,
    arms: Sequence[Arm],
    results: Iterable[Result],
    metric: Literal["val/acc1", "test/acc1"],
    seeds: Iterable[str],
    images: Mapping[str, Mapping[str, str]],
) -> Paired:
    """Pair the finished runs of a dataset's arms by seed.

    Args:
        dataset: The target dataset.
        arms: What the design compares there.
        results: Finished runs; those of other datasets and kinds are passed over.
        metric: What is compared.
        seeds: The seeds that every arm should have.
        images: By `Result.data`, what identifies the images.

    Raises:
        UserError: Runs that may not be paired: a value that is not of a training's last epoch,
            trainings of different lengths, runs of one seed that differ in their student's
            settings or images although the design does not vary these, or an arm that shares no
            seed with the reference.
    """
    runs = _runs(dataset, arms, results, metric)
    students = {name: by_seed for name, by_seed in runs.items() if _trains(by_seed)}
    varied = _varied(dataset, arms)
    reference = next(arm.name for arm in arms if arm.is_reference)
    problems = [
        *_unfinished(students, metric),
        *_unlike(students, varied),
        *_other_images(runs, varied, images),
        *_unpaired(runs, reference),
    ]
    if problems:
        raise UserError(*(f"{dataset}: {problem}" for problem in problems))
    wanted = [arm.name for arm in arms]
    notes = [*_left_out(runs, wanted, reference, seeds), *_lengths(dataset, varied)]
    return Paired(dataset, runs, reference, tuple(f"{dataset}: {note}" for note in notes))


def value_of(result: Result, metric: str) -> float | None:
    """Return what is compared of a run, in percent."""
    return result.test if metric == "test/acc1" else result.val


_Runs = Mapping[str, Mapping[str, Result]]


def _runs(
    dataset: str, arms: Sequence[Arm], results: Iterable[Result], metric: str
) -> dict[str, dict[str, Result]]:
    by_arm: dict[str, dict[str, Result]] = {arm.name: {} for arm in arms}
    # One run per arm and seed: the latest.
    for result in sorted(results, key=lambda result: result.started):
        is_here = result.kind == "arm" and result.dataset == dataset and result.arm in by_arm
        if is_here and value_of(result, metric) is not None:
            by_arm[result.arm or ""][result.seed] = result
    ordered = {name: dict(sorted(runs.items(), key=_by_number)) for name, runs in by_arm.items()}
    return {name: by_seed for name, by_seed in ordered.items() if by_seed}


def _by_number(item: tuple[str, Result]) -> tuple[int, str]:
    return len(item[0]), item[0]


def _trains(by_seed: Mapping[str, Result]) -> bool:
    """Tell whether an arm trains students; what students learn from has other epochs."""
    method = METHODS.get(next(iter(by_seed.values())).method)
    return method is None or method.role != "reference"


def _varied(dataset: str, arms: Iterable[Arm]) -> frozenset[str]:
    """Return the keys of the design as runs' params have them."""
    own = f"students.{dataset}."
    keys = {key for arm in arms for key in arm.params}
    return frozenset(
        f"student.{key.removeprefix(own)}" if key.startswith(own) else key for key in keys
    )


def _is_varied(param: str, varied: Iterable[str]) -> bool:
    """Tell whether a key of the design is a param, or a section or preset that it belongs to."""
    return any(param == key or param.startswith(f"{key}.") for key in varied)


def _unfinished(students: _Runs, metric: str) -> Iterator[str]:
    for arm, by_seed in students.items():
        for seed, run in by_seed.items():
            step = run.test_step if metric == "test/acc1" else run.val_step
            epochs = run.params.get(EPOCHS)
            if step is not None and epochs is not None and step != int(epochs):
                yield (
                    f"arm {arm!r}, seed {seed}: {metric} is of epoch {step} of {epochs}; arms are "
                    "compared at the end of their training only"
                )


def _unlike(students: _Runs, varied: frozenset[str]) -> Iterator[str]:
    """Yield what the runs of one seed differ in, against the first arm that has the seed."""
    first: dict[str, tuple[str, Result]] = {}
    for arm, by_seed in students.items():
        for seed, run in by_seed.items():
            other, one = first.setdefault(seed, (arm, run))
            for key in sorted(one.params.keys() & run.params.keys()):
                if key != "image_size" and not key.startswith("student."):
                    continue
                ours, theirs = run.params[key], one.params[key]
                if ours != theirs and not _is_varied(key, varied):
                    yield (
                        f"arm {arm!r}, seed {seed}: {key} is {ours}, but {theirs} in arm "
                        f"{other!r}, and the design does not vary it"
                    )


def _other_images(
    runs: _Runs, varied: frozenset[str], images: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    if any(key.partition(".")[0] in _OF_THE_IMAGES for key in varied):
        return
    known = [
        (f"arm {arm!r}, seed {seed}", images[run.data])
        for arm, by_seed in runs.items()
        for seed, run in by_seed.items()
        if run.data is not None and run.data in images
    ]
    for where, ours in known:
        other, theirs = known[0]
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                yield (
                    f"{where}: the images are not those of {other} ({key} is {ours.get(key)} and "
                    f"{theirs.get(key)}), and the design does not vary them"
                )
                break


def _unpaired(runs: _Runs, reference: str) -> Iterator[str]:
    if reference not in runs:
        return
    known = ", ".join(runs[reference])
    for arm, by_seed in runs.items():
        if not by_seed.keys() & runs[reference].keys():
            yield (
                f"arm {arm!r} has no seed in common with the reference {reference!r} "
                f"({', '.join(by_seed)} against {known})"
            )


def _left_out(
    runs: _Runs, arms: Sequence[str], reference: str, seeds: Iterable[str]
) -> Iterator[str]:
    """Yield which seeds are missing where, and what that leaves uncompared."""
    found = {seed for by_seed in runs.values() for seed in by_seed}
    everyone = sorted({*seeds, *found}, key=lambda seed: (len(seed), seed))
    for arm in arms:
        missing = [seed for seed in everyone if seed not in runs.get(arm, {})]
        if arm not in runs:
            left = "; nothing is compared" if arm == reference else ""
            yield f"arm {arm!r} has no finished run{left}"
        elif missing:
            of = "every pair" if arm == reference else "its pair"
            yield (
                f"arm {arm!r} has no finished run of seed {', '.join(missing)}, left out of {of}"
            )


def _lengths(dataset: str, varied: frozenset[str]) -> Iterator[str]:
    keys = [*_LENGTHS, f"datasets.{dataset}.train_size"]
    unequal = [key for key in keys if _is_varied(key, varied)]
    if unequal:
        yield f"arms are not of equal training steps: the design varies {', '.join(unequal)}"
