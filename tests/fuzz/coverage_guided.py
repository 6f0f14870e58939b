"""Coverage-guided fuzzing of one reader, in a process of its own.

    python tests/fuzz/coverage_guided.py TARGET CORPUS [options of libFuzzer, such as -runs=1000]

atheris instruments the readers when they are imported and prefers inputs that lead to code no
input led to before. A case that ends in anything but a result or a `UserError` ends the process
with its traceback, and libFuzzer writes the input to a file.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT))

with atheris.instrument_imports(
    include=["mlfd_tune.config", "mlfd_tune.tracking.expressions", "mlfd_tune.core.data"]
):
    from mlfd_tune.config import load_experiment
    from mlfd_tune.config.reading import parse_json, parse_yaml
    from mlfd_tune.core.data import DATASETS, DatasetSpec
    from mlfd_tune.core.data.image_files import open_file
    from mlfd_tune.core.data.published.byte_pickle import read_pickle
    from mlfd_tune.core.data.published.matlab import read_variables
    from mlfd_tune.tracking.expressions import MISSING, parse_filter

from mlfd_tune.core.errors import UserError  # noqa: E402
from tests.helpers.fuzzing import attempt  # noqa: E402
from tests.helpers.fuzzing.files import picture_files  # noqa: E402

FOLDER = Path(tempfile.mkdtemp(prefix="coverage-guided-", dir=Path.cwd()))


def read_experiment(content: bytes) -> None:
    path = FOLDER / "fuzzed.yaml"
    path.write_bytes(content)
    load_experiment(path)


def read_list(content: bytes) -> None:
    path = FOLDER / "list.csv"
    path.write_bytes(content)
    DATASETS["csv"]().inspect(DatasetSpec(source="csv", path=str(path)))


def read_picture(content: bytes) -> None:
    (FOLDER / "a.png").write_bytes(content)
    open_file(FOLDER, "a.png")


def read_matlab(content: bytes) -> None:
    path = FOLDER / "a.mat"
    path.write_bytes(content)
    try:
        read_variables(path, ("labels",))
    except ValueError as error:  # the source that asks makes a line of it
        raise UserError(str(error)) from error


def read_bytes(content: bytes) -> None:
    path = FOLDER / "a.pkl"
    path.write_bytes(content)
    read_pickle(path, "the file")


def read_filter(content: bytes) -> None:
    wanted = parse_filter(
        content.decode("utf-8", "surrogateescape"), {"val/acc1": "number", "name": "text"}, ("a.b",)
    )
    wanted.matches({"val/acc1": 1.0, "name": "x"}.get)  # type: ignore[arg-type]
    wanted.matches(lambda _: MISSING)


TARGETS: dict[str, Callable[[bytes], object]] = {
    "yaml": lambda content: parse_yaml(content.decode("utf-8", "replace"), "the file"),
    "json": lambda content: parse_json(content.decode("utf-8", "replace"), "the file"),
    "experiment": read_experiment,
    "csv": read_list,
    "picture": read_picture,
    "matlab": read_matlab,
    "pickle": read_bytes,
    "filter": read_filter,
}


def main() -> None:
    target = TARGETS[sys.argv[1]]
    if sys.argv[1] == "picture":
        for number, content in enumerate(picture_files()):
            (Path(sys.argv[2]) / f"picture-{number}").write_bytes(content)
    atheris.Setup(
        [sys.argv[0], *sys.argv[2:]], lambda content: attempt(lambda: target(content)) and None
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
