"""Where an outbox's records go, remembered beside them without what is secret."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlfd_tune.core.store.artifact import write_atomically
from mlfd_tune.core.uris import without_login

__all__ = ["Target"]

_FILE = "target.json"


@dataclass(frozen=True)
class Target:
    """A tracking URI and an experiment.

    Attributes:
        uri: MLflow tracking URI, without its login.
        experiment: Name of the experiment.
        secret: There was a login, without which the URI may be of no use.
    """

    uri: str
    experiment: str
    secret: bool

    @classmethod
    def of(cls, uri: str, experiment: str) -> Target:
        """Return what may be remembered of an URI."""
        kept = without_login(uri)
        return cls(kept, experiment, secret=kept != uri)

    @classmethod
    def read(cls, folder: Path) -> Target | None:
        """Return the target of the outbox in a folder, or None where it is not known."""
        try:
            content: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            return cls(str(content["uri"]), str(content["experiment"]), bool(content["secret"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Remember it in the folder of an outbox.

        Raises:
            OSError: The file cannot be written.
        """
        write_atomically(folder / _FILE, json.dumps(asdict(self), indent=2).encode())

    def is_meant_by(self, uri: str) -> bool:
        """Tell whether an URI differs from this one in its login alone."""
        return without_login(uri) == self.uri
