"""The table of what was fuzzed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import astuple

import pytest

from tests.helpers.fuzzing import Count, Fuzz, cases_table


def pytest_collection_modifyitems(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    if config.getoption("--whole-matrix"):
        return
    left_out = pytest.mark.skip(reason="only with --whole-matrix")
    for item in items:
        if item.get_closest_marker("whole_matrix"):
            item.add_marker(left_out)


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
