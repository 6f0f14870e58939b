"""The files of one exported configuration, each written after those that it names."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import yaml

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.models import Backbone
from mlfd_tune.core.names import file_stem
from mlfd_tune.core.stages.model_files import DESCRIPTION, WEIGHTS, load_description, without_memory
from mlfd_tune.core.store.artifact import file_digest
from mlfd_tune.tracking.export_files import write_weights
from mlfd_tune.tracking.export_source import Source
from mlfd_tune.tracking.leaderboard import Row
from mlfd_tune.tracking.model_card import Card, model_card

if TYPE_CHECKING:
    from mlfd_tune.core.onnx_export import OnnxModel

__all__ = ["FORMATS", "Bundle"]

FORMATS: Final = {
    "yaml": ".yaml",
    "json": ".json",
    "safetensors": ".safetensors",
    "onnx": ".onnx",
    "card": ".md",
}
"""What a bundle may hold, with the ending of the file's name."""


_COMPARED = 256  # images that an ONNX file is compared with torch on


class Bundle:
    """The files of one dataset's best configuration.

    Args:
        source: What is known of it.
        better: A baseline or control with higher validation accuracy, if there is one.
        folder: Where the files go.
        formats: Which of `FORMATS` to write.

    Attributes:
        files: What was written, by format. Weights that the store no longer has are left out.
        onnx: The ONNX model, where it was asked for.
    """

    def __init__(
        self, source: Source, better: Row | None, folder: Path, formats: Collection[str]
    ) -> None:
        self.source = source
        self.better = better
        self.formats = formats
        self.files: dict[str, Path] = {}
        self.onnx: OnnxModel | None = None
        self._folder = folder
        self._network = self._read_network()

    def write(self) -> None:
        """Write the files.

        Raises:
            UserError: The network cannot be had as ONNX.
        """
        network, row = self._network, self.source.row
        if "safetensors" in self.formats and network is not None:
            assert self.source.student is not None
            weights = self.source.student.path / WEIGHTS
            write_weights(weights, network, self._add("safetensors"))
        if "onnx" in self.formats:
            self._write_onnx()
        if "card" in self.formats:
            self._add("card").write_text(model_card(self._card()), encoding="utf-8")
        sums = {file.name: file_digest(file) for file in self.files.values()}
        given = self.files.get("safetensors")
        content = self.source.content(self.source.provenance(sums, given.name if given else None))
        if "yaml" in self.formats:
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
            file = self._add("yaml")
            file.write_text(text, encoding="utf-8")
            sums[file.name] = file_digest(file)
        if "json" in self.formats:
            whole = {
                "config": content,
                "leaderboard": row.as_json(),
                "network": network,
                "files": sums,
            }
            text = json.dumps(whole, indent=1, ensure_ascii=False)
            self._add("json").write_text(text + "\n", encoding="utf-8")

    def _add(self, form: str) -> Path:
        stem = file_stem(self.source.row.dataset, "the dataset")
        self.files[form] = self._folder / f"{stem}{FORMATS[form]}"
        return self.files[form]

    def _read_network(self) -> dict[str, Any] | None:
        """Return what rebuilds the network, and whose it is; None without weights."""
        student = self.source.student
        if student is None or DESCRIPTION not in student.manifest.files:
            return None
        return {
            **load_description(student.path),
            "dataset": self.source.row.dataset,
            "artifact_key": student.key,
        }

    def _write_onnx(self) -> None:
        from mlfd_tune.core.onnx_export import export_onnx
        from mlfd_tune.core.scoring import load_scorer

        source, row = self.source, self.source.row
        if self._network is None or source.student is None:
            raise UserError(
                f"onnx: {row.dataset}: the weights are not in the store {source.store.root}; give "
                "the one they were trained in with --store"
            )
        scorer = load_scorer(source.store, source.student)
        properties = {"dataset": row.dataset, "artifact_key": source.student.key}
        self.onnx = export_onnx(scorer, self._images(), properties)
        self._add("onnx").write_bytes(self.onnx.data)

    def _images(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return validation images (N, S, S, 3) of the student's dataset, to compare on."""
        source = self.source
        assert source.student is not None
        key = source.student.manifest.inputs["dataset"]
        packed = source.store.root / "artifacts" / "dataset" / key
        if not packed.is_dir():
            raise UserError(
                f"onnx: {source.row.dataset}: there are no images to compare it with torch on: the "
                f"packed dataset is no longer in the store {source.store.root}"
            )
        images = PackedDataset(packed).images("val")[:_COMPARED]
        return np.ascontiguousarray(np.asarray(images).transpose(0, 2, 3, 1))

    def _card(self) -> Card:
        source = self.source
        data = source.run.data
        wanted = {
            form: f"{source.row.dataset}{FORMATS[form]}"
            for form in self.formats
            if form in self.files or form in {"yaml", "json"}
        }
        return Card(
            row=source.row,
            better_control=self.better,
            config=source.config,
            seed=source.seed,
            tags=data.tags,
            metrics=data.metrics,
            params=data.params,
            artifacts=source.artifacts,
            network=self._network,
            parameters=_parameters(self._network) if self._network else None,
            files=wanted,
            onnx_difference=self.onnx.largest_difference if self.onnx else None,
        )


def _parameters(network: Mapping[str, Any]) -> int:
    with without_memory():
        model = Backbone(network["arch"], network["num_classes"], network["image_size"])
    return sum(value.numel() for value in model.parameters())
