"""What is said of a dataset that is broken, by every way that a user meets it."""

from __future__ import annotations

import pytest

from mlfd_tune.core.data import DATASETS, DatasetSpec, check_dataset
from mlfd_tune.core.errors import UserError

__all__ = ["told_of"]


def told_of(spec: DatasetSpec) -> str:
    """Return the problems that loading tells; inspecting, hashing and checking tell them, too."""
    source = DATASETS[spec.source]()
    with pytest.raises(UserError) as caught:
        source.load(spec)
    assert source.inspect(spec).problems == caught.value.problems
    with pytest.raises(UserError):
        source.fingerprint(spec)
    assert set(caught.value.problems) <= set(check_dataset("broken", spec).problems)
    return str(caught.value)
