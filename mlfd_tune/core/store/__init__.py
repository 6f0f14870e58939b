"""The content-addressed artifact store: every stage is computed once and found again by its hash.

`Stage` is what can be computed, `Store.get_or_compute` computes it at most once across processes
and nodes that share the folder, `Artifact` is what was written.
"""

from mlfd_tune.core.store.artifact import Artifact, Manifest
from mlfd_tune.core.store.locks import HeartbeatLock
from mlfd_tune.core.store.maintenance import collect_garbage, list_artifacts, verify_store
from mlfd_tune.core.store.stage import Stage, StageContext, StageResult, walk
from mlfd_tune.core.store.store import Claim, Store

__all__ = [
    "Artifact",
    "Claim",
    "HeartbeatLock",
    "Manifest",
    "Stage",
    "StageContext",
    "StageResult",
    "Store",
    "collect_garbage",
    "list_artifacts",
    "verify_store",
    "walk",
]
