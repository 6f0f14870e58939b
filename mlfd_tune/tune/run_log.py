"""How an experiment is written to MLflow: parent, stages and trials as a tree of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import yaml

from mlfd_tune.config import Loaded, settings_for
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.settings import PipelineSettings
from mlfd_tune.core.spec import content_hash
from mlfd_tune.core.stages import DatasetStage, DistilledSpec, FeaturesStage, TrialStage
from mlfd_tune.core.store import Artifact, Manifest, Stage, walk
from mlfd_tune.core.uris import hide_logins
from mlfd_tune.tracking import RunRef, Tracker, vocabulary
from mlfd_tune.tune.records import Outcome
from mlfd_tune.tune.trial import TrialContext, TrialRequestConfig, student_of

__all__ = ["PARENT", "RUN_STATUS", "SECONDS_TRAINED", "RunLog", "config_id", "run_settings"]

PARENT = "parent"

SECONDS_TRAINED = "mlfd.seconds_trained"
"""Tag of a trial's run: seconds its last worker spent training and evaluating epochs."""

# One in C takes a tenth of the time, and every trial writes its configuration.
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

RunStatus = Literal["FINISHED", "KILLED", "FAILED"]
RUN_STATUS: dict[Outcome, RunStatus] = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
}
"""How an ended trial stands in MLflow."""

RunKind = Literal["trial", "confirm", "arm", "train"]


