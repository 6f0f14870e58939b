"""LaTeX takes the tables as they are."""

from __future__ import annotations

import shutil
import string
import subprocess
from pathlib import Path

import pytest

from mlfd_tune.ablation.table_formats import render
from mlfd_tune.ablation.table_model import Cell, Column, ResultTable

pytestmark = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="pdflatex is not installed (Debian: texlive-latex-extra)",
)

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
\input{tables.tex}
\end{document}
"""
COLUMNS = (Column("arm", ("arm",), is_number=False), Column("mean % & #", ("mean",)))


def compiled(folder: Path, tables: list[ResultTable], notes: tuple[str, ...] = ()) -> str:
    """Compile a document with the tables and return what LaTeX logs."""
    (folder / "tables.tex").write_text(render(tables, notes, "latex"), encoding="utf-8")
    (folder / "document.tex").write_text(DOCUMENT, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "document.tex"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )
    log = (folder / "document.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log
    assert (folder / "document.pdf").stat().st_size > 1000
    return log


def test_marks_and_intervals(tmp_path: Path) -> None:
    rows = (
        (Cell("base", ("base",)), Cell("63.50", (63.5,), "second")),
        (Cell("[a] first bracket", ("b",)), Cell("-1.25 [-3.00, 0.50]", (-1.25,), "best")),
    )
    title = "digits · val/acc1 in %, 6 seeds ± nothing"

    log = compiled(tmp_path, [ResultTable(title, COLUMNS, rows, "A caption_with #1 & more.")])

    assert "Overfull" not in log
    assert not [line for line in log.splitlines() if line.startswith("!")]


def test_every_character_of_a_name_is_set_and_none_is_obeyed(tmp_path: Path) -> None:
    name = string.punctuation + r" \input{/etc/hostname} $x^2$ größer – ä · ±"
    rows = ((Cell(name, (name,)), Cell("1.00", (1.0,))),)

    log = compiled(tmp_path, [ResultTable(name, COLUMNS, rows, name)], ("100 % \\end{document}",))

    assert "hostname" not in log
    assert not [line for line in log.splitlines() if line.startswith("!")]
