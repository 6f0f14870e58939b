from __future__ import annotations

import pytest
from pydantic import ValidationError

from mlfd_tune.core.data import DATASETS, DatasetSpec
from mlfd_tune.core.spec import canonical_json


def test_a_source_is_named_without_further_settings_unless_it_needs_a_path():
    for source in DATASETS:
        needed = {"path": "x"} if DATASETS[source].path == "required" else {}
        assert DatasetSpec(source=source, **needed).source == source


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "letter"}, "did you mean 'letters'?"),
        ({"source": "imagenet"}, "(allowed: caltech101, cifar10, cifar100, csv"),
        ({"source": "digits", "options": {"fold": 1}}, "source 'digits' has no option 'fold'"),
        (
            {"source": "cifar100", "path": "x", "options": {"label": "fine"}},
            "has no option 'label' (allowed: labels; did you mean 'labels'?)",
        ),
        ({"source": "cifar100", "path": "x", "options": {"labels": "all"}}, "options.labels:"),
        ({"source": "digits", "classes": ["1"]}, "at least 2 items"),
        ({"source": "digits", "classes": ["1", "1"]}, "class '1' stands twice"),
        ({"source": "digits", "style": "gray"}, "'grey'"),
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


def test_an_option_at_its_default_is_no_other_dataset():
    plain = DatasetSpec(source="cifar100", path="x")
    said = DatasetSpec(source="cifar100", path="x", options={"labels": "fine"})
    assert said == plain
    assert hash(said) == hash(plain)
    assert canonical_json(said) == canonical_json(plain)
    assert DatasetSpec(source="cifar100", path="x", options={"labels": "coarse"}) != plain
