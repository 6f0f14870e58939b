"""Every YAML file's schema, and how a file becomes a checked configuration.

`load_experiment` reads a file with its includes and overrides; `settings_for` is the configuration
of one student: a base with some dotted keys set.
"""

from mlfd_tune.config.assign import assign, settings_for
from mlfd_tune.config.design import DesignSettings, OwnDesign, Part, ResolveSettings
from mlfd_tune.config.loading import KINDS, Loaded, load_experiment
from mlfd_tune.config.schema import (
    AblationConfig,
    ConfirmSettings,
    ExperimentConfig,
    Provenance,
    ResourceSettings,
    StoreSettings,
    SweepConfig,
    TrackingSettings,
    TrainConfig,
    pipeline_settings,
)
from mlfd_tune.config.search import SearchSettings
from mlfd_tune.config.space import SearchSpace

__all__ = [
    "KINDS",
    "AblationConfig",
    "ConfirmSettings",
    "DesignSettings",
    "ExperimentConfig",
    "Loaded",
    "OwnDesign",
    "Part",
    "Provenance",
    "ResolveSettings",
    "ResourceSettings",
    "SearchSettings",
    "SearchSpace",
    "StoreSettings",
    "SweepConfig",
    "TrackingSettings",
    "TrainConfig",
    "assign",
    "load_experiment",
    "pipeline_settings",
    "settings_for",
]
