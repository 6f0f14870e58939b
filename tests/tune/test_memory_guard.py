"""A process that takes more memory than it may ends, and says why."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlfd_tune.tune.memory_guard import MemoryGuard, own_memory
from mlfd_tune.tune.signs import Signs

GREEDY = """
import sys, time
from pathlib import Path
from mlfd_tune.tune.memory_guard import MemoryGuard, own_memory
from mlfd_tune.tune.signs import Signs
signs = Signs(Path(sys.argv[1]))
guard = MemoryGuard(own_memory() + 200_000_000)
guard.begin(lambda text: signs.last_words("work", text))
held = []
while len(held) < 100:
    held.append(bytearray(10_000_000))
    time.sleep(0.05)
"""


@pytest.mark.slow  # imports torch in a new process
def test_a_process_that_takes_too_much_is_ended_and_leaves_its_reason(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", GREEDY, str(tmp_path)], timeout=120)

    assert done.returncode == -signal.SIGKILL
    assert "more than resources.max_worker_memory allows (" in Signs(tmp_path).words("work")


def test_pages_of_mapped_files_are_not_memory_of_its_own(tmp_path: Path) -> None:
    np.zeros(50_000_000, np.uint8).tofile(tmp_path / "images.npy")
    before = own_memory()
    mapped = np.memmap(tmp_path / "images.npy", np.uint8, "r")
    assert int(mapped.sum()) == 0

    assert own_memory() - before < 25_000_000


def test_a_worker_that_holds_half_of_what_it_may_is_full() -> None:
    assert MemoryGuard(2 * own_memory() - 100_000_000).too_much_is_left
    assert not MemoryGuard(4 * own_memory()).too_much_is_left
