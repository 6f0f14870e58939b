"""What a dataset source is. Adding one takes one file and its name in `registry.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from mlfd_tune.core.data.raw import RawDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.spec import Spec

if TYPE_CHECKING:  # spec.py validates against the registry, so it cannot be imported here
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["DatasetSource", "Fingerprint", "InspectedSource", "Inspection", "NoOptions", "Official"]

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


@dataclass(frozen=True)
class Official:
    """What a published dataset holds when it is whole, and where it is published.

    Attributes:
        classes: How many classes.
        images: Images by split as they are loaded, before anything is carved.
        home: Address of the page that publishes it.
        layout: The files it must have, as a tree for people.
        folder: Name of the folder that its archive unpacks to.
    """

    classes: int
    images: dict[str, int]
    home: str
    layout: str
    folder: str


class NoOptions(Spec):
    """The options of a source that has none."""


class DatasetSource(ABC):
    """A kind of dataset, addressed by its name in `DatasetSpec.source`.

    Attributes:
        description: One line for people.
        flip: Whether a horizontal flip is known to keep an image's label.
        path: Whether `DatasetSpec.path` must, may or must not be set.
        path_is: What lies there, for messages.
        Options: The settings that only this source has, under `DatasetSpec.options`.
        places: Those of them that say where files lie, not what is in them.
        official: What the published dataset holds; None where there is no such thing.
    """

    description: ClassVar[str]
    flip: ClassVar[bool] = False
    path: ClassVar[Literal["required", "optional", "none"]] = "none"
    path_is: ClassVar[str] = "folder"
    Options: ClassVar[type[Spec]] = NoOptions
    places: ClassVar[frozenset[str]] = frozenset()
    official: ClassVar[Official | None] = None

    def options(self, spec: DatasetSpec) -> Any:
        """Return the source's own settings, an instance of `Options`."""
        return self.Options.model_validate(spec.options)

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


class InspectedSource(DatasetSource):
    """A source on disk that is looked through once, for all that is wrong with it."""

    @abstractmethod
    def inspect(self, spec: DatasetSpec) -> Inspection:
        """Return all structural problems at once, with what can be used in spite of them."""

    def load(self, spec: DatasetSpec) -> RawDataset:
        """Return the splits; whether images are sound shows on opening them."""
        found = self.inspect(spec)
        if found.problems or found.raw is None:
            raise UserError(*found.problems)
        return found.raw
