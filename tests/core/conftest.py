from __future__ import annotations

import pytest

from mlfd_tune.core.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    """Return one store for all tests of stages: what one has computed the others find."""
    return Store(tmp_path_factory.mktemp("stages") / "store")
