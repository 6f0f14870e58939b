"""What a report takes from a run's folder, the store and an evaluation, when they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from mlfd_tune.ablation import arms_of
from mlfd_tune.config import AblationConfig
from mlfd_tune.core.store.artifact import FileEntry, Manifest
from mlfd_tune.report.page import Material, build_sections, gather
from mlfd_tune.report.page.parts import Drawing, Section, Table
from mlfd_tune.tune.storage import open_storage, storage_url
from tests.helpers.experiments import tiny_pipeline
from tests.helpers.recorded_reports import log_config, record_sweep
from tests.helpers.recorder import Recorder

RUN = "20260102-030405"
CLASSES = ["zero", "one", "<two>"]


@pytest.fixture(scope="module")
def recorded(report_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    record_sweep(report_uri, "sweep", tmp_path_factory.mktemp("outbox"), RUN)
    return report_uri


def sections_of(material: Material) -> dict[str, Section]:
    return {section.id: section for section in build_sections(material)}


def write_studies(path: Path) -> None:
    """Write a search in which alpha is all that matters."""
    path.parent.mkdir(parents=True)
    storage = open_storage(storage_url(path))
    study = optuna.create_study(storage=storage, study_name="digits", direction="maximize")
    space = {name: FloatDistribution(0.0, 1.0) for name in ("distillation.alpha", "other.key")}
    draw = np.random.default_rng(0)
    for _ in range(12):
        params = {name: float(draw.uniform()) for name in space}
        value = 50 + 20 * params["distillation.alpha"]
        study.add_trial(
            create_trial(
                params=params, distributions=space, value=value, intermediate_values={4: value}
            )
        )


def write_artifact(
    store: Path, stage: str, key: str, inputs: dict[str, str], **arrays: np.ndarray
) -> Path:
    folder = store / "artifacts" / stage / key
    folder.mkdir(parents=True)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    manifest = Manifest(
        key=key,
        stage=stage,
        version=1,
        label=stage,
        spec={},
        inputs=inputs,
        metrics={"test/knn_acc1": 50.0},
        history=[],
        files={f"{name}.npy": FileEntry(bytes=1, sha256="0" * 64) for name in arrays},
        seconds=1.0,
        created=1.0,
        versions={},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def write_readings(store: Path, material: Material) -> None:
    """Write what a store has of the test split of digits, for all that was confirmed there."""
    about = {"image_size": 8, "mean": [0.5] * 3, "std": [0.5] * 3, "counts": {"test": 9}}
    images = write_artifact(store, "dataset", "images", {})
    (images / "dataset.json").write_text(json.dumps(about | {"classes": CLASSES}))
    labels = np.arange(9) % 3
    draw = np.random.default_rng(0)
    for run in material.of_kind("confirm"):
        if run.dataset == "digits":
            inputs = {"network": run.tags["mlfd.artifact_key"], "images": "images"}
            write_artifact(
                store,
                "evaluation",
                f"e{run.run_id}",
                inputs,
                logits=np.eye(3, dtype=np.float32)[np.roll(labels, 1)],
                labels=labels,
            )
            write_artifact(
                store,
                "representation",
                f"r{run.run_id}",
                inputs,
                test_embeddings=draw.normal(size=(9, 4)).astype(np.float16),
                test_labels=labels,
            )


def test_importances_come_from_the_record_of_the_search(recorded: str, tmp_path: Path) -> None:
    write_studies(tmp_path / "sweep" / RUN / "studies.db")

    section = sections_of(gather(recorded, "sweep", None, tmp_path, tmp_path))["importance"]

    assert len([part for part in section.parts if isinstance(part, Drawing)]) == 3
    assert any("alpha" in str(part.svg) for part in section.parts if isinstance(part, Drawing))
    assert "importance sweep --run" in next(
        part.commands[1] for part in section.parts if isinstance(part, Drawing)
    )


def test_confusions_and_embeddings_come_from_the_store(recorded: str, tmp_path: Path) -> None:
    write_readings(tmp_path, gather(recorded, "sweep", None, tmp_path, tmp_path))

    sections = sections_of(gather(recorded, "sweep", None, tmp_path, tmp_path))

    student, baseline = sections["confusion"].parts
    assert isinstance(student, Drawing)
    assert "digits: student, 2 seeds together" in student.svg
    assert "0.0 % of 18 images right" in student.svg
    assert "&lt;two&gt;" in student.svg
    assert isinstance(baseline, Drawing)
    assert "baseline" in baseline.svg
    (embeddings,) = sections["embeddings"].parts
    assert isinstance(embeddings, Drawing)
    assert "k-NN 50.0 %" in embeddings.svg


def test_without_a_store_what_an_evaluation_logged_is_shown(recorded: str, tmp_path: Path) -> None:
    material = gather(recorded, "sweep", None, tmp_path, tmp_path)
    (row,) = [one.row for one in material.confirmed if one.row.dataset == "photos"]
    told = {"classes": CLASSES, "networks": {"student": {"confusion": np.eye(3).tolist()}}}
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><text>a map</text><script>1</script></svg>'
    material.client.log_text(row.run_ids[1], json.dumps(told), "evaluation/evaluation.json")
    material.client.log_text(row.run_ids[1], svg, "evaluation/embeddings.svg")

    sections = sections_of(gather(recorded, "sweep", None, tmp_path, tmp_path))

    (confusion,) = sections["confusion"].parts
    assert isinstance(confusion, Drawing)
    assert "photos: student, one seed" in confusion.svg
    (embeddings,) = sections["embeddings"].parts
    assert isinstance(embeddings, Drawing)
    assert "a map" in embeddings.svg
    assert "script" not in embeddings.svg


def test_reuse_counts_what_every_training_would_have_computed(
    report_uri: str, tmp_path: Path
) -> None:
    recorder = Recorder(report_uri, "reuse", tmp_path / "outbox", RUN)
    tags = {"mlfd.stage_name": "teacher", "mlfd.dataset": "digits", "mlfd.seconds": "10.0"}
    teacher = recorder.tracker.start_stage_run("a" * 64, "teacher", parent="parent", tags=tags)
    recorder.tracker.end_run(teacher, "FINISHED")
    for seed in range(3):
        recorder.train("trial", "digits", "mlfd", seed, [1.0], stages={"teacher.digits": teacher})
    recorder.close()

    section = sections_of(gather(report_uri, "reuse", None, tmp_path, tmp_path))["stages"]

    (table,) = [part for part in section.parts if isinstance(part, Table)]
    (row,) = table.rows
    assert [cell.text for cell in row[3:]] == ["10.0", "0 B", "3", "20.0", "this run"]


def test_subsets_of_teachers_tell_what_each_contributes(report_uri: str, tmp_path: Path) -> None:
    content = {
        "kind": "ablation",
        **tiny_pipeline(targets=["digits"]),
        "design": {"kind": "teacher_subsets"},
        "seeds": 2,
    }
    recorder = Recorder(report_uri, "teachers", tmp_path / "outbox", RUN, "ablation")
    log_config(recorder, content)
    for place, arm in enumerate(arms_of(AblationConfig.model_validate(content), "digits")):
        for seed in (3, 4):
            method = str(arm.params.get("method", "mlfd"))
            values = [40.0, 50.0, 60.0, 70.0 + place + seed / 10]
            recorder.train(
                "arm",
                "digits",
                method,
                seed,
                values,
                arm=arm.name,
                config=f"config{place}",
                params={"student.train.epochs": 4},
            )
    recorder.close()

    section = sections_of(gather(report_uri, "teachers", None, tmp_path, tmp_path))["teachers"]

    (drawing,) = [part for part in section.parts if isinstance(part, Drawing)]
    assert "student of digits" in drawing.svg
    (table,) = [part for part in section.parts if isinstance(part, Table)]
    assert {row[1].text for row in table.rows} == {"digits", "photos"}
