"""One model of a table, written for the terminal and as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from mlfd_tune.ablation import AblationResult, ArmRow, ablation_tables
from mlfd_tune.ablation.comparison import compare
from mlfd_tune.ablation.contribution import Contribution
from mlfd_tune.ablation.statistics import bca_interval, friedman_nemenyi
from mlfd_tune.ablation.table_formats import FORMATS, WIDTH, render
from mlfd_tune.ablation.table_model import Cell, Column, ResultTable, marked
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.statistics import Interval

BASE = {str(seed): 60.0 + seed for seed in range(8)}
ARMS = {
    "base": BASE,
    "alpha_beta 100% | *new*": {seed: value + 4 + 0.25 * int(seed) for seed, value in BASE.items()},
    "levels=L1+L2+L3+L4, adaptor=depthwise_separable": {
        seed: value + (-1) ** int(seed) for seed, value in BASE.items()
    },
}
BEST, ALIKE = list(ARMS)[1:]


def rows_on(dataset: str) -> list[ArmRow]:
    others = {arm: values for arm, values in ARMS.items() if arm != "base"}
    compared = compare(others, BASE)
    return [
        ArmRow(
            dataset=dataset,
            arm=arm,
            is_reference=arm == "base",
            values=values,
            mean=bca_interval(list(values.values())),
            std=2.45,
            comparison=compared.get(arm),
        )
        for arm, values in ARMS.items()
    ]


@pytest.fixture(scope="module")
def result() -> AblationResult:
    rows = (*rows_on("digits"), *rows_on("photos"))
    scores = {arm: [sum(values.values()) / 8] * 2 for arm, values in ARMS.items()}
    ranks = friedman_nemenyi(scores)
    return AblationResult("arms", "20260101", "val/acc1", rows, ranks, ("a note & more",))


def cell(tables: list[ResultTable], arm: str, column: str) -> Cell:
    """A cell of the first table."""
    table = tables[0]
    place = [one.name for one in table.columns].index(column)
    return next(row[place] for row in table.rows if row[0].text == arm)


def test_an_arm_has_its_mean_its_difference_and_what_that_shows(result: AblationResult) -> None:
    tables = ablation_tables(result)

    assert [table.keys.get("dataset") for table in tables] == ["digits", "photos", None]
    assert tables[0].title == (
        "digits · val/acc1 in %, 8 seeds; difference to base, paired by seed"
    )
    assert cell(tables, "base", "mean").text == "63.50"
    assert cell(tables, "base", "verdict").text == "reference"
    assert cell(tables, "base", "difference").text == ""
    assert cell(tables, BEST, "difference").text.startswith("+4.88 [")
    # All eight of one sign, twice for the family of two.
    assert cell(tables, BEST, "p (Holm)").text == "0.016"
    assert cell(tables, BEST, "p (Holm)").values == (4 / 2**8, 2 / 2**8, 2 / 2**8)
    assert cell(tables, BEST, "verdict").text == "higher"
    assert cell(tables, ALIKE, "verdict").text == "no difference shown"


def test_best_and_second_are_marked_by_their_mean_alone(result: AblationResult) -> None:
    tables = ablation_tables(result)

    assert cell(tables, BEST, "mean").mark == "best"
    # Two arms read alike: both are second, the reference among them.
    assert cell(tables, ALIKE, "mean").mark == cell(tables, "base", "mean").mark == "second"
    marks = {one.mark for table in tables for row in table.rows for one in row[2:]}
    assert marks == {None}
    assert "neither is a claim" in tables[0].caption


def test_where_all_read_alike_or_there_is_one_only_nothing_is_marked() -> None:
    alike = [Cell("60.00", (60.001,)), Cell("60.00", (60.002,)), Cell("", (None,))]
    assert [one.mark for one in marked(alike)] == [None, None, None]
    assert marked([]) == []
    three = [Cell("1.00", (1.0,)), Cell("", (None,)), Cell("3.00", (3.0,)), Cell("2.00", (2.0,))]
    assert [one.mark for one in marked(three)] == [None, None, "best", "second"]


def test_ranks_stand_below_with_the_test_and_what_it_shows(result: AblationResult) -> None:
    table = ablation_tables(result)[-1]

    assert table.rows[0][0].text == BEST
    assert table.rows[0][1].text == "1.00"
    assert "Friedman p = " in table.title
    assert "no difference of ranks is shown" in table.caption
    texts = {row[0].text: row[2].text for row in table.rows}
    assert texts["base"] == "reference"


def test_teachers_stand_below_where_subsets_of_them_were_compared(result: AblationResult) -> None:
    shares = [
        Contribution("digits", name, Interval(mean, mean - 1, mean + 1, 8), Interval(0.5, 0, 1, 8),
                     8, sampled=True, left_out=2)
        for name, mean in (("digits", 2.0), ("photos", -0.25))
    ]  # fmt: skip

    table = ablation_tables(result, shares)[-1]

    assert [[one.text for one in row] for row in table.rows] == [
        ["digits", "digits", "+2.00 [1.00, 3.00]", "+0.50 [0.00, 1.00]"],
        ["digits", "photos", "-0.25 [-1.25, 0.75]", "+0.50 [0.00, 1.00]"],
    ]
    assert "sampled orders" in table.caption
    assert "2 seeds of digits lack an arm" in table.caption


def test_the_terminal_table_stays_within_its_width_and_cuts_nothing(result: AblationResult) -> None:
    text = render(ablation_tables(result), result.notes, "table")

    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" not in text
    assert "no difference" in text
    assert "Note: a note & more." in text
    # What holds for every dataset is said once.
    assert text.count("Bold: highest mean") == 1


def test_markdown_marks_and_escapes(result: AblationResult) -> None:
    text = render(ablation_tables(result), result.notes, "md")

    lines = text.splitlines()
    best = next(line for line in lines if line.startswith("| alpha"))
    assert best.startswith(r"| alpha\_beta 100% \| \*new\* | **68.38** | 2.45 | [")
    second = next(line for line in lines if line.startswith("| base"))
    assert "| <ins>63.50</ins> |" in second
    heads, rules = lines[2:4]
    assert heads.count("|") == rules.count("|") == second.count("|") == 9
    assert lines[-1] == "- a note & more"


def test_latex_marks_and_escapes(result: AblationResult) -> None:
    text = render(ablation_tables(result), result.notes, "latex")

    assert r"alpha\_beta 100\% \textbar{} *new* & \textbf{68.38} & 2.45" in text
    assert r"base & \underline{63.50}" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 3
    assert "$-$" in text
    assert "% a note & more" in text


def test_csv_has_every_number_unrounded_in_a_column_of_its_own(result: AblationResult) -> None:
    found = list(csv.DictReader(io.StringIO(render(ablation_tables(result), (), "csv"))))

    arms = [row for row in found if row["dataset"] == "photos"]
    assert [row["arm"] for row in arms] == list(ARMS)
    best = arms[1]
    row = result.rows[4]
    assert row.comparison is not None
    assert row.difference is not None
    assert float(best["mean"]) == row.mean.mean
    assert float(best["mean_low"]) == row.mean.low
    assert float(best["difference_high"]) == row.difference.high
    assert float(best["p"]) == row.comparison.p
    assert float(best["p_holm"]) == row.comparison.p_holm
    assert float(best["hedges_g"]) == row.comparison.effect
    assert (best["n"], best["pairs"], best["verdict"]) == ("8", "8", "higher")
    assert arms[0]["difference"] == ""
    assert sum(row["mean_rank"] != "" for row in found) == 3


@pytest.mark.parametrize("form", FORMATS)
def test_one_seed_has_no_interval_and_no_nan(form: str, result: AblationResult) -> None:
    one = replace(
        result.rows[1],
        values={"0": 60.0},
        mean=bca_interval([60.0]),
        std=None,
        comparison=compare({BEST: {"0": 64.0}}, {"0": 60.0})[BEST],
    )
    tables = ablation_tables(replace(result, rows=(result.rows[0], one), ranks=None))

    text = render(tables, (), form)

    assert "nan" not in text.lower().replace("hedges", "")
    assert "None" not in text
    assert "too few seeds" in " ".join(text.split())


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    table = ResultTable("t", (Column("a", ("a",)),), ((Cell("1", (1,)),),))
    with pytest.raises(UserError, match="did you mean 'latex'"):
        render([table], (), "latx")
