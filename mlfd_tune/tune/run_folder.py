"""The folder of one run of an experiment: what resuming needs, and what is left to look at.

``runs/<experiment>/<run>/`` holds the configuration, Optuna's studies, the tracking outbox and
Ray's own files.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mlfd_tune.config import Loaded
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store.artifact import write_atomically

__all__ = ["RunFolder"]

_STATE = "state.json"
_ENDED = "ended.txt"
_LOCK = "driver.lock"
_RAY_SESSION = "ray_session.txt"
# Keys that may change between the start of a run and its resumption: they change no result.
_FREE = ("resources", "tracking", "store", "runs", "name")


class RunFolder:
    """One run of an experiment on disk.

    `create` and `unfinished` return the folder held: while this process lives, or until `release`,
    no other driver takes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @classmethod
    def create(cls, loaded: Loaded) -> RunFolder:
        """Make the folder of a new run, with the configuration in it."""
        parent = Path(loaded.config.runs) / loaded.name
        parent.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        # Clocks are set back, and then neither the stamp nor the time tells which run is later.
        number = 1 + max((folder.number for folder in _folders(parent)), default=0)
        for attempt in range(1000):
            path = parent / (stamp if attempt == 0 else f"{stamp}-{attempt}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            folder = cls(path.absolute())
            folder._hold()
            state = {
                "finished": False,
                "number": number,
                "raw": loaded.kept,
                "started": time.time(),
            }
            write_atomically(folder.path / _STATE, json.dumps(state).encode())
            return folder
        raise UserError(f"runs: cannot make a new folder below {parent}")

    @classmethod
    def unfinished(cls, loaded: Loaded) -> RunFolder:
        """Return the latest run of the experiment that did not finish.

        Nothing is written but the file that says who holds the folder.

        Raises:
            UserError: There is none, its configuration was another one, or a driver is at it.
        """
        parent = Path(loaded.config.runs) / loaded.name
        open_ones = [folder for folder in _folders(parent) if not folder.state["finished"]]
        if not open_ones:
            raise UserError(
                f"--resume: {loaded.name} has no unfinished run in {parent}; "
                "run it without --resume"
            )
        latest = max(open_ones, key=lambda folder: (folder.number, folder.id))
        latest._require_same(loaded)
        latest._hold()
        if latest.state["finished"]:  # by a driver that let go of it a moment ago
            latest.release()
            return cls.unfinished(loaded)
        return latest

    @classmethod
    def left_by_the_dead(cls, loaded: Loaded) -> Iterator[RunFolder]:
        """Yield, held, the runs of the experiment whose drivers died without clearing up."""
        for folder in _folders(Path(loaded.config.runs) / loaded.name):
            if folder.ray_session is not None:
                try:
                    folder._hold()
                except UserError:  # its driver lives
                    continue
                yield folder

    def release(self) -> None:
        """Let other drivers take the run."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def id(self) -> str:
        """Name of the run, unique within its experiment."""
        return self.path.name

    @property
    def number(self) -> int:
        """Which run of its experiment it is, in the order in which they were started."""
        return int(self.state.get("number", 0))

    @property
    def state(self) -> dict[str, Any]:
        """What is known of the run: its configuration, its start, whether it finished."""
        state: dict[str, Any] = json.loads((self.path / _STATE).read_text())
        return state

    @property
    def studies(self) -> Path:
        """Optuna's storage file."""
        return self.path / "studies.db"

    @property
    def outbox(self) -> Path:
        """What is on its way to MLflow."""
        return self.path / "tracking"

    @property
    def ray(self) -> Path:
        """Ray's own files."""
        return self.path / "ray"

    @property
    def ray_session(self) -> Path | None:
        """Folder of the Ray session that the latest driver started; None where it joined one."""
        try:
            return Path((self.path / _RAY_SESSION).read_text())
        except FileNotFoundError:
            return None

    def note_ray_session(self, folder: Path | None) -> None:
        """Note the Ray session that this driver has started, for one that comes after its death.

        Args:
            folder: The session's; None forgets it, when it has been cleared.
        """
        if folder is None:
            (self.path / _RAY_SESSION).unlink(missing_ok=True)
        else:
            write_atomically(self.path / _RAY_SESSION, str(folder).encode())

    @property
    def ended_trials(self) -> frozenset[str]:
        """Ids of the planned trials that are over."""
        try:
            return frozenset((self.path / _ENDED).read_text().splitlines())
        except FileNotFoundError:
            return frozenset()

    def trial_ended(self, trial: str) -> None:
        """Note that a planned trial is over, so that a resumed run leaves it out."""
        with (self.path / _ENDED).open("a") as file:
            file.write(f"{trial}\n")

    def finish(self) -> None:
        """Note that nothing is left to do."""
        state = self.state | {"finished": True, "ended": time.time()}
        write_atomically(self.path / _STATE, json.dumps(state).encode())

    def _hold(self) -> None:
        """Become the only driver of the run. The death of this process gives it back."""
        lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(lock)
            raise UserError(
                f"--resume: run {self.id} of {self.path.parent.name} still goes on: {holder} is at "
                "it; wait for its end, or stop it first"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
        self._lock = lock

    def _require_same(self, loaded: Loaded) -> None:
        before, now = _flat(self.state["raw"]), _flat(json.loads(json.dumps(loaded.kept)))
        changed = sorted(
            key
            for key in before.keys() | now.keys()
            if before.get(key) != now.get(key)
            and key.split(".")[0] not in _FREE
            and key != "search.trials"
        )
        if changed:
            raise UserError(
                f"--resume: {', '.join(changed[:5])} changed since run {self.id} of {loaded.name} "
                "was started; resume it with the same settings, or start a new run"
            )


def _folders(parent: Path) -> list[RunFolder]:
    return [RunFolder(path.parent.absolute()) for path in parent.glob(f"*/{_STATE}")]


def _flat(node: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping):
        return {above: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{above}.{key}" if above else str(key))
    return flat
