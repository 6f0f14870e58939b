"""Ray Tune: the trainable, Optuna's studies behind its searcher and scheduler, and the runner.

`Sweep` runs a sweep; `Experiment` is what sweeps and ablations share; `Studies` is the record of a
search. The rest is reached through its modules.
"""

from mlfd_tune.tune.quiet import quiet_environment

quiet_environment()  # before Ray is imported: it reads its settings then

from mlfd_tune.tune.engine import Engine, PlannedTrial, trial_context  # noqa: E402
from mlfd_tune.tune.progress import Progress, duration  # noqa: E402
from mlfd_tune.tune.session import Experiment  # noqa: E402
from mlfd_tune.tune.studies import Studies  # noqa: E402
from mlfd_tune.tune.sweep import Sweep  # noqa: E402
from mlfd_tune.tune.trial import StudentTrial, TrialContext, TrialRequestConfig  # noqa: E402

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
