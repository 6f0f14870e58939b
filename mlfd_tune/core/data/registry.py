"""All dataset sources by name, and the way from a spec to its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlfd_tune.core.data.csv_list import CsvList
from mlfd_tune.core.data.digits import Digits
from mlfd_tune.core.data.folder import Folder
from mlfd_tune.core.data.huggingface import HuggingFace
from mlfd_tune.core.data.letters import Letters
from mlfd_tune.core.data.photos import Photos
from mlfd_tune.core.data.published.caltech101 import Caltech101
from mlfd_tune.core.data.published.cifar import Cifar10, Cifar100
from mlfd_tune.core.data.published.cub200 import Cub200
from mlfd_tune.core.data.published.flowers102 import Flowers102
from mlfd_tune.core.data.published.imagenet_sketch import ImageNetSketch
from mlfd_tune.core.data.published.pets import Pets
from mlfd_tune.core.data.published.tinyimagenet import TinyImageNet
from mlfd_tune.core.data.raw import RawDataset
from mlfd_tune.core.data.source import DatasetSource
from mlfd_tune.core.data.splits import prepare_splits
from mlfd_tune.core.data.views import as_asked
from mlfd_tune.core.registry import Registry

if TYPE_CHECKING:
    from mlfd_tune.core.data.spec import DatasetSpec

__all__ = ["DATASETS", "dataset_identity", "load_dataset"]


def _is_source(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, DatasetSource)


DATASETS: Registry[type[DatasetSource]] = Registry(
    "dataset source", "mlfd_tune.datasets", _is_source
)
"""Every dataset source by its name."""

_BUILT_IN: dict[str, type[DatasetSource]] = {
    "digits": Digits,
    "letters": Letters,
    "photos": Photos,
    "folder": Folder,
    "csv": CsvList,
    "huggingface": HuggingFace,
    "caltech101": Caltech101,
    "flowers102": Flowers102,
    "cub200": Cub200,
    "pets": Pets,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "tinyimagenet": TinyImageNet,
    "imagenet_sketch": ImageNetSketch,
}
for _name, _source in _BUILT_IN.items():
    DATASETS.register(_name)(_source)


def load_dataset(spec: DatasetSpec) -> RawDataset:
    """Return the dataset's train, val and test splits, as training will use them.

    Raises:
        UserError: When the dataset is missing or malformed, or the spec's sizes do not fit it.
    """
    return prepare_splits(as_asked(DATASETS[spec.source]().load(spec), spec), spec)


def dataset_identity(spec: DatasetSpec) -> dict[str, Any]:
    """Return all that decides which images are in which split, and no path.

    Two specs of equal identity give equal packed arrays at equal image size, so this is what a
    stage's key holds in place of the spec.
    """
    fields = type(spec).model_fields
    since = {name for name in spec.added_later if getattr(spec, name) == fields[name].get_default()}
    settings = spec.model_dump(mode="json", exclude={"source", "path", "options", *since})
    options = {
        name: value
        for name, value in spec.options.items()
        if name not in DATASETS[spec.source].places
    }
    if options:
        settings["options"] = options
    identity = {"content": DATASETS[spec.source]().fingerprint(spec), "settings": settings}
    origin = DATASETS.origin(spec.source)
    return identity if origin is None else identity | {"extension": origin}
