"""Where a network's weights come from when it is not trained from scratch.

timm publishes weights of most architectures, and a checkpoint file may hold any. Either is known by
what it is and not by where it lies, so that the store finds again what was computed with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import timm
from safetensors import SafetensorError, safe_open

from mlfd_tune.core.errors import UserError, nearest
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.models.checkpoints import checkpoint_digest, load_checkpoint
from mlfd_tune.core.paths import expanded, not_a_file
from mlfd_tune.core.stages.model_files import ABOUT, DESCRIPTION, WEIGHTS

__all__ = [
    "MLFLOW_SCHEMES",
    "PRETRAINED",
    "Fetch",
    "WeightsSource",
    "backbone_from",
    "names_a_file",
    "resolve_weights",
]

PRETRAINED = "pretrained"
MLFLOW_SCHEMES = ("models", "runs", "mlflow-artifacts")

Fetch: TypeAlias = Callable[[str], Path]
"""Downloads what is behind an MLflow URI and returns the weights' file."""

_FORMS = (
    "allowed: pretrained, a .safetensors or .pth file, or an MLflow URI such as models:/name/1, "
    "models:/name@champion, runs:/<id>/path"
)


@dataclass(frozen=True)
class WeightsSource:
    """Weights that exist already.

    Attributes:
        kind: ``timm`` for weights that timm publishes, ``file`` for a checkpoint.
        identity: The architecture with the tag of its weights (``resnet18.a1_in1k``), or
            ``sha256:`` and the file's checksum. Never a path.
        path: The file, on this machine.
    """

    kind: Literal["timm", "file"]
    identity: str
    path: Path | None = None

    def description(self) -> dict[str, Any]:
        """Return what is said of a file that this program wrote; empty for any other.

        It stands in the metadata of an exported file, and beside a file of the store.
        """
        if self.path is None:
            return {}
        try:
            text = _metadata(self.path).get(ABOUT)
            if text is None and self.path.name == WEIGHTS:
                text = (self.path.parent / DESCRIPTION).read_text()
            about = json.loads(text or "{}")
        except (OSError, ValueError, RecursionError):
            return {}
        return about if _is_ours(about) else {}

    def suits(self, classes: tuple[str, ...]) -> bool:
        """Tell whether the classifier may know these classes: it is not known to know others."""
        named = self.description().get("classes")
        return named is None or tuple(named) == classes


def _is_ours(about: Any) -> bool:
    """Tell whether a description has what this program writes into one, and of the same types."""
    return (
        isinstance(about, dict)
        and {"mean", "std"} <= about.keys()
        and isinstance(about.get("arch"), str)
        and isinstance(about.get("classes"), list)
        and all(isinstance(name, str) for name in about["classes"])
    )


def _metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, read from its header; empty for any other."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):  # damaged; whoever loads the weights says so
        return {}


def names_a_file(text: str) -> bool:
    """Tell a file from timm's own weights and from a URI."""
    return text != PRETRAINED and _scheme(text) is None


def resolve_weights(text: str, arch: str, fetch: Fetch | None = None) -> WeightsSource:
    """Return the weights that a setting names.

    A file is read to its end, once, for its checksum. timm's weights are not downloaded here.

    Args:
        text: ``pretrained``, a file, or an MLflow URI.
        arch: The timm architecture that they are for.
        fetch: Serves MLflow URIs.

    Raises:
        UserError: The architecture has no published weights, there is no such file, it is no
            checkpoint or one of another architecture, or there is nobody to serve the URI.
    """
    if text == PRETRAINED:
        return WeightsSource("timm", _published(arch))
    scheme = _scheme(text)
    path = _fetched(text, scheme, fetch) if scheme else expanded(text)
    wrong = not_a_file(path)
    if wrong:
        match = nearest(path.name, [PRETRAINED])
        hint = f"; did you mean {match!r}?" if match else ""
        raise UserError(f"weights: {text!r} {wrong} ({_FORMS}{hint})")
    path = path.resolve()
    status = path.stat()
    source = WeightsSource("file", _checksum(path, status.st_mtime_ns, status.st_size), path)
    other = source.description().get("arch", arch)
    if other != arch:
        raise UserError(
            f"weights: {text!r} is a {other!r}, and arch is {arch!r}; set arch: {other}"
        )
    return source


def backbone_from(
    source: WeightsSource,
    arch: str,
    num_classes: int,
    image_size: int,
    *,
    keep_head: bool = True,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
) -> tuple[Backbone, bool]:
    """Return a network with the source's weights, and whether its classifier has them too.

    Where it has not, the classifier is as timm initialises it, from the global random state.

    Args:
        source: The weights.
        arch: The timm architecture.
        num_classes: The number of logits.
        image_size: The side of the square input images in pixels.
        keep_head: Take the source's classifier where it has as many classes.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth.

    Raises:
        UserError: The weights cannot be downloaded, are not what was planned with, or do not fit.
    """
    build = partial(
        Backbone,
        arch,
        num_classes,
        image_size,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
    )
    if source.kind == "timm":
        config = timm.get_pretrained_cfg(source.identity)
        return _pretrained(source, build), config is not None and config.num_classes == num_classes
    path = _unchanged(source)
    model = build()
    report = load_checkpoint(model, path, head=False)
    if not keep_head or report.classes != num_classes:
        return model, False
    load_checkpoint(model, path)
    return model, True


def _published(arch: str) -> str:
    config = timm.get_pretrained_cfg(arch)
    if config is not None and config.has_weights:
        return f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    match = nearest(arch, {name.partition(".")[0] for name in timm.list_pretrained()})
    hint = f"; the nearest that has some is {match!r}" if match else ""
    raise UserError(f"weights: timm publishes none for {arch!r}{hint}; give a file, or train it")


def _pretrained(source: WeightsSource, build: Callable[..., Backbone]) -> Backbone:
    try:
        return build(pretrained=True)
    except UserError:
        raise
    except Exception as error:  # timm, the hub's client and the network may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"weights: cannot get timm's {source.identity!r} ({reason}); without a network, give a "
            "file, or copy the Hugging Face cache (HF_HOME) from a machine that has it"
        ) from error


def _scheme(text: str) -> str | None:
    found = re.match(r"([A-Za-z][\w.+-]+):/", text)
    return found[1] if found else None


def _fetched(uri: str, scheme: str, fetch: Fetch | None) -> Path:
    if scheme not in MLFLOW_SCHEMES:
        match = nearest(scheme, MLFLOW_SCHEMES)
        hint = f"; did you mean {match + ':/'!r}?" if match else ""
        raise UserError(f"weights: unknown scheme {scheme + ':'!r} in {uri!r} ({_FORMS}{hint})")
    if fetch is None:
        raise UserError(f"weights: {uri!r}: an MLflow URI needs mlflow; give a file")
    return fetch(uri)


@lru_cache
def _checksum(path: Path, _modified: int, _size: int) -> str:
    """Return the identity of a file; read once as long as it is not written to."""
    return f"sha256:{checkpoint_digest(path)}"


def _unchanged(source: WeightsSource) -> Path:
    """Return the file, after making sure that it is the one that the identity was made of."""
    assert source.path is not None
    wrong = not_a_file(source.path)
    if wrong:
        raise UserError(f"weights: {source.path} {wrong} on this machine")
    status = source.path.stat()
    if _checksum(source.path, status.st_mtime_ns, status.st_size) != source.identity:
        raise UserError(f"weights: {source.path} was changed after the run was planned; run again")
    return source.path
