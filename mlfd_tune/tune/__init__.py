"""Ray Tune: the trainable, Optuna's studies behind its searcher and scheduler, and the runner.

`Sweep` runs a sweep; `Experiment` is what sweeps and ablations share; `Studies` is the record of a
search. The rest is reached through its modules. What is named here is imported when it is first
asked for: a worker needs little of it, and imports nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlfd_tune.tune.quiet import quiet_environment

quiet_environment()  # before Ray is imported: it reads its settings then

if TYPE_CHECKING:
    from mlfd_tune.tune.engine import Engine, PlannedTrial, trial_context
    from mlfd_tune.tune.progress import Progress, duration
    from mlfd_tune.tune.session import Experiment
    from mlfd_tune.tune.studies import Studies
    from mlfd_tune.tune.sweep import Sweep
    from mlfd_tune.tune.trial import StudentTrial, TrialContext, TrialRequestConfig

_MODULES = {
    "Engine": "engine",
    "Experiment": "session",
    "PlannedTrial": "engine",
    "Progress": "progress",
    "StudentTrial": "trial",
    "Studies": "studies",
    "Sweep": "sweep",
    "TrialContext": "trial",
    "TrialRequestConfig": "trial",
    "duration": "progress",
    "trial_context": "engine",
}

__all__ = [
    "Engine",
    "Experiment",
    "PlannedTrial",
    "Progress",
    "StudentTrial",
    "Studies",
    "Sweep",
    "TrialContext",
    "TrialRequestConfig",
    "duration",
    "trial_context",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
