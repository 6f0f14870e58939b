"""A small sweep whose result depends on nothing but its seed, and drivers that can be killed."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import yaml

from tests.helpers.command import ENVIRONMENT, command, write_yaml
from tests.helpers.faults.outcome import Outcome, outcome_of

__all__ = [
    "FILE",
    "MARK",
    "NAME",
    "Driver",
    "fault_sweep",
    "marked",
    "prepare",
    "temporary_folder",
    "undisturbed",
]

NAME = "tiny"
FILE = f"{NAME}.yaml"
MARK = "MLFD_TESTED_RUN"
"""Environment variable that all processes of a driver inherit: its folder, # and some letters."""

_TRAIN = {"epochs": 3, "optimizer": "adamw", "lr": 3.0e-3, "batch_size": 32}
_KILLED_WITHIN_S = 30.0
_known: dict[str, Outcome] = {}
_marks: list[str] = []


def fault_sweep(**changes: Any) -> dict[str, Any]:
    """Return a sweep that takes about 20 s: three trials per dataset, some of them stopped early.

    One worker does everything, and every trial has the same shared stages. So trials run in the
    order of their numbers, however often the sweep is begun anew, and what ASHA compares a trial
    with does not depend on which process was faster.
    """
    return {
        "kind": "sweep",
        "seed": 3,
        "image_size": 32,
        "datasets": {
            "digits": {"source": "digits", "train_size": 80},
            "photos": {"source": "photos", "train_size": 80},
        },
        "teacher": {"arch": "test_vit", "train": _TRAIN},
        "teachers": {"photos": {"arch": "test_convnext"}},
        "student": {"train": _TRAIN},
        "joint_teacher": {
            "levels": "L1",
            "width": 16,
            "train": {"epochs": 2, "lr": 3.0e-3, "batch_size": 32},
        },
        "search": {
            "trials": 3,
            "sampler": "random",
            "scheduler": "asha",
            "grace_epochs": 1,
            "reduction_factor": 2,
            "space": {
                "distillation.alpha": {"float": [0.1, 2.0], "log": True},
                "distillation.beta.embedding": {"float": [0.01, 1.0], "log": True},
            },
        },
        "confirm": {"top_k": 1, "seeds": 2},
        "resources": {"workers": 1},
        **changes,
    }


def prepare(folder: Path, database: Path, content: Mapping[str, Any] | None = None) -> Path:
    """Put an experiment file and an MLflow database into a folder, and return the folder.

    Args:
        folder: Made if it does not exist.
        database: The fixture `empty_database`.
        content: The experiment; by default `fault_sweep()`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / FILE, fault_sweep() if content is None else content)
    shutil.copyfile(database, folder / "mlflow.db")
    return folder


def undisturbed(database: Path, content: Mapping[str, Any] | None = None) -> Outcome:
    """Return what comes out of a sweep that nothing happens to; it is run once per process.

    Args:
        database: The fixture `empty_database`.
        content: The experiment; by default `fault_sweep()`.
    """
    content = fault_sweep() if content is None else content
    known = yaml.safe_dump(content)
    if known not in _known:
        folder = Path(tempfile.mkdtemp(prefix="undisturbed-"))
        try:
            prepare(folder, database, content)
            with Driver(folder) as driver:
                assert driver.wait() == 0, driver.output
            _known[known] = outcome_of(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return _known[known]


class Driver:
    """A real `mlfd-tune` in a session of its own, with a folder for temporary files of its own.

    As a context manager it ends, where a test fails, whatever is left of the driver and of what it
    started. Where nothing failed it leaves all as it is, so that what leaks can be seen; what is
    left in the end goes when Python ends.

    Args:
        folder: Where it is started.
        arguments: Of the command; by default `run` the file that `prepare` wrote.
        environment: Variables beside those of this process.
        prefix: A program to start it with, such as `("nice",)`.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.mark = f"{folder}#{uuid.uuid4().hex[:8]}"
        self._log = folder / f"driver-{self.mark[-8:]}.log"
        temporary = temporary_folder(folder)
        temporary.mkdir(exist_ok=True)
        _marks.append(self.mark)
        own = {
            MARK: self.mark,
            "TMPDIR": str(temporary),
            "RAY_TMPDIR": str(temporary),
            "COLUMNS": "300",  # wide enough for what is said in a line to be one
        }
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*prefix, *command(*(arguments or ("run", FILE)))],
                cwd=folder,
                env={**ENVIRONMENT, **own, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_heed_interrupts,
            )

    @property
    def output(self) -> str:
        """What it has written to the terminal so far."""
        return self._log.read_text(errors="replace")

    def processes(self, title: str = "") -> list[psutil.Process]:
        """Return the living processes of this driver whose command line has `title` in it."""
        return [process for process in marked(self.mark) if title in _title(process)]

    def workers(self) -> list[psutil.Process]:
        """Return the processes that train."""
        titles = ("ray::Worker", "ray::ResourceTrainable")
        return [
            process for process in self.processes("ray::") if _title(process).startswith(titles)
        ]

    def wait_until(self, condition: Callable[[], Any], timeout_s: float = 240.0) -> Any:
        """Look every few milliseconds, and return the first true value of a condition."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if found := condition():
                return found
            if self.process.poll() is not None:
                raise AssertionError(f"the driver ended too early\n{self.output}")
            time.sleep(0.005)
        raise AssertionError(f"not seen in {timeout_s:g} s\n{self.output}")

    def wait(self, timeout_s: float = 300.0) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end in {timeout_s:g} s\n{self.output}") from None

    def kill(self) -> None:
        """End the driver with SIGKILL, and no other process."""
        self.process.kill()
        self.process.wait()

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Send a signal to the driver alone."""
        self.process.send_signal(number)

    def kill_all(self) -> None:
        """End everything it has started with SIGKILL, as the death of the machine does."""
        _kill_marked(self.mark)
        self.process.wait()

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None or self.process.poll() is None:
            self.kill_all()


def temporary_folder(folder: Path) -> Path:
    """Return where the drivers started in `folder` put temporary files and Ray's sockets.

    It is short, since Ray's sockets lie below it, and the path of a socket has at most 107
    characters.
    """
    return Path(tempfile.gettempdir()) / f"flt{hashlib.sha256(bytes(folder)).hexdigest()[:8]}"


def marked(mark: str) -> list[psutil.Process]:
    """Return the living processes that inherited a mark that begins so."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            if not any(variable.startswith(wanted) for variable in variables):
                continue
            process = psutil.Process(int(entry.name))
            if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def _kill_marked(mark: str) -> None:
    until = time.monotonic() + _KILLED_WITHIN_S
    while left := marked(mark):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        assert time.monotonic() < until, f"cannot be killed: {left}"
        time.sleep(0.02)


def _heed_interrupts() -> None:
    """Let SIGINT have its effect, also where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@atexit.register
def _leave_nothing() -> None:
    for mark in _marks:
        _kill_marked(mark)
        folder, _, _ = mark.rpartition("#")
        shutil.rmtree(temporary_folder(Path(folder)), ignore_errors=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
