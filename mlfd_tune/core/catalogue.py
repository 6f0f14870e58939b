"""What datasets and checkpoints hold, found out once: they are read whole for their identity."""

from __future__ import annotations

from mlfd_tune.core.data import DatasetSpec
from mlfd_tune.core.stages import DatasetStage
from mlfd_tune.core.stages.weights import Fetch, WeightsSource, resolve_weights

__all__ = ["Catalogue"]


class Catalogue:
    """Dataset stages and weights, made once: what a folder or file holds means reading all of it.

    A catalogue travels to the workers, so that they neither list nor hash anything again.

    Args:
        fetch: Serves MLflow URIs of weights.
    """

    def __init__(self, fetch: Fetch | None = None) -> None:
        self._fetch = fetch
        self._weights: dict[tuple[str, str], WeightsSource] = {}
        self._listed: dict[tuple[str, DatasetSpec], DatasetStage] = {}
        self._stages: dict[tuple[str, DatasetSpec, int], DatasetStage] = {}

    def stage(self, name: str, source: DatasetSpec, image_size: int) -> DatasetStage:
        """Return the stage that packs a dataset at an image size.

        Raises:
            UserError: The dataset cannot be read.
        """
        key = (name, source, image_size)
        if key not in self._stages:
            if (name, source) not in self._listed:
                stage = DatasetStage(name, source, image_size)
                _ = stage.listing  # listed here, on the driver, and carried along
                self._listed[name, source] = stage
            self._stages[key] = self._listed[name, source].resized(image_size)
        return self._stages[key]

    def weights(self, text: str, arch: str) -> WeightsSource:
        """Return the weights that a setting names, for an architecture.

        Raises:
            UserError: They cannot be had, or are another architecture's.
        """
        if (text, arch) not in self._weights:
            self._weights[text, arch] = resolve_weights(text, arch, self._fetch)
        return self._weights[text, arch]
