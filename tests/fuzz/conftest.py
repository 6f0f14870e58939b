"""The table of what was fuzzed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple

import pytest

from tests.helpers.fuzzing import Count, Fuzz, cases_table


@pytest.fixture
def fuzz(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Fuzz:
    """Tries many inputs, and tells the table how many."""
    whole = bool(request.config.getoption("--whole-matrix"))
    return Fuzz(whole, lambda count: record_property("fuzzed", astuple(count)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = [
        Count(*value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "fuzzed" and getattr(report, "when", "") == "call"
    ]
    if counts:
        terminalreporter.section("cases fuzzed")
        for line in cases_table(counts):
            terminalreporter.write_line(line)
