"""Fills the result tables of a page from the MLflow database of real runs.

    python docs/results.py --uri sqlite:///mlflow.db
    python docs/results.py --uri sqlite:///mlflow.db small_table2 small_table3
    python docs/results.py --uri sqlite:///mlflow.db --page docs/ablations.md

What stands between `<!-- results: NAME -->` and `<!-- end of results -->` is replaced by tables of
the latest finished run of experiment NAME and a line on where they come from. What stands between
`<!-- differences: NAME | ARM - ARM | ... -->` and `<!-- end of differences -->` is replaced by the
differences between pairs of its arms. What stands between `<!-- tables: NAME -->` and
`<!-- end of tables -->` is replaced by what `mlfd-tune table NAME --format md` prints, without what
the page says once for all of them. In the first two, bold are differences whose
95 % interval excludes zero. Where there is no finished run, the page stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from mlfd_tune.ablation import (
    ArmRow,
    ablation_tables,
    arms_of,
    comparison_rows,
    read_ablation,
)
from mlfd_tune.ablation.contribution import contributions
from mlfd_tune.ablation.table_formats import render
from mlfd_tune.config import AblationConfig, Loaded, SweepConfig, load_experiment
from mlfd_tune.core.data import AugmentSpec
from mlfd_tune.core.data.augmentation import PRESETS
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.models import fusion_depth
from mlfd_tune.core.statistics import Interval, mean_interval, paired_interval
from mlfd_tune.tracking import leaderboard, open_client, vocabulary
from mlfd_tune.tracking.client import sqlite_path
from mlfd_tune.tracking.session import tag_equals

PROJECT = Path(__file__).resolve().parents[1]
MARKED = re.compile(
    r"(<!-- (results|differences|tables): (\S+)(?: \| (.+?))? -->\n).*?(<!-- end of \2 -->)",
    re.DOTALL,
)
NOTHING = "–"

Table = list[list[str]]  # lines of cells, the headings first


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and fill the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments; all by default")
    parser.add_argument("--uri", default="sqlite:///mlflow.db", help="MLflow tracking URI")
    parser.add_argument("--page", type=Path, default=PROJECT / "docs" / "papers.md", help="file")
    options = parser.parse_args(arguments)
    try:
        text = options.page.read_text(encoding="utf-8")
        options.page.write_text(filled(text, options.uri, options.names), encoding="utf-8")
    except UserError as error:
        sys.exit("\n".join(f"error: {problem}" for problem in error.problems))


def filled(text: str, uri: str, names: Sequence[str]) -> str:
    """Return the page with the tables of some experiments, or of all that it has marks for."""
    folder = PROJECT / "experiments"
    shipped = map(load_experiment, [*folder.glob("*.yaml"), *folder.glob("small/**/*.yaml")])
    experiments = {loaded.name: loaded for loaded in shipped}
    marked = [match[3] for match in MARKED.finditer(text)]
    for name, known in [*((name, marked) for name in names), *((m, experiments) for m in marked)]:
        if name not in known:
            raise UserError(f"unknown experiment {name!r} {allowed_values(name, known)}")
    path = sqlite_path(uri)
    if path and not path.is_file():  # reading would make an empty one
        raise UserError(f"--uri {uri}: there is no database {path}")
    client = open_client(uri)

    def replaced(match: re.Match[str]) -> str:
        mark, kind, name, pairs, end = match.groups()
        if names and name not in names:
            return match[0]
        run = latest_finished(client, experiments[name])
        if run is None:
            print(f"{name}: no finished run; left as it is", file=sys.stderr)
            return match[0]
        if kind == "tables":
            return f"{mark}{printed(uri, experiments[name], run)}\n{end}"
        if kind == "differences":
            return f"{mark}{differences(uri, experiments[name], run, pairs)}\n{end}"
        return f"{mark}{result(uri, client, experiments[name], run)}{end}"

    return MARKED.sub(replaced, text)


def latest_finished(client: MlflowClient, loaded: Loaded) -> Run | None:
    """Return the latest run of an experiment that came to its end."""
    found = client.get_experiment_by_name(loaded.name)
    if found is None:
        return None
    finished = (
        f"{tag_equals(vocabulary.KIND, loaded.raw['kind'])} and attributes.status = 'FINISHED'"
    )
    newest_first = ["attributes.start_time DESC"]
    runs = client.search_runs([found.experiment_id], finished, order_by=newest_first)
    return runs[0] if runs else None


def result(uri: str, client: MlflowClient, loaded: Loaded, run: Run) -> str:
    """Return the tables of a run in Markdown, and the line below them."""
    config, sweep = loaded.config, run.data.tags[vocabulary.SWEEP]
    if isinstance(config, AblationConfig):
        rows = comparison_rows(uri, loaded.name, config, sweep)
        is_crossed = "method" in config.design.factors and len(config.design.factors) > 1
        tables = [(crossed if is_crossed else compared)(rows, config)]
        seeds, metric = " or ".join(map(str, sorted({row.mean.n for row in rows}))), config.metric
    else:
        assert isinstance(config, SweepConfig)
        tables = list(searched(uri, client, loaded.name, config, sweep))
        seeds, metric = str(config.confirm.seeds), "test/acc1"
    source = [
        f"`mlfd-tune run {loaded.path.relative_to(PROJECT).as_posix()}`: {seeds} seeds",
        f"`{metric}` in % ± half its 95 % interval, differences in points, paired by seed",
        f"MLflow experiment `{loaded.name}`",
        *took(run),
    ]
    return "\n\n".join([*map(markdown, tables), "; ".join(source) + ".\n"])


def compared(rows: Sequence[ArmRow], config: AblationConfig) -> Table:
    """Return arms against the reference arm: of each dataset the accuracy and the difference."""
    of_arm = {(row.arm, row.dataset): row for row in rows}
    arms, datasets = arms_of(config), config.target_names
    heads = (head for dataset in datasets for head in (dataset, f"against {arms[0].name}"))
    table = [["arm", *heads]]
    for arm in arms:
        table.append([arm.name])
        for row in (of_arm.get((arm.name, dataset)) for dataset in datasets):
            difference = "reference" if arm.is_reference else gain(row.difference if row else None)
            # Student's t, even around the mean, as in the tables of searches.
            mean = mean_interval(list(row.values.values())) if row else None
            table[-1] += [accuracy(mean), difference]
    return table


def printed(uri: str, loaded: Loaded, run: Run) -> str:
    """Return the tables of an ablation as the program prints them."""
    config = loaded.config
    assert isinstance(config, AblationConfig)
    found = read_ablation(uri, loaded.name, config, run.data.tags[vocabulary.SWEEP])
    tables = ablation_tables(found, contributions(config, found.rows))
    once = {table.caption for table in tables if table.title.startswith(config.target_names)}
    told = [replace(table, caption="") if table.caption in once else table for table in tables]
    return render(told, found.notes, "md")


def differences(uri: str, loaded: Loaded, run: Run, pairs: str) -> str:
    """Return the differences between pairs of arms, written ``ARM - ARM | ARM - ARM``."""
    config = loaded.config
    assert isinstance(config, AblationConfig)
    rows = comparison_rows(uri, loaded.name, config, run.data.tags[vocabulary.SWEEP])
    values = {(row.arm, row.dataset): row.values for row in rows}
    arms = [arm.name for arm in arms_of(config)]
    table = [["difference in points", *config.target_names]]
    for pair in pairs.split(" | "):
        for name in (names := pair.split(" - ")):
            if name not in arms:
                raise UserError(f"{loaded.name}: unknown arm {name!r} {allowed_values(name, arms)}")
        table.append([" over ".join(names)])
        for dataset in config.target_names:
            one, other = (values.get((name, dataset), {}) for name in names)
            table[-1].append(gain(paired_interval(one, other)))
    return markdown(table)


def crossed(rows: Sequence[ArmRow], config: AblationConfig) -> Table:
    """Return what methods gain over the first of them, by the other factors of a grid."""
    (first, *others), arms = config.design.factors["method"], arms_of(config)
    name_of = {str(sorted(arm.params.items())): arm.name for arm in arms}
    values = {(row.arm, row.dataset): row.values for row in rows}
    keys = [key for key in config.design.factors if key != "method"]
    heads = (f"{dataset}: {method}" for dataset in config.target_names for method in others)
    table = [[*(f"`{key}`" for key in keys), *heads]]
    for arm in (arm for arm in arms if arm.params["method"] == first):
        table.append([level(key, arm.params[key], config.design.factors[key]) for key in keys])
        for dataset in config.target_names:
            for method in others:
                other = name_of[str(sorted({**arm.params, "method": method}.items()))]
                taught, alone = (values.get((name, dataset), {}) for name in (other, arm.name))
                table[-1].append(gain(paired_interval(taught, alone)))
    return table


def searched(
    uri: str, client: MlflowClient, name: str, config: SweepConfig, sweep: str
) -> Iterator[Table]:
    """Yield what a search found, confirmed on fresh seeds, and the settings that it chose."""
    confirmed = leaderboard(uri, name, status="confirmed", all_runs=True)
    rows = [row for row in confirmed if row.sweep == sweep]
    found = [["dataset", "method", "test", "gain over `none`", "gain over `own_teacher`"]]
    for row in rows:
        gains = gain(row.gain), gain(row.gain_over_own_teacher)
        found.append([row.dataset, f"`{row.method}`", accuracy(row.test), *gains])
    yield found
    best = [row for row in rows if not row.baseline_of]
    params = [client.get_run(row.run_id).data.params for row in best]
    keys = (key for row in best for key, _ in config.search.space_of(row.dataset).ordered())
    chosen = [["chosen", *(row.dataset for row in best)]]
    for key in dict.fromkeys(keys):
        chosen.append([f"`{key}`", *(setting(key, of) for of in params)])
    yield chosen


def accuracy(interval: Interval | None) -> str:
    """Return a mean and half its interval."""
    if interval is None:
        return NOTHING
    half = "" if interval.high is None else f" ± {interval.high - interval.mean:.2f}"
    return f"{interval.mean:.2f}{half}"


def gain(interval: Interval | None) -> str:
    """Return a difference and its interval, bold where that excludes zero."""
    if interval is None or interval.low is None or interval.high is None:
        return f"{interval.mean:+.2f}" if interval else NOTHING
    text = f"{interval.mean:+.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    return f"**{text}**" if interval.low > 0 or interval.high < 0 else text


def level(key: str, value: Any, values: Sequence[Any]) -> str:
    """Return a factor's value; a number of images with its ratio to the largest."""
    return f"{value} (1:{max(values) / value:g})" if key.endswith("train_size") else str(value)


