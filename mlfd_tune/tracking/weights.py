"""Weights out of MLflow: what a model or run URI stands for now, downloaded once and kept.

Only state dicts are of use. A pickled model, which is what ``mlflow.pytorch`` logs, would run any
code that is in it, so it is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlfd_tune.core.errors import UserError, allowed_values
from mlfd_tune.core.models.torch_files import check_container
from mlfd_tune.core.spec import content_hash
from mlfd_tune.core.store.artifact import file_digest
from mlfd_tune.core.uris import without_login
from mlfd_tune.tracking.client import (
    absolute_uri,
    check_uri,
    open_client,
    reachable,
    shown_uri,
    sqlite_path,
)
from mlfd_tune.tracking.model_uris import Place, find_place

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["mlflow_fetcher"]

_SAFE, _STATE_DICTS, _DESCRIPTION = ".safetensors", (".pth", ".pt"), "model.json"
_ADVICE = (
    "log the weights as a state dict instead: "
    "safetensors.torch.save_file(model.state_dict(), 'model.safetensors'), then "
    "mlflow.log_artifact('model.safetensors', 'teacher')"
)


def mlflow_fetcher(tracking_uri: str, folder: Path) -> Callable[[str], Path]:
    """Return a function that downloads the weights behind an MLflow URI and returns their file.

    An alias, ``latest`` and the state of a run are asked for at every call, since they move. What
    they stand for is downloaded once: to a folder below `folder` that is named for the URI and the
    version, whole or not at all. A model's version and a run that has ended are taken not to
    change.

    The function raises `UserError` when MLflow cannot be reached; when there is no such model,
    version, alias, run or file; and when what there is holds no state dict, or several.

    Args:
        tracking_uri: MLflow's tracking URI; it has the model registry too.
        folder: Where downloads are kept. Several processes may share it.
    """
    return partial(_fetch, tracking_uri, folder)  # unlike a closure, it can be pickled


def _fetch(tracking_uri: str, folder: Path, uri: str) -> Path:
    client = _open(tracking_uri)
    with _in_one_line(uri):
        place = find_place(client, uri)
    known = None if place.version is None else folder / _name(tracking_uri, place)
    if known is not None and known.is_dir():
        return _weights(known, uri)
    temporary = folder / f".{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        with _in_one_line(uri):
            temporary.mkdir(parents=True)
            _download(client, place.uri, temporary, absolute_uri(tracking_uri))
        file = _weights(temporary, uri)
        if known is None:
            place = Place(place.uri, file_digest(file))
            known = folder / _name(tracking_uri, place)
        _move(temporary, known)
        return _weights(known, uri)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _open(uri: str) -> MlflowClient:
    check_uri(uri)
    path = sqlite_path(uri)
    reason = f"there is no database {path}" if path and not path.exists() else reachable(uri)
    if reason:
        raise UserError(f"weights: MLflow at {shown_uri(uri)} cannot be reached ({reason})")
    return open_client(uri)


@contextlib.contextmanager
def _in_one_line(uri: str) -> Iterator[None]:
    """Turn whatever MLflow and its storage raise inside the block into one line for people."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a storage's client may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"weights: {uri}: {reason[:400]}") from error


def _download(client: MlflowClient, uri: str, folder: Path, tracking_uri: str) -> None:
    """Download a file or folder; with a file of ours comes the description beside it."""
    from mlflow.artifacts import download_artifacts

    try:
        download_artifacts(uri, dst_path=str(folder), tracking_uri=tracking_uri)
    except Exception as error:
        _require_artifact(client, uri, error)
        raise
    parent, _, name = uri.rpartition("/")
    if name == "model" + _SAFE:
        with contextlib.suppress(Exception):  # most have none, and each storage says so its way
            beside = f"{parent}/{_DESCRIPTION}"
            download_artifacts(beside, dst_path=str(folder), tracking_uri=tracking_uri)


def _require_artifact(client: MlflowClient, uri: str, error: Exception) -> None:
    """Raise a better error than MLflow's where a run has nothing by the name that was asked for."""
    scheme, _, rest = uri.partition(":/")
    if scheme != "runs":
        return
    run_id, wanted = rest.split("/")[:2]
    names = [file.path for file in client.list_artifacts(run_id)]
    if wanted not in names:
        shown = allowed_values(wanted, names) if names else "(it has none)"
        raise UserError(f"weights: {uri}: the run has no artifact {wanted!r} {shown}") from error


def _move(temporary: Path, known: Path) -> None:
    try:
        temporary.rename(known)
    except OSError:
        if not known.is_dir():  # else another process was faster, and has the same files
            raise


def _weights(folder: Path, uri: str) -> Path:
    """Return the one state dict in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    pickled: list[Path] = []
    usable: list[Path] = []
    for file in files:
        if file.suffix == _SAFE:
            usable.append(file)
        elif file.suffix in _STATE_DICTS:
            (usable if _is_state_dict(file) else pickled).append(file)
    if len(usable) == 1:
        return usable[0]

    def names(of: list[Path]) -> str:
        shown = [path.relative_to(folder).as_posix() for path in of[:6]]
        return ", ".join([*shown, "..."] if len(of) > 6 else shown)

    if usable:
        raise UserError(
            f"weights: {uri} holds {len(usable)} files with weights ({names(usable)}); name one: "
            f"add its path to the URI"
        )
    if pickled:
        raise UserError(
            f"weights: {uri} holds only a pickled model ({names(pickled)}), which could run any "
            f"code when it is loaded; {_ADVICE}"
        )
    raise UserError(
        f"weights: {uri} holds no .safetensors or .pth file (it has: {names(files)}); {_ADVICE}"
    )


def _is_state_dict(file: Path) -> bool:
    import torch

    try:
        check_container(file)
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # pickles of other objects, archives of programs, files of other programs
        return False
    return True


def _name(tracking_uri: str, place: Place) -> str:
    return content_hash([without_login(absolute_uri(tracking_uri)), place.uri, place.version])[:32]
