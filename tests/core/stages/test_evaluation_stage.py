"""The test split is read once, and what is told of it comes from that reading."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from mlfd_tune.core.errors import UserError
from mlfd_tune.core.stages import EvaluationStage
from tests.helpers.pipelines import pipeline


def test_the_calibration_told_is_that_of_the_logits_kept(store):
    plan = pipeline()
    artifact = store.get_or_compute(plan.evaluation("one", "none"))
    logits, labels = (np.load(artifact.path / f"{name}.npy") for name in ("logits", "labels"))
    probabilities = special.softmax(logits.astype(np.float64), axis=1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.ceil(confidence * 15)
    error = sum(
        np.mean(bins == b) * abs(right[bins == b].mean() - confidence[bins == b].mean())
        for b in np.unique(bins)
    )
    assert artifact.manifest.metrics["test/ece"] == pytest.approx(100 * error)
    assert 0 <= artifact.manifest.metrics["test/ece"] <= 100


def test_a_network_of_other_classes_cannot_be_evaluated(store):
    plan = pipeline(datasets={"two": {"classes": ["0", "1", "2"]}})
    stage = plan.student("one", "none")
    with pytest.raises(UserError, match="its classes are not those of two"):
        store.get_or_compute(EvaluationStage(stage.reader(), plan.dataset("two")))