def setting(key: str, params: Mapping[str, str]) -> str:
    """Return a setting as MLflow keeps it, shortened."""
    text = params.get(key)
    if text is None:
        return augmentation(key, params)
    if key.endswith(".levels"):
        return fusion_depth(text.split(","))
    return f"{float(text):.4g}" if re.fullmatch(r"[\d.e+-]+", text) else text


def augmentation(key: str, params: Mapping[str, str]) -> str:
    """Return the preset that an augmentation is, of which every strength is logged apart."""
    for name in PRESETS:
        strengths = AugmentSpec.model_validate(name).model_dump()
        if all(params.get(f"{key}.{field}") == str(value) for field, value in strengths.items()):
            return name
    return NOTHING


def took(run: Run) -> Iterator[str]:
    """Yield how long a run was from start to end, and on what, if that is known."""
    if run.info.end_time:
        cpus = run.data.tags.get("mlfd.hardware.cpus", "some")
        machine = run.data.tags.get("mlfd.hardware.gpus", f"{cpus} CPU cores")
        yield f"{(run.info.end_time - run.info.start_time) / 60_000:.1f} min on {machine}"


def markdown(table: Table) -> str:
    """Return a table in Markdown."""
    lines = [table[0], ["---", *("---:" for _ in table[0][1:])], *table[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
