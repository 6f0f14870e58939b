from __future__ import annotations

import pytest
from pydantic import ValidationError

from mlfd_tune.core.data import DATASETS, DatasetSpec


def test_every_built_in_is_named_without_further_settings():
    for source in DATASETS.keys() - {"folder"}:
        assert DatasetSpec(source=source).source == source


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "letter"}, "did you mean 'letters'?"),
        ({"source": "imagenet"}, "allowed: digits, folder, letters, photos"),
        ({"source": "folder"}, "path is needed"),
        ({"source": "digits", "path": "x"}, "path is not for source 'digits'"),
        ({"source": "digits", "train_size": 0}, "train_size"),
        ({"source": "digits", "val_fraction": 0.0}, "val_fraction"),
        ({"source": "digits", "val_fraction": 1.0}, "val_fraction"),
        ({"source": "digits", "test_fraction": -0.1}, "test_fraction"),
        ({"source": "digits", "trainsize": 10}, "trainsize"),
    ],
)
def test_wrong_settings_say_what_is_allowed(settings, message):
    with pytest.raises(ValidationError) as caught:
        DatasetSpec(**settings)
    assert message in str(caught.value)


def test_errors_name_a_built_in_by_source_and_a_folder_by_path():
    assert DatasetSpec(source="digits").shown == "dataset 'digits'"
    assert DatasetSpec(source="folder", path="a/b").shown == "dataset folder a/b"
