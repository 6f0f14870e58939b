"""What an image dataset is: where it comes from, how it is split, packed and augmented.

`DatasetSpec` names a dataset; `DATASETS` holds the sources it may name; `load_dataset` opens one;
`pack` decodes it once into arrays; `PackedDataset` maps them; `augment` varies batches of them.
"""

from mlfd_tune.core.data.augmentation import AugmentSpec, augment, normalise, to_float
from mlfd_tune.core.data.check import DatasetReport, DatasetRow, check_dataset, list_datasets
from mlfd_tune.core.data.packed import PackedDataset, pack, packed_bytes
from mlfd_tune.core.data.raw import RawDataset, RawSplit
from mlfd_tune.core.data.registry import DATASETS, dataset_identity, load_dataset
from mlfd_tune.core.data.source import DatasetSource, Inspection
from mlfd_tune.core.data.spec import DatasetSpec
from mlfd_tune.core.data.splits import prepare_splits, stratified_split, stratified_subset

__all__ = [
    "DATASETS",
    "AugmentSpec",
    "DatasetReport",
    "DatasetRow",
    "DatasetSource",
    "DatasetSpec",
    "Inspection",
    "PackedDataset",
    "RawDataset",
    "RawSplit",
    "augment",
    "check_dataset",
    "dataset_identity",
    "list_datasets",
    "load_dataset",
    "normalise",
    "pack",
    "packed_bytes",
    "prepare_splits",
    "stratified_split",
    "stratified_subset",
    "to_float",
]
