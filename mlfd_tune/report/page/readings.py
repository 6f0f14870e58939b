"""The readings of test splits that a store has kept."""

from __future__ import annotations

from mlfd_tune.core.store import Artifact, Store, list_artifacts

__all__ = ["Readings", "kept_readings"]

Readings = dict[tuple[str, str], Artifact]
"""Artifacts by the stage's name and the key of a network that they are of."""

_STAGES = ("evaluation", "representation")


def kept_readings(store: Store) -> Readings:
    """Return the evaluations and embeddings in a store, by whatever they were made from."""
    return {
        (artifact.manifest.stage, key): artifact
        for artifact in list_artifacts(store)
        if artifact.manifest.stage in _STAGES
        for key in artifact.manifest.inputs.values()
    }
