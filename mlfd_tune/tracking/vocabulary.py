"""The words runs are tagged with, and the tags that describe the machine and the software."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

__all__ = [
    "ARM",
    "ARTIFACT_KEY",
    "BASELINE_OF",
    "CONFIG",
    "DATASET",
    "KIND",
    "KINDS",
    "LOCAL_ID",
    "METHOD",
    "NO_METHOD",
    "OWN_TEACHER",
    "REASON",
    "SECONDS_REUSED",
    "SEED",
    "STAGE_PREFIX",
    "SWEEP",
    "environment_tags",
    "stage_tag",
]

KIND: Final = "mlfd.kind"
KINDS: Final = ("sweep", "ablation", "trial", "confirm", "arm", "stage", "train", "evaluation")
"""What a run may be: two kinds of parent, then what hangs below them, then single runs."""

DATASET: Final = "mlfd.dataset"
METHOD: Final = "mlfd.method"
NO_METHOD: Final = "none"
"""The dataset-specific baseline: the same student without distillation."""
OWN_TEACHER: Final = "own_teacher"
"""The control: the same distillation with the dataset's own teacher only."""

SEED: Final = "mlfd.seed"
CONFIG: Final = "mlfd.config"
"""Short hash of the configuration without its seed."""
BASELINE_OF: Final = "mlfd.baseline_of"
"""On a baseline or control: the `CONFIG` hash it is paired with; several are comma-separated."""
ARM: Final = "mlfd.arm"
SWEEP: Final = "mlfd.sweep"
"""Id of the parent run, be it a sweep or an ablation."""

ARTIFACT_KEY: Final = "mlfd.artifact_key"
"""On a stage run: the key of the artifact it wrote. One run per key and experiment."""
STAGE_PREFIX: Final = "mlfd.stage."
SECONDS_REUSED: Final = "mlfd.seconds_reused"
REASON: Final = "mlfd.reason"
"""Why a run was stopped or failed, in one line."""
LOCAL_ID: Final = "mlfd.local_id"
"""``<outbox id>/<local id>``: finds a run again whose id was not yet remembered in a crash."""

_PACKAGES = ("mlfd-tune", "python", "torch", "timm", "ray", "optuna", "mlflow")


def stage_tag(name: str) -> str:
    """Return the tag that links a run to the stage called `name`, such as ``teacher.digits``."""
    return STAGE_PREFIX + name


def environment_tags() -> dict[str, str]:
    """Describe code, software and hardware: git commit, package versions, processor, GPU names.

    Nothing heavy is imported and no GPU is initialised; what cannot be told is left out.
    """
    tags = {f"mlfd.version.{name}": version for name, version in _versions().items()}
    commit = _git_commit(Path(__file__).resolve().parents[1])
    if commit:
        tags["mlflow.source.git.commit"] = commit
    tags["mlfd.hardware.cpus"] = str(os.cpu_count() or 1)
    processor = _processor()
    if processor:
        tags["mlfd.hardware.cpu"] = processor
    gpus = _gpu_names()
    if gpus:
        tags["mlfd.hardware.gpus"] = ", ".join(gpus)
    return tags


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        if package == "python":
            found[package] = platform.python_version()
            continue
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_commit(package: Path) -> str | None:
    """Return the commit the package is run from, marked ``+changes`` when files differ from it.

    A package installed inside somebody else's repository is not tracked there: that commit would
    tell nothing, so there is none.
    """
    if _output("git", "-C", str(package), "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit = _output("git", "-C", str(package), "rev-parse", "HEAD")
    if not commit:
        return None
    status = _output("git", "-C", str(package), "status", "--porcelain", "-uno", ".")
    return f"{commit}+changes" if status else commit


def _processor() -> str | None:
    """Return the processor's name: results are the same to the bit on processors of one kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)


def _gpu_names() -> list[str]:
    # nvidia-smi rather than torch: asking torch would initialise CUDA in the driver process.
    names = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return [name.strip() for name in names.splitlines() if name.strip()] if names else []


def _output(*command: str) -> str | None:
    """Return what a command prints, or None when it is missing, slow or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
