"""Reading exported bundles back, and what differs between then and now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlfd_tune.config import Loaded, Provenance, TrainConfig, assign, load_experiment
from mlfd_tune.config.checking import problems_of
from mlfd_tune.config.messages import short
from mlfd_tune.config.reading import parse_json, read_text
from mlfd_tune.core.data.image_files import names_in
from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.paths import is_folder, not_a_file
from mlfd_tune.core.stages import DatasetStage
from mlfd_tune.core.store import Stage
from mlfd_tune.core.store.artifact import file_digest

__all__ = ["BundleFile", "differences", "other_data", "read_bundles"]

_ENDINGS = (".yaml", ".yml", ".json")
_NUMERIC = ("mlfd-tune", "python", "torch", "torchvision", "timm", "numpy")
_CPUS = "hardware.cpus"  # how many there are decides nothing: the number of threads is a setting


@dataclass(frozen=True)
class BundleFile:
    """An exported configuration whose files are as they were written.

    Attributes:
        path: The YAML or JSON file.
        loaded: The configuration in it.
    """

    path: Path
    loaded: Loaded

    @property
    def config(self) -> TrainConfig:
        """The configuration."""
        assert isinstance(self.loaded.config, TrainConfig)
        return self.loaded.config

    @property
    def provenance(self) -> Provenance:
        """Where it comes from and what it should reproduce."""
        assert self.config.provenance is not None
        return self.config.provenance


def read_bundles(path: Path, places: Mapping[str, str] | None = None) -> list[BundleFile]:
    """Return the exported configurations of a file or folder, all files of them verified.

    Args:
        path: An exported YAML or JSON file, or a folder of them; of a dataset that has both, the
            YAML file is read.
        places: Dotted keys of datasets' paths and teachers' weights that lie elsewhere than where
            they were.

    Raises:
        UserError: With all that is wrong: no such file, no exported configuration, a checksum that
            differs.
    """
    bundles: list[BundleFile] = []
    problems: list[str] = []
    for file in _files(path):
        try:
            loaded = _loaded(file, places or {})
            problems += _problems(file, loaded)
            bundles.append(BundleFile(file, loaded))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return bundles


def differences(
    provenance: Provenance, now: Mapping[str, str], device: str, student: str
) -> list[str]:
    """Return what differs between the recorded training and one here, each in a few words.

    Args:
        provenance: Of the exported configuration.
        now: Versions of the libraries here, and the hardware, by the names of `versions`.
        device: Torch device that is trained on here.
        student: Key of the exported seed's student here: its identity.
    """
    then = provenance.versions
    compared = (*_NUMERIC, *(name for name in then if name.startswith("hardware.")))
    found = [
        f"{name} {then[name]}, here {now.get(name, 'none')}"
        for name in compared
        if name in then and name != _CPUS and then[name] != now.get(name)
    ]
    if device != "cpu":
        found.append(f"trained on {device} here: a GPU adds in no fixed order")
    recorded = provenance.artifacts.get("student")
    if recorded is not None and recorded != student:
        found.append(f"the student's identity is {recorded[:12]}, here {student[:12]}")
    return found


def other_data(provenance: Provenance, stages: Sequence[Stage]) -> Iterator[str]:
    """Yield the datasets whose content is not that of the export.

    Args:
        provenance: Of the exported configuration.
        stages: All stages of the training.
    """
    packed = [stage for stage in stages if isinstance(stage, DatasetStage)]
    for name, recorded in provenance.data.items():
        here = [stage.key for stage in packed if stage.dataset == name]
        if here and recorded not in here:
            yield (
                f"datasets.{name}: is not the data of the export: its hash is {here[0][:12]}, and "
                f"{recorded[:12]} was recorded"
            )


def _files(path: Path) -> list[Path]:
    if not_a_file(path) is None:
        if path.suffix not in _ENDINGS:
            raise UserError(f"{path}: not an exported configuration (allowed: .yaml or .json)")
        return [path]
    if not is_folder(path):
        names = (
            [name for name in names_in(path.parent) if name.endswith(_ENDINGS)]
            if is_folder(path.parent)
            else []
        )
        hint = f" {allowed_values(path.name, names)}" if names else ""
        raise UserError(f"no such file or folder: {path}{hint}")
    chosen: dict[str, Path] = {}
    for ending in _ENDINGS:
        for file in sorted(path.glob(f"*{ending}")):
            chosen.setdefault(file.stem, file)
    if not chosen:
        raise UserError(f"{path}: holds no exported .yaml or .json file; see `mlfd-tune export`")
    return [chosen[name] for name in sorted(chosen)]


def _loaded(file: Path, places: Mapping[str, str]) -> Loaded:
    if file.suffix != ".json":
        texts = [f"{key}={json.dumps(value)}" for key, value in places.items()]
        return load_experiment(file, texts)
    content = parse_json(read_text(file), str(file))
    raw = content.get("config") if isinstance(content, dict) else None
    if not isinstance(raw, dict):
        raise UserError(f"{file}: config: this key is needed; it is no exported JSON file")
    for key, value in places.items():
        assign(raw, key, value)
    if raw.get("kind") != "train":
        raise UserError(f"{file}: kind: {_kind_problem(raw.get('kind'))}")
    problems = problems_of(raw, TrainConfig)
    if problems:
        raise UserError(*(f"{file}: {problem}" for problem in problems))
    return Loaded(TrainConfig.model_validate(raw), raw, file)


def _problems(file: Path, loaded: Loaded) -> Iterator[str]:
    """Yield why nothing can be reproduced with a configuration and the files beside it."""
    config = loaded.config
    if not isinstance(config, TrainConfig):
        yield f"{file}: kind: {_kind_problem(loaded.raw.get('kind'))}"
        return
    origin = config.provenance
    if origin is None:
        yield f"{file}: provenance: this key is needed; `mlfd-tune export` writes it"
        return
    if origin.expected.get("val/acc1") is None:
        yield f"{file}: provenance.expected.val/acc1: this key is needed"
    sums = dict(origin.files)
    if origin.weights and origin.weights_sha256:
        sums.setdefault(origin.weights, origin.weights_sha256)
    for name, recorded in sums.items():
        beside = file.parent / name
        wrong = not_a_file(beside)
        if wrong:
            told = "is missing" if wrong == "does not exist" else wrong
            yield f"{file}: {name} was exported with it and {told}"
            continue
        try:
            found = file_digest(beside)
        except OSError as error:
            yield f"{file}: {name} cannot be read: {error.strerror}"
            continue
        if found != recorded:
            yield (
                f"{file}: {name} is not the file that was exported with it: its SHA-256 is "
                f"{found[:12]}, and {recorded[:12]} was recorded"
            )


def _kind_problem(kind: Any) -> str:
    return f"{short(kind)} is no exported configuration (allowed: train)"
