"""The table of faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.helpers.faults.record import Held, table


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