class RunLog:
    """Writes an experiment's runs.

    Args:
        tracker: Sends them to MLflow.
        loaded: The experiment.
        context: What its trials share.
    """

    def __init__(self, tracker: Tracker, loaded: Loaded, context: TrialContext) -> None:
        self.tracker = tracker
        self.loaded = loaded
        self.context = context
        self._stages: dict[str, str] = {}
        self._open: set[str] = set()
        self._students: dict[str, TrialStage] = {}  # of the open runs
        # Asks git and the GPU driver, so once for all runs and not once a trial.
        self._environment = vocabulary.environment_tags()

    def open_parent(self, kind: Literal["sweep", "ablation"], run_id: str) -> None:
        """Start the experiment's own run, or go on in it."""
        config = self.loaded.config
        tags = self._environment | {
            vocabulary.KIND: kind,
            vocabulary.SWEEP: run_id,
        }
        params = {
            "seed": config.seed,
            "image_size": config.image_size,
            "targets": ",".join(config.target_names),
            **dict(_flat(self.loaded.raw.get("search") or {}, "search")),
            **dict(_flat(self.loaded.raw.get("design") or {}, "design")),
            **dict(_flat(self.loaded.raw.get("resolve") or {}, "resolve")),
        }
        self.tracker.start_run(PARENT, f"{kind} {run_id}", tags=tags, params=params)
        self.tracker.log_text(PARENT, to_yaml(self.loaded.kept), "experiment.yaml")

    def close_parent(self, status: RunStatus, reason: str = "") -> None:
        """End the experiment's own run."""
        self.tracker.end_run(PARENT, status, hide_logins(reason) or None)

    def interrupt(self, lost: str | None = None) -> None:
        """End every open run as killed; a resumed run goes on in them.

        Args:
            lost: What of Ray died; None where the run was interrupted by a signal.
        """
        why = f"{lost} died" if lost else "interrupted"
        for local_id in [*self._open, PARENT]:
            self.tracker.end_run(local_id, "KILLED", f"{why}; go on with --resume")
        self._open.clear()

    def take_over(self, trials: Iterable[str]) -> None:
        """Have in mind that a dead driver left these trials' runs open."""
        self._open.update(trials)

    def stage(self, stage: Stage, artifact: Artifact) -> str:
        """Log a stage's run, once per experiment, and return its local id."""
        if stage.key in self._stages:
            return self._stages[stage.key]
        manifest = artifact.manifest
        tags: dict[str, Any] = {
            vocabulary.KIND: "stage",
            "mlfd.stage_name": manifest.stage,
            "mlfd.seconds": f"{manifest.seconds:.1f}",
            "mlfd.bytes": str(manifest.bytes),
        }
        if manifest.dataset:
            tags[vocabulary.DATASET] = manifest.dataset
        for below in stage.reads.values():
            if below.key in self._stages:
                tags[vocabulary.stage_tag(_link(below))] = RunRef(self._stages[below.key])
        params = dict(_flat(manifest.spec)) | {"artifact_key": manifest.key}
        local_id = self.tracker.start_stage_run(
            stage.key,
            stage.label,
            parent=PARENT,
            tags=tags,
            params=params,
            started=manifest.created - manifest.seconds,
        )
        self._stages[stage.key] = local_id
        self._log_history(local_id, manifest)
        self.tracker.end_run(local_id, "FINISHED", ended=manifest.created)
        return local_id

    def stages_below(self, student: TrialStage) -> None:
        """Log the runs of all finished stages a student depends on."""
        for stage in walk(student.inputs.values()):
            if stage.key not in self._stages:
                artifact = self.context.store.get(stage)
                if artifact is not None:
                    self.stage(stage, artifact)

    def start_trial(
        self,
        request: TrialRequestConfig,
        kind: RunKind,
        sweep: str,
        *,
        arm: str | None = None,
        baseline_of: str | None = None,
    ) -> None:
        """Start a trial's run, or go on in it after a resume.

        Args:
            request: The trial.
            kind: ``trial``, ``confirm`` or ``arm``.
            sweep: Id of the parent.
            arm: Name of the arm it belongs to.
            baseline_of: The configurations it is the baseline or control of.
        """
        try:
            student = self._students[request.id] = student_of(self.context, request)
        except UserError:
            self._start_unfit(request, kind, sweep)
            return
        settings = run_settings(self.context.raw, request)
        method = request.method or settings.method
        seed = settings.student_seed(request.dataset) if request.seed is None else request.seed
        tags: dict[str, Any] = self._environment | {
            vocabulary.KIND: kind,
            vocabulary.DATASET: request.dataset,
            vocabulary.METHOD: method,
            vocabulary.SEED: str(seed),
            vocabulary.CONFIG: config_id(settings, request.dataset, method),
            vocabulary.SWEEP: sweep,
            vocabulary.ARTIFACT_KEY: student.key,
        }
        if arm is not None:
            tags[vocabulary.ARM] = arm
        if baseline_of is not None:
            tags[vocabulary.BASELINE_OF] = baseline_of
        params = dict(_flat(dict(_summary(settings, method, student))))
        self.tracker.start_run(
            request.id, _name(request, method, seed), parent=PARENT, tags=tags, params=params
        )
        self._open.add(request.id)
        self.tracker.log_inputs(
            request.id,
            [
                (stage.dataset, stage.key[:16], "train")
                for stage in walk([student])
                if isinstance(stage, DatasetStage)
            ],
        )
        self.tracker.log_text(
            request.id, to_yaml(resolved(settings, request.dataset, method, seed)), "config.yaml"
        )

    def _start_unfit(self, request: TrialRequestConfig, kind: RunKind, sweep: str) -> None:
        """Start the run of a trial whose settings do not fit together: it ends at once."""
        tags = self._environment | {
            vocabulary.KIND: kind,
            vocabulary.DATASET: request.dataset,
            vocabulary.METHOD: request.method or "",
            vocabulary.SWEEP: sweep,
        }
        name = request.id.replace("/", " ")
        params = dict(_flat(request.params))
        self.tracker.start_run(request.id, name, parent=PARENT, tags=tags, params=params)
        self._open.add(request.id)

    def trial_result(self, request: TrialRequestConfig, result: Mapping[str, Any]) -> None:
        """Log one epoch's metrics.

        Raises:
            OSError: They could not be written down, and would be lost with this process.
        """
        metrics = {
            name: value
            for name, value in result.items()
            if "/" in name and not name.startswith("config/")
        }
        self.tracker.log_metrics(request.id, metrics, step=int(result["epoch"]))
        self.tracker.require_kept()

    def end_trial(
        self,
        request: TrialRequestConfig,
        status: RunStatus,
        result: Mapping[str, Any],
        reason: str | None = None,
    ) -> None:
        """End a trial's run, with links to the stages it used.

        Raises:
            OSError: As `trial_result`: the trial must not be noted as over.
        """
        student = self._students.pop(request.id, None)
        if status != "FAILED":
            student = student or student_of(self.context, request)
            self.stages_below(student)
            links: dict[str, Any] = {
                vocabulary.stage_tag(_link(stage)): RunRef(self._stages[stage.key])
                for stage in walk(student.inputs.values())
                if stage.key in self._stages
            }
            if "seconds_reused" in result:
                links[vocabulary.SECONDS_REUSED] = f"{result['seconds_reused']:.1f}"
                links[SECONDS_TRAINED] = f"{result['seconds_trained']:.3f}"
            self.tracker.set_tags(request.id, links)
        self._open.discard(request.id)
        self.tracker.end_run(request.id, status, hide_logins(reason) if reason else None)
        self.tracker.require_kept()

    def _log_history(self, local_id: str, manifest: Manifest) -> None:
        for number, metrics in enumerate(manifest.history, start=1):
            self.tracker.log_metrics(local_id, metrics, step=number, measured=manifest.created)
        if not manifest.history:
            self.tracker.log_metrics(local_id, manifest.metrics, step=0, measured=manifest.created)


