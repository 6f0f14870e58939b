"""What a dataset source is. Adding one takes one file and its name in `registry.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from mlfd_tune.core.data.raw import RawDataset
from mlfd_tune.core.errors import UserError

if TYPE_CHECKING:  # spec.py validates against the registry, so it cannot be imported here
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["DatasetSource", "Fingerprint", "Inspection"]

Fingerprint: TypeAlias = dict[str, str | int]


@dataclass(frozen=True)
class Inspection:
    """What a source found, told without raising.

    Attributes:
        raw: The dataset as far as it can be used; None when nothing can.
        problems: What makes `load` fail, one line each.
        warnings: What is odd but allowed, one line each.
    """

    raw: RawDataset | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class DatasetSource(ABC):
    """A kind of dataset, addressed by its name in `DatasetSpec.source`.

    Attributes:
        description: One line for people.
        flip: Whether a horizontal flip is known to keep an image's label.
        path: Whether `DatasetSpec.path` must, may or must not be set.
    """

    description: ClassVar[str]
    flip: ClassVar[bool] = False
    path: ClassVar[Literal["required", "optional", "none"]] = "none"

    @abstractmethod
    def fingerprint(self, spec: DatasetSpec) -> Fingerprint:
        """Return the identity of the images: equal content gives equal values, on any machine.

        Never holds a path. Raises UserError where the content cannot be read.
        """

    @abstractmethod
    def load(self, spec: DatasetSpec) -> RawDataset:
        """Return the splits this source ships, at least ``train``; images are read on demand.

        Raises:
            UserError: When the dataset is missing or malformed, with all problems at once.
        """

    def inspect(self, spec: DatasetSpec) -> Inspection:
        """Return what `load` would, with its problems listed instead of raised."""
        try:
            return Inspection(self.load(spec))
        except UserError as error:
            return Inspection(None, error.problems)
