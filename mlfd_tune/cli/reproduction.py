"""What `reproduce` does: bundles read, students trained again, accuracies compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from mlfd_tune.cli.computing import usable_device
from mlfd_tune.cli.options import console, print_json, problems_in
from mlfd_tune.cli.students import StudentWork, plan_students
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Store
from mlfd_tune.core.store.artifact import library_versions
from mlfd_tune.tracking.export_expected import Finding, Recorded, judge, recorded
from mlfd_tune.tracking.export_reading import BundleFile, differences, other_data, read_bundles
from mlfd_tune.tracking.stored_runs import TEST, VAL
from mlfd_tune.tracking.vocabulary import environment_tags

__all__ = ["Reproduction", "reproduce_all"]


@dataclass(frozen=True)
class Reproduction:
    """What came out for one bundle.

    Attributes:
        bundle: The exported configuration.
        findings: What is said of each recorded accuracy.
        differences: What differs between then and now.
        reused: How many stages were in the store before the command.
    """

    bundle: BundleFile
    findings: tuple[Finding, ...]
    differences: tuple[str, ...]
    reused: int

    @property
    def reproduced(self) -> bool:
        """Every accuracy was borne out."""
        return all(finding.problem is None for finding in self.findings)


def reproduce_all(
    path: Path,
    store: str | None,
    seeds: int | None,
    places: Sequence[str],
    device: str | None,
    json_: bool,
) -> bool:
    """Train the students of exported bundles again, print what was found, and tell if it holds.

    Args:
        path: An exported file, or a folder of them.
        store: The store to use; None for a new one that is removed at the end.
        seeds: How many recorded seeds to train; None for all.
        places: ``KEY=PATH`` of what lies elsewhere here.
        device: Torch device; None for a GPU where there is one.
        json_: Print JSON.

    Raises:
        UserError: Bundles, options, data or device are not in order.
    """
    device = usable_device(device)
    bundles = read_bundles(path, _places(places))
    chosen = [_seeds(bundle, seeds) for bundle in bundles]
    out = console(stderr=json_)
    results: list[Reproduction] = []
    made: set[str] = set()
    with _store(store) as place:
        for bundle, its_seeds in zip(bundles, chosen, strict=True):
            with problems_in(bundle.path):
                results.append(_reproduce(bundle, its_seeds, place, device, out, made))
            if not json_:
                _print(results[-1], out)
    if json_:
        print_json([_as_json(result) for result in results])
    return all(result.reproduced for result in results)


def _reproduce(
    bundle: BundleFile,
    seeds: Sequence[int],
    store: Store,
    device: str,
    out: Console,
    made: set[str],
) -> Reproduction:
    """Train one bundle's students; `made` has the keys of what this command has computed."""
    config, origin = bundle.config, bundle.provenance
    wanted = {metric: recorded(origin, metric) for metric in (VAL, TEST)}
    work = plan_students(config, store, device, seeds, test=wanted[TEST] is not None)
    problems = list(other_data(origin, work.stages))
    if problems:
        raise UserError(*problems)
    made.update(stage.key for stage in work.todo)
    work.run(out)
    found = _accuracies(work, seeds)
    student = next(
        stage.key for stage, seed in zip(work.students, seeds, strict=True) if seed == origin.seed
    )
    differing = differences(origin, _environment(), device, student)
    findings = tuple(
        judge(one, _of_recorded_seeds(one, found[metric]), differing)
        for metric, one in wanted.items()
        if one is not None
    )
    reused = sum(stage.key not in made for stage in work.stages)
    return Reproduction(bundle, findings, tuple(differing), reused)


def _environment() -> dict[str, str]:
    """Return versions and hardware by the names that an export gives them."""
    tags = environment_tags()
    hardware = {
        name.removeprefix("mlfd."): value
        for name, value in tags.items()
        if name.startswith("mlfd.hardware.")
    }
    return {**library_versions(), **hardware}


def _accuracies(work: StudentWork, seeds: Sequence[int]) -> dict[str, dict[int, float]]:
    return {
        metric: {
            seed: work.artifact(stage).manifest.metrics[metric]
            for seed, stage in zip(seeds, stages, strict=False)
        }
        for metric, stages in ((VAL, work.students), (TEST, work.evaluations))
    }


def _of_recorded_seeds(one: Recorded, found: Mapping[int, float]) -> dict[int, float]:
    return {seed: value for seed, value in found.items() if seed in one.by_seed}


def _seeds(bundle: BundleFile, count: int | None) -> list[int]:
    """Return the seeds to train, the exported one first."""
    known = recorded(bundle.provenance, VAL)
    assert known is not None
    own = bundle.provenance.seed
    ordered = [own, *sorted(seed for seed in known.by_seed if seed != own)]
    if count is not None and count > len(ordered):
        raise UserError(
            f"--seeds {count}: {bundle.path} records {len(ordered)} (allowed: 1 to {len(ordered)}, "
            "or all)"
        )
    return ordered[:count]


def _places(texts: Sequence[str]) -> dict[str, str]:
    places = {}
    for text in texts:
        key, equals, value = text.partition("=")
        parts = key.strip().split(".")
        ends = {"datasets": "path", "teachers": "weights"}
        if not equals or len(parts) != 3 or ends.get(parts[0]) != parts[2]:
            raise UserError(
                f"--set {text}: only where data and weights lie may be said anew (allowed: "
                "datasets.NAME.path=..., teachers.NAME.weights=...)"
            )
        places[key.strip()] = str(Path(value).expanduser().absolute())
    return places


@contextmanager
def _store(path: str | None) -> Iterator[Store]:
    if path is not None:
        yield Store(path)
        return
    with tempfile.TemporaryDirectory(prefix="mlfd-tune-reproduce-") as folder:
        yield Store(folder)


def _print(result: Reproduction, out: Console) -> None:
    """Print the verdict in one line, and what stands behind it."""
    verdict = "reproduced" if result.reproduced else "NOT reproduced"
    told = "; ".join(str(finding) for finding in result.findings)
    target = result.bundle.config.target
    out.print(f"{target}: {verdict}: {told}", highlight=False, markup=False, soft_wrap=True)
    for line in result.differences:
        out.print(f"  differs: {line}", highlight=False, markup=False, soft_wrap=True)
    if result.reused:
        out.print(f"  reused: {result.reused} stages were in the store and not trained again")


def _as_json(result: Reproduction) -> dict[str, Any]:
    return {
        "dataset": result.bundle.config.target,
        "file": str(result.bundle.path),
        "status": result.bundle.provenance.status,
        "reproduced": result.reproduced,
        "findings": [finding.as_json() for finding in result.findings],
        "differences": list(result.differences),
        "reused_stages": result.reused,
    }
