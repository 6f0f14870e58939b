"""What MLflow's URIs of models and runs stand for now: where the files are, and which they are."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlfd_tune.core.errors import UserError, allowed_values

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

__all__ = ["Place", "find_place"]

_FORMS = (
    "allowed: models:/<name>/<version>, models:/<name>/latest, models:/<name>@<alias>, "
    "models:/<model id>, runs:/<run id>/<path>, mlflow-artifacts:/<path>"
)
_SHOWN = 100  # names and versions that an error message chooses from


@dataclass(frozen=True)
class Place:
    """Where the files are that a URI stands for at the moment.

    Attributes:
        uri: A URI without name, alias or version of a registered model: nothing in it moves.
        version: Tells these files from others that the same place may hold later; None where
            MLflow knows nothing that does.
    """

    uri: str
    version: str | None


def find_place(client: MlflowClient, uri: str) -> Place:
    """Return what a URI stands for.

    A path may follow a version or alias: ``models:/name/1/best.safetensors``. A run that has not
    ended has no version, and neither has a bare place in the artifact store.

    Args:
        client: Asked for models and runs; MLflow's functions would ask the global tracking URI.
        uri: ``models:/...``, ``runs:/...`` or ``mlflow-artifacts:/...``.

    Raises:
        UserError: It is no such URI, or there is no such model, version or alias.
        MlflowException: There is no such run or logged model, or MLflow does not answer.
    """
    scheme, _, rest = uri.partition(":/")
    parts = [part for part in rest.split("/") if part]
    if scheme == "mlflow-artifacts" and parts:
        return Place(uri, None)
    if scheme == "runs" and len(parts) > 1:
        return _of_run(client, parts)
    if scheme == "models" and parts:
        if re.fullmatch(r"m-[0-9a-f]{32}", parts[0]):
            return _of_logged_model(client, parts[0], parts[1:])
        name, _, alias = parts[0].rpartition("@")
        if name:
            return _of_version(client, uri, name, f"@{alias}", parts[1:])
        if len(parts) > 1:
            return _of_version(client, uri, parts[0], parts[1], parts[2:])
    raise UserError(f"weights: {uri!r} is no URI of MLflow's ({_FORMS})")


def _of_run(client: MlflowClient, parts: Sequence[str]) -> Place:
    info = client.get_run(parts[0]).info
    return Place(f"runs:/{'/'.join(parts)}", str(info.end_time) if info.end_time else None)


def _of_logged_model(client: MlflowClient, model_id: str, path: Sequence[str]) -> Place:
    model = client.get_logged_model(model_id)
    return Place(posixpath.join(model.artifact_location, *path), str(model.creation_timestamp))


def _of_version(
    client: MlflowClient, uri: str, name: str, wanted: str, path: Sequence[str]
) -> Place:
    """Return the place of a registered model's version.

    Args:
        wanted: A version's number, ``latest``, or ``@`` and an alias.
    """
    aliases = {f"@{k}": str(v) for k, v in _registered(client, uri, name).aliases.items()}
    quote = '"' if "'" in name else "'"
    found = client.search_model_versions(
        f"name = {quote}{name}{quote}", max_results=_SHOWN, order_by=["version_number DESC"]
    )
    numbers = [str(version.version) for version in found]
    if not numbers:
        raise UserError(f"weights: {uri}: model {name!r} has no versions")
    number = (aliases | {"latest": numbers[0]}).get(wanted, wanted)
    # Beyond what was listed, MLflow itself says whether there is such a version.
    if number not in numbers and not (number.isdigit() and len(numbers) == _SHOWN):
        kind = "alias" if wanted[0] == "@" else "version"
        shown = allowed_values(wanted, [*numbers, "latest", *aliases])
        raise UserError(f"weights: {uri}: model {name!r} has no {kind} {wanted!r} {shown}")
    version = client.get_model_version(name, number)
    kept = client.get_model_version_download_uri(name, number)
    if kept.startswith("models:/"):
        return _of_logged_model(client, kept.removeprefix("models:/"), path)
    # A model that is deleted and registered anew has the same numbers again.
    return Place(posixpath.join(kept, *path), f"{name}/{number}/{version.creation_timestamp}")


def _registered(client: MlflowClient, uri: str, name: str) -> RegisteredModel:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        names = [model.name for model in client.search_registered_models(max_results=_SHOWN)]
        shown = allowed_values(name, names) if names else "(none is registered)"
        raise UserError(f"weights: {uri}: unknown model {name!r} {shown}") from error
