from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mlfd_tune.tracking.journal import Journal


def lines_of(journal: Journal) -> list[object]:
    return journal.read(journal.start, 1 << 20)[0]


def test_a_reopened_journal_holds_what_was_appended_and_keeps_its_first_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.jsonl"
    first = Journal(path, {"outbox": "one"})
    first.append({"op": "tags", "values": {"name": "Grüße, 世界"}})
    first.close()

    again = Journal(path, {"outbox": "two"})

    assert again.first_line == {"outbox": "one"}
    assert lines_of(again) == [{"op": "tags", "values": {"name": "Grüße, 世界"}}]
    assert again.lines == 1


def test_a_line_cut_off_by_a_kill_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, {})
    journal.append({"n": 1})
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"n": 2, "val')

    again = Journal(path, {})
    again.append({"n": 3})

    assert lines_of(again) == [{"n": 1}, {"n": 3}]


def test_a_damaged_line_does_not_hide_those_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{}\n{"n": 1}\n\0\0\0\0\n{"n": 2}\n')

    lines = lines_of(Journal(path, {}))

    assert [lines[0], lines[2]] == [{"n": 1}, {"n": 2}]
    assert lines[1]["op"] == "damaged"  # type: ignore[index]


def test_lines_are_read_in_pieces_that_each_end_with_a_whole_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", {})
    written = [{"n": n, "text": "x" * n} for n in range(200)]
    for line in written:
        journal.append(line)

    read, position = [], journal.start
    while position < journal.size:
        piece, position = journal.read(position, 64)
        assert piece
        read += piece

    assert read == written


def test_while_the_disk_is_full_lines_wait_in_memory_and_none_is_torn(tmp_path: Path) -> None:
    # A limit on the file's size is a full disk to the process; it must not reach this one.
    script = """
import logging, resource, signal, sys
from pathlib import Path
from mlfd_tune.tracking.journal import Journal

logging.basicConfig(format="%(message)s")
journal = Journal(Path(sys.argv[1]), {})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
for n in range(20):
    journal.append({"n": n})
print("waiting", journal.waiting)
try:
    journal.require_kept()
except OSError as error:
    print("not kept", error.filename == sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append({"n": 20})
journal.require_kept()
print("read", [line["n"] for line in journal.read(journal.start, 10000)[0]] == list(range(21)))
"""
    path = tmp_path / "journal.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )

    assert "waiting 0" not in done.stdout
    assert "not kept True" in done.stdout
    assert "read True" in done.stdout
    assert done.stderr.count("cannot be written") == 1
