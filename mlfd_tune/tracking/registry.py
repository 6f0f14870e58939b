"""The best confirmed model of every dataset in MLflow's model registry, under the alias `champion`.

A model is registered as what scores raw images (`core.scoring.ImageScorer`), in torch.export's
format: it holds no pickled objects and loads without this package or timm. Beside it lie the
weights as this package writes them, so that a champion can be a teacher (`weights:
models:/<name>@champion`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.statistics import Interval
from mlfd_tune.core.store import Artifact, Store
from mlfd_tune.tracking import vocabulary
from mlfd_tune.tracking.client import check_uri, open_client
from mlfd_tune.tracking.export import best_rows
from mlfd_tune.tracking.leaderboard import Row, leaderboard
from mlfd_tune.tracking.results import VAL

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["CHAMPION", "Registered", "model_name", "register_best"]

CHAMPION: Final = "champion"

_CONFIRMED = "confirmed"
_WEIGHTS: Final = "mlfd.weights_sha256"
_DATA: Final = "mlfd.dataset_key"
_VAL: Final = "mlfd.val_acc1"
_NOT_IN_NAMES = "/:@"
"""MLflow forbids the first two; the third ends the name in ``models:/<name>@<alias>``."""


@dataclass(frozen=True)
class Registered:
    """What became of one dataset's best configuration.

    Attributes:
        row: The configuration, as the leaderboard shows it.
        name: The registered model.
        version: Its version with these weights; None when nothing was registered.
        is_new: Whether the version was added now.
        is_champion: Whether the alias `CHAMPION` stands on it now.
        note: Why nothing was registered, or why the alias stands where it does; in a few words.
    """

    row: Row
    name: str
    version: str | None
    is_new: bool
    is_champion: bool
    note: str

    @property
    def uri(self) -> str | None:
        """What ``mlflow.pytorch.load_model`` takes."""
        if self.version is None:
            return None
        return f"models:/{self.name}" + (f"@{CHAMPION}" if self.is_champion else f"/{self.version}")


def model_name(prefix: str, dataset: str) -> str:
    """Return the name of a dataset's registered model: ``<prefix>.<dataset>``.

    Characters that have a meaning in a model's URI become ``-``.
    """
    return "".join("-" if letter in _NOT_IN_NAMES else letter for letter in f"{prefix}.{dataset}")


def register_best(
    uri: str,
    experiment: str,
    store_path: str,
    *,
    dataset: str | None = None,
    prefix: str | None = None,
    force: bool = False,
) -> list[Registered]:
    """Register the best confirmed configuration of every dataset.

    Candidates are those of an export: of all runs of the experiment, without baselines and
    controls. The weights are those of the seed that does best on validation. A version is added
    only for weights that no version has yet. The alias moves only to a configuration whose mean
    validation accuracy over its seeds is higher than the champion's on the same data.

    Args:
        uri: MLflow tracking URI; it has the registry too.
        experiment: Name of the experiment.
        store_path: The artifact store that has the weights.
        dataset: Only this dataset.
        prefix: What the models' names begin with; the experiment's name when None.
        force: Move the alias even where the champion was measured on other data.

    Raises:
        UserError: There is nothing confirmed, the weights are not in the store, or the prefix has
            a character that names of models cannot have; or MLflow refuses.
    """
    check_uri(uri)
    if prefix is not None and any(letter in _NOT_IN_NAMES for letter in prefix):
        forbidden = " ".join(_NOT_IN_NAMES)
        raise UserError(f"--name: {prefix!r} (allowed: a name without any of {forbidden})")
    rows = leaderboard(uri, experiment, dataset=dataset, all_runs=True)
    best = best_rows(rows)
    if not best:
        raise UserError(f"{experiment}: no finished run to register")
    confirmed = [row for row in best.values() if row.status == _CONFIRMED]
    if not confirmed:
        raise UserError(*(f"{name}: {_why_not(row)}" for name, row in best.items()))
    from mlflow.exceptions import MlflowException

    client, store = open_client(uri), Store(store_path)
    chosen = {row.dataset: _candidate(client, store, row) for row in confirmed}
    found = []
    for row in best.values():
        name = model_name(prefix or experiment, row.dataset)
        if row.dataset not in chosen:
            found.append(Registered(row, name, None, False, False, _why_not(row)))
            continue
        try:
            found.append(_register(client, name, row, *chosen[row.dataset], store, force=force))
        except MlflowException as error:
            reason = " ".join(str(error).split())[:400]
            raise UserError(f"{name}: MLflow does not register it: {reason}") from error
    return found


def _why_not(row: Row) -> str:
    return (
        f"not registered: its best configuration ({row.config[:8]}) is {row.status}, not "
        f"{_CONFIRMED} on two or more fresh seeds (search with confirm.top_k and confirm.seeds)"
    )


def _candidate(client: MlflowClient, store: Store, row: Row) -> tuple[Run, Artifact]:
    """Return the run of the seed that does best on validation, and its student."""
    runs = [client.get_run(run_id) for run_id in row.run_ids]
    run = max(runs, key=lambda run: run.data.metrics[VAL])
    key = run.data.tags[vocabulary.ARTIFACT_KEY]
    # A server may say anything, and the key is part of a path.
    for path in store.root.glob(f"artifacts/*/{key}") if key.isalnum() else ():
        return run, Artifact.open(path)
    raise UserError(
        f"{row.dataset}: the weights of run {run.info.run_id} are not in the store {store.root} "
        "(allowed: --store with the folder that the experiment was run with)"
    )


def _register(
    client: MlflowClient,
    name: str,
    row: Row,
    run: Run,
    student: Artifact,
    store: Store,
    *,
    force: bool,
) -> Registered:
    versions, champion = _known(client, name)
    weights = student.manifest.files["model.safetensors"].sha256
    version = next((one for one in versions if one.tags.get(_WEIGHTS) == weights), None)
    is_new = version is None
    if version is None:
        from mlfd_tune.tracking.registered_model import log_scorer

        source, model_id = log_scorer(client, run, store, student)
        tags = _tags(row, run, student)
        version = client.create_model_version(
            name, source, run_id=run.info.run_id, tags=tags, model_id=model_id
        )
    number = str(version.version)
    if champion is not None and str(champion.version) == number:
        return Registered(row, name, number, is_new, True, "the champion already")
    note = _why_it_stays(champion, version.tags, force=force) if champion is not None else ""
    if not note:
        client.set_registered_model_alias(name, CHAMPION, number)
        before = f"before it: version {champion.version}" if champion else "the first champion"
        return Registered(row, name, number, is_new, True, before)
    return Registered(row, name, number, is_new, False, note)


def _known(client: MlflowClient, name: str) -> tuple[list[ModelVersion], ModelVersion | None]:
    """Return a model's versions, the newest first, and its champion; the model is made if missing.

    A version that was made by hand has none of our tags, and equals nothing.
    """
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name)
        return [], None
    quote = '"' if "'" in name else "'"
    versions: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(
            f"name = {quote}{name}{quote}", order_by=["version_number DESC"], page_token=token
        )
        versions.extend(page)
        token = page.token
        if not token:
            break
    number = model.aliases.get(CHAMPION)
    return versions, None if number is None else client.get_model_version(name, str(number))


def _why_it_stays(champion: ModelVersion, tags: Mapping[str, str], *, force: bool) -> str:
    """Return why the alias stays on the champion, or nothing when it moves."""
    which = f"the champion stays version {champion.version}"
    if champion.tags.get(_DATA) != tags[_DATA]:
        if force:
            return ""
        return f"{which}: it was measured on other data, which does not compare (--force moves it)"
    new, old = float(tags[_VAL]), float(champion.tags[_VAL])
    if new > old:
        return ""
    return f"{which}: its validation accuracy is {old:.2f}, and {new:.2f} is not higher"


def _tags(row: Row, run: Run, student: Artifact) -> dict[str, str]:
    """Return what describes a version; accuracies in percent, gains in percentage points."""
    about = json.loads((student.path / "model.json").read_text())
    tags = {
        vocabulary.ARTIFACT_KEY: student.key,
        _WEIGHTS: student.manifest.files["model.safetensors"].sha256,
        _DATA: student.manifest.inputs["dataset"],
        vocabulary.DATASET: row.dataset,
        vocabulary.METHOD: row.method,
        vocabulary.CONFIG: row.config,
        vocabulary.SEED: run.data.tags[vocabulary.SEED],
        "mlfd.experiment": row.experiment,
        "mlfd.status": row.status,
        "mlfd.seeds": str(row.n_seeds),
        "mlfd.classes": json.dumps(about["classes"], ensure_ascii=False),
    }
    for name, interval in ((_VAL, row.val), ("mlfd.test_acc1", row.test), ("mlfd.gain", row.gain)):
        tags |= _ends(name, interval)
    if row.gain_metric is not None:
        tags["mlfd.gain_metric"] = row.gain_metric
    return tags


def _ends(name: str, interval: Interval | None) -> dict[str, str]:
    if interval is None:
        return {}
    ends = {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {key: repr(value) for key, value in ends.items() if value is not None}
