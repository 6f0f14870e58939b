"""Hostile input: strategies that make it, and the one check that all of it has to pass."""

from tests.helpers.fuzzing.attempts import Count, Fuzz, attempt, cases_table

__all__ = ["Count", "Fuzz", "attempt", "cases_table"]
