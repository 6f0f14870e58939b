"""Faults for real processes, and what must hold after each.

`record.py` has the invariants and the table of faults; `checks.py` looks whether they hold.
"""
