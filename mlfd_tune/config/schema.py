"""The schema of experiment files: sweeps, ablations and single trainings."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mlfd_tune.config.design import DesignSettings, ResolveSettings
from mlfd_tune.config.messages import ListedError
from mlfd_tune.config.search import SearchSettings
from mlfd_tune.core.errors import allowed_values
from mlfd_tune.core.names import problem_with_name, shortened
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.settings.names import MethodName
from mlfd_tune.core.spec import Spec

__all__ = [
    "AblationConfig",
    "ConfirmSettings",
    "DesignSettings",
    "ExperimentConfig",
    "Provenance",
    "ResolveSettings",
    "ResourceSettings",
    "StoreSettings",
    "SweepConfig",
    "TrackingSettings",
    "TrainConfig",
    "parse_bytes",
    "parse_seconds",
    "pipeline_settings",
]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_bytes(value: Any) -> Any:
    """Return a number of bytes from a number or from text such as ``20GB``."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(f"{value!r} is not a size (allowed: such as 500MB, 20GB, 1TB)")
    return int(float(match[1]) * _UNITS[match[2].upper()])


_SECONDS = {"": 1.0, "S": 1.0, "M": 60.0, "MIN": 60.0, "H": 3600.0, "D": 86400.0}


def parse_seconds(value: Any) -> Any:
    """Return a number of seconds from a number or from text such as ``10m``."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in _SECONDS:
        raise ValueError(f"{value!r} is not a time (allowed: seconds, or such as 90s, 10m, 2h)")
    return float(match[1]) * _SECONDS[match[2].upper()]


class StoreSettings(Spec):
    """Where artifacts are kept."""

    path: str = Field(
        ".mlfd/store", description="Folder of the artifact store; may be on a shared filesystem."
    )
    max_bytes: Annotated[int | None, BeforeValidator(parse_bytes)] = Field(
        None, ge=1, description="Budget of all artifacts, such as 20GB; null for no limit."
    )
    study_max_bytes: Annotated[int | None, BeforeValidator(parse_bytes)] = Field(
        None,
        ge=1,
        description="Cap on what the students of one run and the checkpoints of its trials take "
        "together, such as 50GB; null for no cap. Where it is short, students of the search go, "
        "those that rank last first, but never the best `confirm.top_k` nor confirmed ones; a "
        "checkpoint that does not fit is not written.",
    )
    cache: Literal["auto", "targets", "features", "none"] = Field(
        "auto",
        description="What is kept for students to learn from. `targets`: features and targets. "
        "`features`: the joint teacher runs on cached features while a student trains. `none`: the "
        "teachers run too. `auto`: the first of these that fits. Part of no result's identity.",
    )
    memory_bytes: Annotated[int | None, BeforeValidator(parse_bytes)] = Field(
        None,
        ge=0,
        description="Memory that one training may take for targets or features that are not "
        "cached, such as 4GB; what fits is computed once when it starts, the rest batch by batch. "
        "null for an eighth of what is free then.",
    )


class TrackingSettings(Spec):
    """Where runs are logged."""

    uri: str = Field(
        "sqlite:///mlflow.db",
        description="MLflow tracking URI. A password in it is kept out of messages, files and "
        "MLflow; rather than here, give one to a server by MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN), and to PostgreSQL by PGPASSWORD.",
    )


class ResourceSettings(Spec):
    """What trials and stages may use."""

    address: str | None = Field(
        None, description="Ray cluster to join, such as `auto`; null starts Ray on this machine."
    )
    workers: int | None = Field(
        None, ge=1, description="Trials at a time; null for as many as the devices allow."
    )
    gpus_per_trial: Annotated[float, Field(ge=0)] | Literal["auto"] | None = Field(
        None,
        description="GPUs of one trial, 0.25 packs four on one; null for one where there are GPUs. "
        "`auto` measures the first trial of every target and packs as many on a GPU as its memory, "
        "its time and the CPUs allow. What runs out of memory beside others runs again alone.",
    )
    trial_timeout: Annotated[float | None, BeforeValidator(parse_seconds)] = Field(
        None,
        ge=1,
        description="How long a trial or stage may show no progress, such as 10m, before its "
        "worker is killed: no epoch and, for a stage, no images read. Waiting for work of another "
        "process does not count. Give it several times the longest epoch. null for no limit.",
    )
    max_failures: int = Field(
        1,
        ge=0,
        le=100,
        description="How often a trial or stage that failed is tried again, from its last "
        "checkpoint; also counted over `--resume`. What failed twice in the same way is not.",
    )
    max_worker_memory: Annotated[int | None, BeforeValidator(parse_bytes)] = Field(
        None,
        ge=1,
        description="Memory of its own that one worker may take, such as 8GB. A worker that takes "
        "more is killed, and its trial fails so; one that still holds half of it when its trial is "
        "over is replaced. null for no limit.",
    )


class ConfirmSettings(Spec):
    """How the best configurations are retrained before they are reported."""

    top_k: int = Field(1, ge=0, description="Configurations per dataset; 0 for no confirmation.")
    seeds: int = Field(3, ge=2, description="Fresh seeds of each, shared with its baseline.")
    compare: tuple[MethodName, ...] = Field(
        (),
        description="Methods, baselines and controls to train beside it on the same seeds, such as "
        "`multi_head`. The baseline `none` and the control `own_teacher` always are.",
    )


class ExperimentConfig(PipelineSettings):
    """What sweeps, ablations and trainings share."""

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Name of the MLflow experiment; null for the file's name.",
    )
    targets: tuple[str, ...] | None = Field(
        None, min_length=1, description="Datasets that get a student; null for all."
    )
    store: StoreSettings = Field(StoreSettings(), description="The artifact store.")
    tracking: TrackingSettings = Field(TrackingSettings(), description="The MLflow server.")
    resources: ResourceSettings = Field(ResourceSettings(), description="What may be used.")
    runs: str = Field("runs", description="Folder for studies, logs and what resuming needs.")

    @field_validator("name")
    @classmethod
    def _name_is_a_folders(cls, name: str | None) -> str | None:
        problem = None if name is None else problem_with_name(name)
        if problem is not None:
            raise ValueError(f"{shortened(name or '')!r} {problem}")
        return name

    @model_validator(mode="after")
    def _targets_are_datasets(self) -> ExperimentConfig:
        targets = self.targets or ()
        problems = [
            f"targets: unknown dataset {target!r} {allowed_values(target, self.datasets)}"
            for target in targets
            if target not in self.datasets
        ]
        problems += [
            f"targets: {target!r} stands twice"
            for target in dict.fromkeys(targets)
            if targets.count(target) > 1
        ]
        if problems:
            raise ListedError(*problems)
        return self

    @property
    def target_names(self) -> tuple[str, ...]:
        """The datasets that get a student."""
        return self.targets or tuple(self.datasets)


class SweepConfig(ExperimentConfig):
    """A search per target dataset, then confirmation of the best on fresh seeds."""

    kind: Literal["sweep"] = Field(description="What the file is.")
    search: SearchSettings = Field(description="What is searched, and how.")
    confirm: ConfirmSettings = Field(ConfirmSettings(), description="Confirmation of the best.")


class AblationConfig(ExperimentConfig):
    """A designed comparison with paired seeds and no early stopping."""

    kind: Literal["ablation"] = Field(description="What the file is.")
    design: DesignSettings = Field(description="The arms.")
    seeds: int = Field(3, ge=1, description="Seeds of every arm, the same for all.")
    resolve: ResolveSettings | None = Field(
        None,
        description="null: `seeds` and no more. Else more are added in batches until every "
        "interval is narrow enough, whatever the differences are.",
    )
    metric: Literal["val/acc1", "test/acc1"] = Field(
        "val/acc1",
        description="What arms are compared on. `test/acc1` reads the test split of every arm; use "
        "it when nothing is chosen from the table.",
    )

    @model_validator(mode="after")
    def _seeds_are_within_the_budget(self) -> AblationConfig:
        if self.resolve is not None and self.resolve.max_seeds < self.seeds:
            raise ListedError(
                f"resolve.max_seeds: {self.resolve.max_seeds} are fewer than the {self.seeds} "
                "seeds to begin with (allowed: seeds or more)"
            )
        return self


class Provenance(Spec):
    """Where an exported configuration comes from and what it should reproduce."""

    experiment: str = Field(description="MLflow experiment.")
    run_id: str = Field(description="MLflow run whose numbers these are.")
    tracking_uri: str = Field(description="Where the run is logged.")
    versions: dict[str, str] = Field(description="Library versions it was computed with.")
    data: dict[str, str] = Field(description="Hashes of the packed datasets.")
    artifacts: dict[str, str] = Field(description="Hashes of all artifacts it is made of.")
    seed: int = Field(description="Seed of the exported student.")
    status: str = Field(description="`confirmed` on several seeds, or `provisional`.")
    expected: dict[str, float | None] = Field(
        description="Metrics of this seed, and the interval over seeds."
    )
    weights: str | None = Field(None, description="Safetensors file beside this one.")
    weights_sha256: str | None = Field(None, description="Checksum of the weights file.")
    files: dict[str, str] = Field(
        {}, description="Checksums (SHA-256) of the files that were exported beside this one."
    )

    @model_validator(mode="after")
    def _files_stand_beside_it(self) -> Provenance:
        names = [*self.files, *([self.weights] if self.weights else [])]
        problems = [
            f"files: {shortened(name)!r} {problem}"
            for name in dict.fromkeys(names)
            if (problem := problem_with_name(name)) is not None
        ]
        if problems:
            raise ListedError(*problems)
        return self


class TrainConfig(ExperimentConfig):
    """One student, such as an exported best configuration."""

    kind: Literal["train"] = Field(description="What the file is.")
    target: str = Field(description="The dataset of the student.")
    provenance: Provenance | None = Field(None, description="Written by `mlfd-tune export`.")

    @model_validator(mode="after")
    def _target_exists(self) -> TrainConfig:
        if self.target not in self.datasets:
            known = allowed_values(self.target, self.datasets)
            raise ValueError(f"target: unknown dataset {self.target!r} {known}")
        return self


def pipeline_settings(config: PipelineSettings) -> PipelineSettings:
    """Return the part of an experiment's configuration that decides its students."""
    values = {name: getattr(config, name) for name in PipelineSettings.model_fields}
    return PipelineSettings.model_construct(**values)
