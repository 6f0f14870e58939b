"""What commands print is shown as it stands, whatever is in it."""

from __future__ import annotations

import pytest
from rich.table import Table
from rich.text import Text

from mlfd_tune.cli.options import print_table
from mlfd_tune.cli.terminal import Terminal, echo

HOSTILE = "[red]a[/red] :smile: \x1b[2Jb http://me:c4n4ry@host"


def test_markup_is_text_and_control_characters_are_written_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    table = Table("name")
    table.add_row(HOSTILE)

    Terminal().print(HOSTILE)
    Terminal().print(Text(HOSTILE))
    Terminal().print(table)
    print_table(("name",), [(HOSTILE,)])

    shown = capsys.readouterr().out
    assert shown.count("[red]a[/red] :smile: \\x1b[2Jb") == 4
    assert "\x1b" not in shown


def test_lines_are_echoed_without_logins(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"one\ntwo {HOSTILE}", err=True)

    told = capsys.readouterr().err
    assert told == "one\ntwo [red]a[/red] :smile: \\x1b[2Jb http://***@host\n"
