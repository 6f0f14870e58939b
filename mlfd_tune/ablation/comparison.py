"""An ablation's result: each arm against the reference arm, paired by seed, and what it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlfd_tune.ablation.arm_rows import AblationResult, ArmRow, Comparison, Verdict
from mlfd_tune.ablation.designs import arms_of
from mlfd_tune.ablation.notes import of_families, of_looks, of_ranks
from mlfd_tune.ablation.pairing import Paired, check_pairing, value_of
from mlfd_tune.ablation.statistics import (
    ALPHA,
    Ranks,
    bca_interval,
    friedman_nemenyi,
    hedges_g,
    holm,
    sign_flip,
)
from mlfd_tune.ablation.until_resolved import Look, looks_of
from mlfd_tune.config import AblationConfig
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.statistics import mean_interval
from mlfd_tune.tracking.client import open_client
from mlfd_tune.tracking.results import Result, read_results

__all__ = [
    "AblationResult",
    "ArmRow",
    "Comparison",
    "Verdict",
    "compare",
    "comparison_rows",
    "read_ablation",
]


def read_ablation(uri: str, experiment: str, config: AblationConfig, run: str) -> AblationResult:
    """Read one run of an ablation from MLflow and compare its arms.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        config: Its configuration, as it was run.
        run: Id of the run.

    Raises:
        UserError: Nothing can be read, or runs may not be paired; see `check_pairing`.
    """
    found = read_results(uri, experiment, "FINISHED")
    results = [result for result in found if result.sweep == run and result.kind == "arm"]
    images, look = _images(uri, results), _last_look(config, results)
    expected = look.seeds if look else config.seeds
    alpha = 1 - look.confidence if look else ALPHA
    paired: list[Paired] = []
    problems: list[str] = []
    for dataset in config.target_names:
        first = config.student_seed(dataset)
        seeds = map(str, range(first, first + expected))
        arms = arms_of(config, dataset)
        try:
            paired.append(check_pairing(dataset, arms, results, config.metric, seeds, images))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*(f"{experiment}, run {run}: {problem}" for problem in problems))
    rows = [row for of_dataset in paired for row in _rows(of_dataset, config.metric, alpha)]
    ranks = _ranks(rows)
    notes = [
        *of_families(rows, alpha),
        *of_looks(config, look),
        *(note for of_dataset in paired for note in of_dataset.notes),
        *(of_ranks(ranks, rows) if ranks else ()),
    ]
    return AblationResult(experiment, run, config.metric, tuple(rows), ranks, tuple(notes))


def comparison_rows(uri: str, experiment: str, config: AblationConfig, run: str) -> list[ArmRow]:
    """Return the rows of `read_ablation`."""
    return list(read_ablation(uri, experiment, config, run).rows)


def compare(
    arms: Mapping[str, Mapping[str, float]],
    reference: Mapping[str, float],
    alpha: float = ALPHA,
) -> dict[str, Comparison]:
    """Compare a family of arms with a reference, each over the seeds that both have.

    Args:
        arms: Accuracy by seed, by the arm's name; each shares a seed with the reference.
        reference: Accuracy of the reference arm by seed.
        alpha: What the family may spend; the intervals have confidence ``1 - alpha``, each.

    Returns:
        The comparisons by the arm's name, corrected for one another.
    """
    differences = {
        name: [value - reference[seed] for seed, value in values.items() if seed in reference]
        for name, values in arms.items()
    }
    tests = {name: sign_flip(of_arm) for name, of_arm in differences.items()}
    corrected = holm([test.p for test in tests.values()])
    # No p can be lower than its floor, and a corrected p only falls when a p of the family does.
    lowest = holm([test.floor for test in tests.values()])
    compared = {}
    for (name, test), p_holm, least in zip(tests.items(), corrected, lowest, strict=True):
        difference = mean_interval(differences[name], 1 - alpha)
        verdict: Verdict = "no difference shown"
        if p_holm <= alpha:
            verdict = "higher" if difference.mean > 0 else "lower"
        elif least > alpha:
            verdict = "too few seeds"
        compared[name] = Comparison(
            difference, test.p, test.floor, p_holm, hedges_g(differences[name]), verdict
        )
    return compared


def _rows(paired: Paired, metric: str, alpha: float) -> list[ArmRow]:
    values = {
        arm: {
            seed: value
            for seed, run in by_seed.items()
            if (value := value_of(run, metric)) is not None
        }
        for arm, by_seed in paired.arms.items()
    }
    others = {arm: by_seed for arm, by_seed in values.items() if arm != paired.reference}
    reference = values.get(paired.reference)
    compared = compare(others, reference, alpha) if reference and others else {}
    return [
        ArmRow(
            dataset=paired.dataset,
            arm=arm,
            is_reference=arm == paired.reference,
            values=by_seed,
            mean=bca_interval(list(by_seed.values())),
            std=_std(list(by_seed.values())),
            comparison=compared.get(arm),
        )
        for arm, by_seed in values.items()
    ]


def _std(values: Sequence[float]) -> float | None:
    n, mean = len(values), sum(values) / len(values)
    if n < 2:
        return None
    return float((sum((value - mean) ** 2 for value in values) / (n - 1)) ** 0.5)


def _last_look(config: AblationConfig, results: Iterable[Result]) -> Look | None:
    """Return the look that adding seeds ended with, or None where none are added."""
    if config.resolve is None:
        return None
    seeds: dict[str, set[str]] = {}
    for result in results:
        seeds.setdefault(result.dataset, set()).add(result.seed)
    found = max(map(len, seeds.values()), default=0)
    looks = looks_of(config)
    return next((look for look in looks if look.seeds >= found), looks[-1])


def _images(uri: str, results: Iterable[Result]) -> dict[str, dict[str, str]]:
    """Return what identifies the images of each stage run that packed some, where there are two.

    A student's images and a teacher's may be the same in two sizes, each packed by a stage.
    """
    of_dataset: dict[str, set[str]] = {}
    for result in results:
        if result.data is not None:
            of_dataset.setdefault(result.dataset, set()).add(result.data)
    several = {data for stages in of_dataset.values() if len(stages) > 1 for data in stages}
    if not several:
        return {}
    client = open_client(uri)
    return {
        data: {
            key: value
            for key, value in client.get_run(data).data.params.items()
            if key.startswith("identity")
        }
        for data in sorted(several)
    }


def _ranks(rows: Sequence[ArmRow]) -> Ranks | None:
    """Rank the arms that all datasets have."""
    scores: dict[str, dict[str, float]] = {}
    for row in rows:
        scores.setdefault(row.arm, {})[row.dataset] = row.mean.mean
    datasets = dict.fromkeys(row.dataset for row in rows)
    return friedman_nemenyi(
        {
            arm: [by_dataset[dataset] for dataset in datasets]
            for arm, by_dataset in scores.items()
            if len(by_dataset) == len(datasets)
        }
    )
