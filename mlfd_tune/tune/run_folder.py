"""The folder of one run of an experiment: what resuming needs, and what is left to look at.

``runs/<experiment>/<run>/`` holds the configuration, Optuna's studies, the tracking outbox and
Ray's own files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mlfd_tune.config import Loaded
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store.artifact import write_atomically

__all__ = ["RunFolder"]

_STATE = "state.json"
_ENDED = "ended.txt"
# Keys that may change between the start of a run and its resumption: they change no result.
_FREE = ("resources", "tracking", "store", "runs", "name")


class RunFolder:
    """One run of an experiment on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, loaded: Loaded) -> RunFolder:
        """Make the folder of a new run, with the configuration in it."""
        parent = Path(loaded.config.runs) / loaded.name
        parent.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        for number in range(1000):
            path = parent / (stamp if number == 0 else f"{stamp}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            folder = cls(path.absolute())
            state = {"finished": False, "raw": loaded.raw, "started": time.time()}
            write_atomically(folder.path / _STATE, json.dumps(state).encode())
            return folder
        raise UserError(f"runs: cannot make a new folder below {parent}")

    @classmethod
    def unfinished(cls, loaded: Loaded) -> RunFolder:
        """Return the latest run of the experiment that did not finish.

        Raises:
            UserError: There is none, or its configuration was another one.
        """
        parent = Path(loaded.config.runs) / loaded.name
        folders = [cls(path.parent.absolute()) for path in parent.glob(f"*/{_STATE}")]
        open_ones = [folder for folder in folders if not folder.state["finished"]]
        if not open_ones:
            raise UserError(
                f"--resume: {loaded.name} has no unfinished run in {parent}; "
                "run it without --resume"
            )
        latest = max(open_ones, key=lambda folder: folder.path.name)
        latest._require_same(loaded)
        return latest

    @property
    def id(self) -> str:
        """Name of the run, unique within its experiment."""
        return self.path.name

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

    def _require_same(self, loaded: Loaded) -> None:
        before, now = _flat(self.state["raw"]), _flat(json.loads(json.dumps(loaded.raw)))
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


def _flat(node: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping):
        return {above: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{above}.{key}" if above else str(key))
    return flat
