"""How to use an exported student, as blocks that can be copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlfd_tune.core.stages.model_files import ABOUT
from mlfd_tune.tracking.leaderboard import Row
from mlfd_tune.tracking.model_card_parts import fenced

__all__ = ["reproduce_lines", "use_lines"]

_ONNX = """\
import json

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("{file}")
about = session.get_modelmeta().custom_metadata_map
side = int(about["image_size"])
image = Image.open("picture.png").convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
(logits,) = session.run(None, {{"images": np.asarray(image)[None]}})
print(json.loads(about["classes"])[logits[0].argmax()])"""

_SAFETENSORS = """\
import json

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from mlfd_tune.core.models import Backbone
from mlfd_tune.core.scoring import ImageScorer

with safe_open("{file}", "pt") as file:
    about = json.loads(file.metadata()["{about}"])
    weights = {{name: file.get_tensor(name) for name in file.keys()}}
network = Backbone(about["arch"], about["num_classes"], about["image_size"])
network.load_state_dict(weights)
scorer = ImageScorer(network, about["classes"], about["mean"], about["std"])
image = Image.open("picture.png").convert("RGB")
with torch.inference_mode():
    logits = scorer(torch.from_numpy(np.array(image))[None])
print(about["classes"][int(logits[0].argmax())])"""

_TEACHER = """\
teachers:
  {dataset}:
    arch: {arch}
    weights: {file}"""


def use_lines(
    dataset: str,
    network: Mapping[str, Any] | None,
    files: Mapping[str, str],
    onnx_difference: float | None,
) -> Iterator[str]:
    """Yield a block for each file of the bundle.

    Args:
        dataset: The student's dataset.
        network: What rebuilds its network; None without weights.
        files: Names of files by their format.
        onnx_difference: How far the ONNX file's logits lie from torch's.
    """
    if "onnx" in files:
        yield "With ONNX Runtime, without torch; raw pixels go in, normalisation is inside:"
        yield ""
        yield from fenced([_ONNX.format(file=files["onnx"])], "python")
        yield ""
        yield f"Its logits lie within {onnx_difference:.1g} of torch's on the validation images."
        yield ""
    if "safetensors" in files and network is not None:
        file = files["safetensors"]
        yield "With torch:"
        yield ""
        yield from fenced([_SAFETENSORS.format(file=file, about=ABOUT)], "python")
        yield ""
        yield "As a teacher in an experiment of mlfd-tune; class names and normalisation are in it:"
        yield ""
        block = _TEACHER.format(dataset=dataset, arch=network["arch"], file=file)
        yield from fenced([block], "yaml")
        yield ""
    if "yaml" in files:
        yield "Trained again, or with other settings:"
        yield ""
        yield from fenced([f"mlfd-tune train {files['yaml']}"], "bash")
    if not files.keys() & {"onnx", "safetensors", "yaml"}:
        yield "This card was exported alone."


def reproduce_lines(row: Row, files: Mapping[str, str], seed: int) -> Iterator[str]:
    """Yield the command that trains it again from nothing and compares."""
    bundle = files.get("yaml") or files.get("json")
    if bundle is None:
        yield "Export the configuration too (`--format yaml`); `mlfd-tune reproduce` takes it."
        return
    lines = [f"mlfd-tune reproduce {bundle}"]
    if row.n_seeds > 1:
        lines.append(f"mlfd-tune reproduce {bundle} --seeds all")
    yield from fenced(lines, "bash")
    yield ""
    yield (
        f"The first trains seed {seed} from nothing, teachers included"
        + (f"; the second all {row.n_seeds} seeds. " if row.n_seeds > 1 else ". ")
        + "With the same versions and without a GPU the accuracies are the same to the last digit; "
        + (
            "otherwise their mean has to lie in the 95 % prediction interval made from the "
            "recorded seeds."
            if row.n_seeds > 1
            else "otherwise one seed gives no interval to judge by."
        )
    )
