"""The command line: parse, call, print. One file per group of commands."""

from mlfd_tune.cli.main import main

__all__ = ["main"]
