"""A trained network as an MLflow model: what is logged, and in which form.

`mlflow.pytorch` can write a pickle or torch.export's program. The program is taken: it holds no
pickled objects, needs neither this package nor timm, and takes any number of images of any size. It
runs on the device it was exported on, which is the CPU.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlfd_tune.core.data import PackedDataset
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.scoring import ImageScorer, load_scorer
from mlfd_tune.core.stages.model_files import DESCRIPTION, WEIGHTS
from mlfd_tune.core.store import Artifact, Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import Model

__all__ = ["log_scorer"]

_NAME = "scorer"
_EXAMPLES = 2
"""Images in the input example: a program that was traced with one would take one only."""


def log_scorer(client: MlflowClient, run: Run, store: Store, student: Artifact) -> tuple[str, str]:
    """Log what scores raw images as a model of the run that trained it.

    The run is not resumed: its status and its times stay. Nothing global of MLflow's is set.

    Args:
        client: An open client.
        run: The run.
        store: The store that has the student.
        student: The student's artifact.

    Returns:
        Where the model lies, and its id.

    Raises:
        UserError: The store no longer has the dataset that the input example is taken from.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    scorer = load_scorer(store, student)
    example = _example_images(store, student)
    run_id = run.info.run_id
    model = client.create_logged_model(
        run.info.experiment_id,
        _NAME,
        run_id,
        params=run.data.params,
        model_type="image classifier",
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _NAME
            _save(
                path,
                Model(model_id=model.model_id, model_uuid=model.model_id, run_id=run_id),
                student,
                scorer,
                example,
            )
            client.log_model_artifacts(model.model_id, str(path))
    except BaseException:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    # Not by a URI of the model's id: a database would look that up at the global tracking URI.
    return model.artifact_location, model.model_id


def _example_images(store: Store, student: Artifact) -> NDArray[np.uint8]:
    """Return images of the validation split, (N, S, S, 3), as they were packed."""
    key = student.manifest.inputs["dataset"]
    for path in store.root.glob(f"artifacts/*/{key}"):
        images = PackedDataset(path).images("val")[:_EXAMPLES]
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    raise UserError(
        f"{student.manifest.label}: its images are not in the store {store.root} any more; "
        "run the experiment again, which packs them anew"
    )


def _save(
    path: Path, model: Model, student: Artifact, scorer: ImageScorer, example: NDArray[np.uint8]
) -> None:
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    # Without names: a named input would have MLflow's generic `pyfunc` pass a dict.
    images = TensorSpec(np.dtype("uint8"), (-1, -1, -1, 3))
    logits = TensorSpec(np.dtype("float32"), (-1, len(scorer.classes)))
    mlflow.pytorch.save_model(
        scorer,
        path,
        mlflow_model=model,
        # What is -1 here may be of any size in the program, too.
        signature=ModelSignature(Schema([images]), Schema([logits])),
        input_example=example,
        serialization_format="pt2",
        # Told and not inferred, which takes long and imports the model in another process.
        pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "torch", "numpy")],
        extra_files=[str(student.path / name) for name in (WEIGHTS, DESCRIPTION)],
        metadata={"classes": list(scorer.classes), "image_size": scorer.image_size},
    )
