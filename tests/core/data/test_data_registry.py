from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from mlfd_tune.core.data import DATASETS, DatasetSpec, dataset_identity, load_dataset
from tests.helpers.folders import write_folder_dataset

BUILT_INS = ["digits", "letters", "photos"]
SHAPES = {"digits": (10, 1438, 359), "letters": (26, 2600, 780), "photos": (17, 1020, 340)}


@pytest.mark.parametrize("source", BUILT_INS)
def test_a_built_in_has_the_classes_and_sizes_it_promises(source):
    raw = DATASETS[source]().load(DatasetSpec(source=source))
    sizes = (len(raw.classes), len(raw.splits["train"]), len(raw.splits["test"]))
    assert sizes == SHAPES[source]
    for split in raw.splits.values():
        assert set(split.labels) == set(range(len(raw.classes)))


@pytest.mark.parametrize("source", BUILT_INS)
def test_an_image_is_the_same_whenever_it_is_opened(source):
    first, second = (DATASETS[source]().load(DatasetSpec(source=source)) for _ in range(2))
    for index in (0, 100, 17):
        np.testing.assert_array_equal(
            np.asarray(first.splits["train"].image(index)),
            np.asarray(second.splits["train"].image(index)),
        )


@pytest.mark.parametrize("source", BUILT_INS)
def test_names_are_unique_in_the_whole_dataset(source):
    splits = load_dataset(DatasetSpec(source=source)).splits
    names = [name for split in splits.values() for name in split.names]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("source", BUILT_INS)
def test_a_fingerprint_is_repeatable_json_without_paths(source):
    spec = DatasetSpec(source=source)
    fingerprint = DATASETS[source]().fingerprint(spec)
    assert fingerprint == DATASETS[source]().fingerprint(spec)
    assert fingerprint["version"] >= 1
    assert "/" not in json.dumps(fingerprint)


def test_identity_follows_splits_and_content_but_not_the_folder_s_place(tmp_path):
    for place in ("a", "b", "c"):
        write_folder_dataset(tmp_path / place, "digits", 2, per_class=3, test_per_class=1)
    (tmp_path / "c/train/0/0000.png").rename(tmp_path / "c/train/0/renamed.png")
    specs = {place: DatasetSpec(source="folder", path=str(tmp_path / place)) for place in "abc"}
    identity = {place: dataset_identity(spec) for place, spec in specs.items()}
    assert identity["a"] == identity["b"]
    assert identity["a"] != identity["c"]
    reseeded = specs["a"].model_copy(update={"split_seed": 1})
    assert dataset_identity(reseeded) != identity["a"]


def test_photos_without_scikit_image_say_which_extra_to_install():
    script = (
        "import sys; sys.modules['skimage'] = None\n"
        "from mlfd_tune.core.data import DatasetSpec, load_dataset\n"
        "from mlfd_tune.core.errors import UserError\n"
        "try: load_dataset(DatasetSpec(source='photos'))\n"
        "except UserError as error: print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert "pip install 'mlfd-tune[photos]'" in shown


def test_importing_the_data_package_loads_no_source_s_libraries():
    script = (
        "import sys, mlfd_tune.core.data\n"
        "heavy = 'sklearn skimage matplotlib pandas pyarrow datasets torchvision'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert shown.strip() == "[]"
