"""The papers' tables: their rows and columns, our intervals, published figures where they fit."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mlfd_tune.ablation import arms_of, read_ablation
from mlfd_tune.ablation.arm_rows import AblationResult
from mlfd_tune.ablation.table_formats import render
from mlfd_tune.ablation.table_model import ResultTable
from mlfd_tune.config import AblationConfig, load_experiment
from mlfd_tune.core.errors import UserError
from mlfd_tune.report.paper_tables import paper_tables
from mlfd_tune.report.published import published_tables
from mlfd_tune.report.top5 import read_top5
from mlfd_tune.tracking import Tracker

PROJECT = Path(__file__).parents[2]
EXPERIMENTS = PROJECT / "experiments"
PAGE = (PROJECT / "docs" / "papers.md").read_text(encoding="utf-8")
SEEDS = 3
T1 = ("cifar100", "tinyimagenet", "imagenet_sketch")


def config_of(file: str) -> AblationConfig:
    config = load_experiment(EXPERIMENTS / file, ["seeds=3"]).config
    assert isinstance(config, AblationConfig)
    return config


def record(
    uri: str, experiment: str, outbox: Path, config: AblationConfig, datasets: Sequence[str]
) -> None:
    """Record a finished run: arm number n has 50 + n % and the seeds spread by a point."""
    tracker = Tracker(uri, experiment, outbox, linger_s=0.01)
    tags = {"mlfd.kind": "ablation", "mlfd.sweep": outbox.name}
    tracker.start_run("parent", "parent", tags=tags)
    for dataset in datasets:
        for number, arm in enumerate(arms_of(config, dataset)):
            for seed in range(SEEDS):
                name = f"{dataset} {arm.name} {seed}"
                own = {
                    "kind": "arm",
                    "sweep": outbox.name,
                    "dataset": dataset,
                    "method": str(arm.params["method"]),
                    "seed": str(seed),
                    "config": arm.name,
                    "arm": arm.name,
                }
                own = {f"mlfd.{tag}": value for tag, value in own.items()}
                tracker.start_run(name, name, parent="parent", tags=own)
                accuracy = 50.0 + number + (seed - 1)
                metrics = {"val/acc1": 1.0, "test/acc1": accuracy, "test/acc5": accuracy + 20}
                tracker.log_metrics(name, metrics, step=1)
                tracker.end_run(name, "FINISHED")
    tracker.end_run("parent", "FINISHED")
    assert tracker.close(60)


Read = tuple[AblationResult, AblationConfig, list[ResultTable]]


@pytest.fixture(scope="module")
def tables(report_uri: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Read]:
    """Result, configuration and tables by the name of the experiment."""
    shipped = {
        "table2": ("table2.yaml", T1[0]),
        "table4_fusion_depth": ("table4_fusion_depth.yaml", T1[1]),
        "small_table2": ("small/table2.yaml", "digits"),
    }
    read = {}
    for name, (file, dataset) in shipped.items():
        config = config_of(file).model_copy(update={"targets": (dataset,)})
        record(report_uri, name, tmp_path_factory.mktemp(name) / "s1", config, [dataset])
        result = read_ablation(report_uri, name, config, "s1")
        top5 = read_top5(report_uri, name, "s1", result.metric)
        read[name] = result, config, paper_tables(result, config, top5)

    # The same numbers on all three datasets, and for the other lineup.
    result, config, _ = read["table2"]
    rows = tuple(replace(row, dataset=dataset) for dataset in T1[::-1] for row in result.rows)
    everywhere = replace(result, rows=rows)
    top5 = {(row.dataset, row.arm): {s: v + 20 for s, v in row.values.items()} for row in rows}
    read["table2"] = everywhere, config, paper_tables(everywhere, config, top5)
    other, lineup2 = replace(result, experiment="table3"), config_of("table3.yaml")
    read["table3"] = other, lineup2, paper_tables(other, lineup2)
    return read


def texts(table: ResultTable) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_rows_and_columns_are_as_printed_with_published_figures_beside(
    tables: dict[str, Read],
) -> None:
    acc1, acc5 = tables["table2"][2]

    assert [column.name for column in acc1.columns] == [
        "Model",
        "Distillation levels",
        *(
            name
            for dataset in ("CIFAR-100", "TinyImageNet", "ImageNet-Sketch")
            for name in (f"{dataset} acc@1", "paper")
        ),
    ]
    rows = texts(acc1)
    assert [row[:2] for row in rows] == [
        ["Dataset-specific models", "-"],
        ["Multi-head model", "-"],
        ["Joint-head model", "-"],
        ["Own teacher (control)", "L2"],
        ["Students", "L1"],
        ["Students", "L2"],
        ["Joint teacher", "L1"],
        ["Joint teacher", "L2"],
    ]
    assert rows[5][3] == "62.25"
    assert rows[3][3::2] == ["–"] * 3  # the paper has no control
    assert re.fullmatch(r"55\.00 \[5\d\.\d\d,5\d\.\d\d\]", rows[5][2])
    assert acc1.title == "table2 as Table 2 of the MLFD paper · acc@1 in %, test"
    assert [row[2][:5] for row in texts(acc5)] == [f"{70 + n}.00" for n in range(8)]
    assert texts(acc5)[5][3] == "84.64"
    assert "one run, no spread" in acc1.caption


def test_the_best_student_and_the_best_joint_teacher_are_bold_as_in_print(
    tables: dict[str, Read],
) -> None:
    for table in tables["table2"][2]:
        bold = [(row[0].text, row[1].text) for row in table.rows if row[2].mark == "best"]
        assert bold == [("Students", "L2"), ("Joint teacher", "L2")]
    acc1 = tables["table2"][2][0]
    published = [(row[0].text, row[1].text) for row in acc1.rows if row[3].mark == "best"]
    assert published == [("Students", "L2"), ("Joint teacher", "L2")]


def test_a_small_twin_has_its_own_numbers_only_and_says_so(tables: dict[str, Read]) -> None:
    acc1, acc5 = tables["small_table2"][2]
    assert [row[2][:5] for row in texts(acc5)] == [f"{70 + n}.00" for n in range(8)]
    assert [column.name for column in acc1.columns][2:] == ["digits acc@1"]
    assert "No published figures beside digits:" in acc1.caption
    assert "Paper:" not in acc1.caption
    assert "62.25" not in str(texts(acc1))


def test_table_4_is_by_fusion_depth(tables: dict[str, Read]) -> None:
    (acc1, _), rows = tables["table4_fusion_depth"][2], texts(tables["table4_fusion_depth"][2][0])
    assert acc1.columns[1].name == "Representation levels"
    assert [(row[1], row[3]) for row in rows] == [
        ("-", "45.09"),
        ("L1", "47.10"),
        ("L2", "47.52"),
        ("L3", "44.10"),
        ("L4", "29.93"),
    ]


def test_another_architecture_on_the_papers_dataset_has_no_published_figures_beside(
    tables: dict[str, Read],
) -> None:
    result, _, (table,) = tables["table3"]
    assert [column.name for column in table.columns][2:] == ["CIFAR-100 acc@1", "paper"]
    of_t1 = tables["table2"][1]
    (table,) = paper_tables(result, of_t1)  # ResNet-18, and Table 3 is of ConvNeXt-V2
    assert [column.name for column in table.columns][2:] == ["CIFAR-100 acc@1"]
    assert "No published figures beside CIFAR-100" in table.caption


def test_an_arm_without_results_keeps_its_row(tables: dict[str, Read]) -> None:
    result, config, _ = tables["table3"]
    rows = tuple(row for row in result.rows if row.arm != "joint-head")
    (table,) = paper_tables(replace(result, rows=rows), config)
    assert texts(table)[2] == ["Joint-head model", "-", "–", "64.43"]


def test_what_is_no_table_of_the_paper_is_refused(tables: dict[str, Read]) -> None:
    result, config, _ = tables["table3"]

    with pytest.raises(UserError, match="imbalance is no table of the paper"):
        paper_tables(replace(result, experiment="imbalance"), config)
    with pytest.raises(UserError, match="has none of the arms of Table 4"):
        paper_tables(replace(result, experiment="table4", rows=()), config)


@pytest.mark.parametrize("form", ["table", "md", "csv"])
def test_it_can_be_written_in_every_format(form: str, tables: dict[str, Read]) -> None:
    text = render(tables["table2"][2], ["a note"], form)
    assert "62.25" in text
    if form == "csv":
        lines = text.splitlines()
        assert lines[0].startswith("table,metric,model,levels,cifar100_acc1,cifar100_acc1_low")
        assert len(lines) == 1 + 2 * 8
        assert all(line.count(",") >= 14 for line in lines)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles(tables: dict[str, Read], tmp_path: Path) -> None:
    body = "\n".join(render(read, [], "latex") for _, _, read in tables.values())
    preamble = r"\documentclass{article}\usepackage{booktabs}\usepackage[utf8]{inputenc}"
    file = tmp_path / "tables.tex"
    file.write_text(f"{preamble}\\begin{{document}}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", file.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").is_file()


# The data file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "depth"), [(2, False), (3, False), (4, True)])
def test_published_figures_are_those_of_the_papers_page(number: int, depth: bool) -> None:
    section = PAGE.split(f"### Table {number}\n")[1].split("\n###")[0]
    lines = [line for line in section.split("<!--")[0].splitlines() if line.startswith("| ")]
    on_page = {}
    for line in lines[2:]:
        _, arm, *figures = (cell.strip() for cell in line.strip("|").split("|"))
        on_page[arm.split("`")[1]] = [float(figure.split()[0]) for figure in figures if figure]
    table = published_tables()[f"table{number}"]
    assert {
        row.arm: [row.published[source][0] for source in table.sources if row.published]
        for row in table.rows
    } == on_page
    assert [d.name for d in table.sources.values()] == [
        cell.strip() for cell in lines[0].strip("|").split("|")[2:]
    ]


@pytest.mark.parametrize("name", ["table2", "table3", "table4"])
def test_published_rows_are_arms_that_ship_on_the_architectures_that_ship(name: str) -> None:
    file = "table4_fusion_depth.yaml" if name == "table4" else f"{name}.yaml"
    config, table = config_of(file), published_tables()[name]
    for dataset in config.target_names:
        assert {row.arm for row in table.rows} == {a.name for a in arms_of(config, dataset)}
    assert {config.datasets[d].source: config.student_arch(d) for d in config.target_names} == {
        source: printed.arch for source, printed in table.sources.items()
    }
    for row in table.rows:
        assert set(row.published) in ({*table.sources}, set())
        assert all(0 < top1 < top5 < 100 for top1, top5 in row.published.values())
