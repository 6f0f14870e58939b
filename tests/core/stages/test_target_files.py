from __future__ import annotations

import numpy as np
import pytest
import torch

from mlfd_tune.core.losses import TargetNorm, target_norm_kinds
from mlfd_tune.core.stages import target_files
from mlfd_tune.core.stages.target_files import TargetsView, TargetsWriter

CPU = torch.device("cpu")
SHAPES = {"embedding": (12,), "stride32": (12, 3, 3)}
COUNT = 50


@pytest.fixture
def folder(tmp_path):
    generator = torch.Generator().manual_seed(0)
    writer = TargetsWriter(tmp_path, COUNT, SHAPES, "float16")
    for first in (0, 30):
        count = min(30, COUNT - first)
        features = {
            level: 3 * torch.randn(count, *shape, generator=generator) + 1
            for level, shape in SHAPES.items()
        }
        writer.write(torch.randn(count, 5, generator=generator), features)
    writer.close(torch.zeros(COUNT, dtype=torch.long))
    return tmp_path


@pytest.mark.parametrize("norm", target_norm_kinds())
@pytest.mark.parametrize("room", [True, False], ids=["room for all", "no room"])
def test_targets_are_to_the_bit_those_normalised_batch_by_batch(folder, monkeypatch, norm, room):
    monkeypatch.setattr(target_files, "fits", lambda nbytes, device: room)
    monkeypatch.setattr(target_files, "_BLOCK", 16)
    view = TargetsView(folder, norm, tuple(SHAPES), CPU)
    assert view.shapes() == SHAPES
    for indices in (torch.tensor([4, 49, 4, 0, 17]), torch.arange(COUNT)):
        logits, features = view.gather(indices)
        np.testing.assert_array_equal(logits, np.load(folder / "logits.npy")[indices])
        for level, seen in features.items():
            stored = np.load(folder / f"{level}.npy")
            expected = TargetNorm.fit(norm, stored)(torch.from_numpy(stored[indices]))
            assert seen.dtype == torch.float32
            assert torch.equal(seen, expected)
