"""What the benchmarks `sweep` and `growth` run: this platform's command, and the usual way.

Contenders are programs, so that all that each costs can be counted, the start of Python included.
"""
