"""The table of faults, and which of them are tried without being asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.helpers.faults.record import Held, table


def pytest_collection_modifyitems(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    if config.getoption("--whole-matrix"):
        return
    left_out = pytest.mark.skip(reason="only with --whole-matrix")
    for item in items:
        if item.get_closest_marker("whole_matrix"):
            item.add_marker(left_out)


@pytest.fixture
def held(record_property: Callable[[str, object], None]) -> Held:
    """What the test finds out about a fault, for the table."""
    return Held(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    records = [
        tuple(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "fault" and getattr(report, "when", "") == "call"
    ]
    if records:
        terminalreporter.section("faults")
        for line in table(records):
            terminalreporter.write_line(line)
