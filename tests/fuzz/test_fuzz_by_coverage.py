"""Coverage-guided fuzzing, each reader in a process of its own."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.io import savemat

from tests.helpers.fuzzing import Count, Fuzz
from tests.helpers.fuzzing.documents import PROJECT, shipped

pytest.importorskip("atheris", reason="atheris is not installed; pip install 'mlfd-tune[dev]'")

PROGRAM = Path(__file__).parent / "coverage_guided.py"
FILES = ("experiments/*.yaml", "experiments/small/*.yaml", "search_spaces/*.yaml")


def yaml_files() -> Iterable[bytes]:
    return (path.read_bytes() for pattern in FILES for path in sorted(PROJECT.glob(pattern)))


def json_files() -> Iterable[bytes]:
    return (json.dumps({"config": document}).encode() for document in shipped(*FILES))


def experiments() -> Iterable[bytes]:
    for document in shipped("experiments/small/*.yaml"):
        document.pop("include", None)
        yield yaml.safe_dump(document).encode()


def lists() -> Iterable[bytes]:
    return (b"path,label,split\na.png,cat,train\nb.png,dog,val\n", b'path,label\n"a,b.png","x"\n')


def nothing() -> Iterable[bytes]:
    return ()  # the program writes its own pictures


def matlab_files() -> Iterable[bytes]:
    for deflated in (False, True):
        buffer = io.BytesIO()
        savemat(buffer, {"labels": np.arange(9)[None]}, do_compression=deflated)
        yield buffer.getvalue()


def pickles() -> Iterable[bytes]:
    content = {"data": np.zeros((2, 3), np.uint8), b"labels": [1, (2, {"a": 10**20})]}
    return (pickle.dumps(content, protocol) for protocol in range(5))


def filters() -> Iterable[bytes]:
    return (b"val/acc1 > 80 and not name == 'x'", b"a.b in (1, 'c', None) or `val/acc1` != -1e3")


CORPORA = {
    "yaml": yaml_files,
    "json": json_files,
    "experiment": experiments,
    "csv": lists,
    "picture": nothing,
    "matlab": matlab_files,
    "pickle": pickles,
    "filter": filters,
}
REDUCED = ("experiment",)  # a process takes ten seconds to start


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(name, marks=() if name in REDUCED else pytest.mark.whole_matrix)
        for name in CORPORA
    ],
)
def test_no_input_that_is_found_by_coverage_breaks_a_reader(
    fuzz: Fuzz, tmp_path: Path, target: str
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, content in enumerate(CORPORA[target]()):
        (corpus / f"sound-{number}").write_bytes(content)
    runs = 4_000 if fuzz.whole else 400
    options = ["-seed=1", f"-runs={runs}", "-max_len=4096", "-rss_limit_mb=4096", "-timeout=60"]
    done = subprocess.run(
        [sys.executable, PROGRAM, target, corpus, *options, f"-artifact_prefix={tmp_path}/"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    found = [path.read_bytes() for path in tmp_path.glob("crash-*")]
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{found}"
    told = re.search(r"Done (\d+) runs? in (\d+) second", done.stderr)
    assert told, done.stderr[-2000:]
    fuzz.record(Count(f"{target}, by coverage", int(told[1]), max(1.0, float(told[2]))))
