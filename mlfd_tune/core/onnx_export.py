"""A trained network as an ONNX file that takes raw images, checked against torch.

The file needs neither torch nor this package to run, so what it answers is compared with what the
network itself answers before it is handed on.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mlfd_tune.core.data import normalise, to_float
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.scoring import ImageScorer

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["TOLERANCE", "OnnxModel", "export_onnx", "require_onnx"]

TOLERANCE: Final = 1e-4
"""How far a logit may lie from torch's, as a share of the largest logit (or of 1, if that is
larger). The same sums in another order: what was measured lies near 1e-6."""

_BATCH = 64
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class OnnxModel:
    """A checked ONNX model.

    Attributes:
        data: The file's content; the same network gives the same bytes.
        images: How many images it was compared on.
        largest_difference: The largest difference of a logit to torch's on them.
    """

    data: bytes
    images: int
    largest_difference: float


def require_onnx() -> None:
    """Make sure that the packages of the extra ``onnx`` are installed.

    Raises:
        UserError: Naming those that are not.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"onnx: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; "
            "pip install 'mlfd-tune[onnx]'"
        )


def export_onnx(
    scorer: ImageScorer, images: NDArray[np.uint8], properties: Mapping[str, str] | None = None
) -> OnnxModel:
    """Return a network as ONNX, with its normalisation inside.

    The input ``images`` is uint8 (N, S, S, 3), raw RGB of the network's own size, any N; the output
    ``logits`` is float32 (N, K). The class names (a JSON list) and the image size stand in the
    file's metadata.

    Args:
        scorer: The network.
        images: Real images (N, S, S, 3) to compare on, at least one.
        properties: More for the file's metadata.

    Raises:
        UserError: A package is missing, torch cannot export this network, or the file does not
            answer as the network does: a logit differs by more than `TOLERANCE`, or the best class
            of an image is another.
    """
    require_onnx()
    network = _FixedSize(scorer).eval()
    model = _converted(network, scorer)
    about = {
        "classes": json.dumps(scorer.classes, ensure_ascii=False),
        "image_size": str(scorer.image_size),
        **(properties or {}),
    }
    for name in sorted(about):
        model.metadata_props.add(key=name, value=about[name])
    data: bytes = model.SerializeToString(deterministic=True)
    return OnnxModel(data, len(images), _compared(network, data, images, scorer.backbone.arch))


class _FixedSize(nn.Module):
    """A scorer for images that have the network's size already: nothing is resized."""

    def __init__(self, scorer: ImageScorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, images: Tensor) -> Tensor:
        pixels = to_float(images.permute(0, 3, 1, 2))
        logits, _ = self.scorer.backbone(normalise(pixels, self.scorer.mean, self.scorer.std))
        result: Tensor = logits.float()
        return result


def _converted(network: _FixedSize, scorer: ImageScorer) -> ModelProto:
    size = scorer.image_size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)  # of 1, torch would take it as fixed
    batch = {0: torch.export.Dim("batch", min=1)}
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=(batch,),
                verbose=False,
            )
    except Exception as error:  # torch's exporter may raise anything
        reason = _first_line(error)
        raise UserError(
            f"onnx: torch cannot export the architecture {scorer.backbone.arch!r} ({reason})"
        ) from error
    assert program is not None
    model: ModelProto = program.model_proto
    _without_traces(model)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what torch's exporter tells its developers: what it made is compared anyway."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _without_traces(model: ModelProto) -> None:
    """Leave out where in which source file every node comes from: it names folders of ours."""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    parts: list[Any] = [
        *graph.node,
        *graph.value_info,
        *graph.initializer,
        *graph.input,
        *graph.output,
    ]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]


def _compared(network: _FixedSize, data: bytes, images: NDArray[np.uint8], arch: str) -> float:
    """Return the largest difference of a logit between the file and torch.

    Raises:
        UserError: The file is no valid ONNX, or differs by more than it may.
    """
    import onnx
    import onnxruntime

    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    own, given = [], []
    for first in range(0, len(images), _BATCH):
        batch = np.ascontiguousarray(images[first : first + _BATCH])
        with torch.inference_mode():
            own.append(network(torch.from_numpy(batch)).numpy())
        given.append(session.run(["logits"], {"images": batch})[0])
    wanted, found = np.concatenate(own), np.concatenate(given)
    largest = float(np.abs(wanted - found).max())
    scale = max(float(np.abs(wanted).max()), 1.0)
    others = int((wanted.argmax(1) != found.argmax(1)).sum())
    if others or not largest <= TOLERANCE * scale:  # a NaN is not either
        raise UserError(
            f"onnx: {arch!r} answers differently than in torch on {len(images)} images: logits "
            f"differ by up to {largest:.2g} (allowed: {TOLERANCE * scale:.2g}), and {others} "
            "images get another class; nothing was written"
        )
    return largest


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
