"""Tables in LaTeX, with the package booktabs and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from mlfd_tune.ablation.table_model import Cell, Column, ResultTable

__all__ = ["escaped", "latex"]

_MARKS: Final = {"best": r"\textbf{%s}", "second": r"\underline{%s}", None: "%s"}

_SPECIAL: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "–": r"--",
}


def latex(tables: Sequence[ResultTable], notes: Sequence[str]) -> str:
    r"""Return one `table` environment per table, and the notes as comments.

    The document needs ``\usepackage{booktabs}``. Best is bold and second is underlined.
    """
    lines = [r"% needs \usepackage{booktabs}"]
    lines += [f"% {' '.join(note.split())}" for note in notes]
    return "\n\n".join(["\n".join(lines), *map(_environment, tables)]) + "\n"


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def _environment(table: ResultTable) -> str:
    heads = " & ".join(escaped(column.name) for column in table.columns)
    rows = [" & ".join(map(_cell, row, table.columns)) + r" \\" for row in table.rows]
    lines = [
        r"\begin{table}",
        r"  \centering",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{3pt}",
        rf"  \caption{{{escaped(f'{table.title}. {table.caption}'.strip())}}}",
        r"  \smallskip",
        # Wider than the text, it stands out evenly on both sides.
        r"  \makebox[\linewidth][c]{%",
        rf"  \begin{{tabular}}{{@{{}}{''.join(map(_alignment, table.columns))}@{{}}}}",
        r"    \toprule",
        rf"    {heads} \\",
        r"    \midrule",
        *(f"    {row}" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _alignment(column: Column) -> str:
    return "r" if column.is_number else "l"


def _cell(cell: Cell, column: Column) -> str:
    text = escaped(cell.text)
    if column.is_number:  # a hyphen is no minus sign
        text = re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", text)
    # A row that begins with a bracket would be an option of the row before.
    text = f"{{}}{text}" if text.startswith("[") else text
    return _MARKS[cell.mark] % text
