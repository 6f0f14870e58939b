"""Manifests of the store: damaged ones, and such as somebody wrote who can compute a checksum."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st

from mlfd_tune.core.store import Store
from mlfd_tune.core.store.manifest import _tail
from mlfd_tune.core.store.verifying import verify_store
from tests.helpers.fuzzing import Fuzz, attempt
from tests.helpers.fuzzing.documents import Samples, changed, damaged
from tests.helpers.small_stages import NoteStage


def signed(document: object) -> bytes:
    """Return a manifest with the checksum that it ought to have."""
    text = json.dumps(document, indent=1, sort_keys=True, default=str)
    head = text.removesuffix("\n}").encode()
    return head + _tail(head)


def test_manifests(fuzz: Fuzz, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)  # a warning for each that is set aside
    store = Store(tmp_path / "store")
    below = NoteStage("below")
    stage = NoteStage("above", number=0.5, below={"below": below})
    for one in (below, stage):
        store.get_or_compute(one)
    place = store.root / "artifacts" / stage.name / stage.key
    shutil.copytree(place, tmp_path / "sound")
    sound = (place / "manifest.json").read_bytes()
    document = json.loads(sound)
    del document["sha256"]
    assert signed(document) == sound

    def run(content: bytes) -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tmp_path / "sound", place)
        (place / "manifest.json").write_bytes(content)
        looking = Store(store.root)  # a new process knows of nothing that was checked before
        attempt(lambda: verify_store(looking), tmp_path)
        wrong = verify_store(looking)
        assert set(wrong) <= {stage.key}

        assert attempt(lambda: looking.get(stage)) is None
        found = looking.get(stage)
        assert (found is None) == bool(wrong)
        if found is not None:
            assert set(found.manifest.files) == set(document["files"])
        shutil.rmtree(store.root / "damaged", ignore_errors=True)

    made = changed(Samples([document])).filter(lambda one: isinstance(one, dict)).map(signed)
    manifests = damaged([sound]) | made | st.just(sound)
    fuzz("manifests of the store", manifests, run, whole=3_000, reduced=100)
