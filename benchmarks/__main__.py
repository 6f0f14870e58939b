"""``python -m benchmarks [NAME ...] [--quick]``: run benchmarks and write their results."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.harness import RESULTS, write_section

# In the order they run; each module has ``run(quick: bool) -> Report``.
NAMES = (
    "sweep",
    "features",
    "distillation",
    "overhead",
    "tracking",
    "packing",
    "growth",
    "fused",
)


def main() -> None:
    """Run the benchmarks that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)}")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that it runs; nothing is written"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to write")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r} (there are: {', '.join(NAMES)})")
    for name in chosen.names or NAMES:
        report = importlib.import_module(f"benchmarks.{name}").run(chosen.quick)
        if chosen.quick:
            print(report.markdown())
        else:
            write_section(report, chosen.results)


if __name__ == "__main__":
    main()