def run_settings(raw: Mapping[str, Any], request: TrialRequestConfig) -> PipelineSettings:
    """Return the settings of one trial."""
    return settings_for(raw, request.dataset, request.params)


def config_id(settings: PipelineSettings, dataset: str, method: str) -> str:
    """Return a short hash of a student's configuration without its seed."""
    content = resolved(settings, dataset, method, seed=0)
    return content_hash(content)[:12]


def resolved(settings: PipelineSettings, dataset: str, method: str, seed: int) -> dict[str, Any]:
    """Return the configuration file that trains one student again."""
    content = settings.model_dump(mode="json")
    content["students"][dataset]["seed"] = seed
    content["method"] = method
    return {"kind": "train", "target": dataset, **content}


def to_yaml(content: Any) -> str:
    """Return readable YAML in the order given."""
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return str(text)


def _summary(
    settings: PipelineSettings, method: str, student: TrialStage
) -> Iterator[tuple[str, Any]]:
    """Yield what a leaderboard may want to show or filter by; the rest is in config.yaml."""
    content, dataset = settings.model_dump(mode="json"), student.dataset
    network = {"arch": student.spec.arch, "seed": student.spec.seed}
    yield "seed", settings.seed
    yield "image_size", settings.image_size
    yield "method", method
    yield "student", content["students"][dataset] | network
    sections = METHODS[method].sections
    for section in sections:
        if section == "teachers":
            lineup = {name: teacher.arch for name, teacher in settings.teachers.items()}
            yield "lineup", ",".join(f"{name}:{arch}" for name, arch in lineup.items())
        elif section == "joint_teacher":
            levels = ",".join(settings.joint_teacher.levels)
            yield section, content[section] | {"levels": levels}
        elif isinstance(student.spec, DistilledSpec) and section == "distillation":
            # A coefficient of a level that is not distilled has no part in the result.
            yield section, content[section] | {"beta": student.spec.distillation.beta}
        else:
            yield section, content[section]
    if student.spec.options:
        yield "method_options", student.spec.options


def _name(request: TrialRequestConfig, method: str, seed: int) -> str:
    group, _, rest = request.id.partition("/")
    if group == "trial":
        return f"trial {rest.replace('/', ' ')}"
    return f"{group} {request.dataset} {method} seed {seed}"


def _link(stage: Stage) -> str:
    """Name a stage among those of one student."""
    parts = [stage.stage_name, stage.dataset or "all"]
    if isinstance(stage, FeaturesStage):
        parts = [stage.stage_name, stage.teacher.dataset, stage.data.dataset, stage.spec.level]
    return ".".join(parts)


def _flat(node: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{above}.{key}" if above else str(key))
    else:
        yield above, node
