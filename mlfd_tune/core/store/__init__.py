"""The content-addressed artifact store: every stage is computed once and found again by its hash.

`Stage` is what can be computed, `Store.get_or_compute` computes it at most once across processes
and nodes that share the folder, `Artifact` is what was written. `Store.pin` keeps what a run needs
from `collect_garbage`.
"""

from mlfd_tune.core.store.artifact import Artifact, Manifest
from mlfd_tune.core.store.claim import Claim, LostClaimError
from mlfd_tune.core.store.locks import HeartbeatLock
from mlfd_tune.core.store.maintenance import collect_garbage, list_artifacts
from mlfd_tune.core.store.stage import Stage, StageContext, StageResult, walk
from mlfd_tune.core.store.store import Store
from mlfd_tune.core.store.verifying import find_leftovers, verify_store

__all__ = [
    "Artifact",
    "Claim",
    "HeartbeatLock",
    "LostClaimError",
    "Manifest",
    "Stage",
    "StageContext",
    "StageResult",
    "Store",
    "collect_garbage",
    "find_leftovers",
    "list_artifacts",
    "verify_store",
    "walk",
]
