from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter

import pytest

from mlfd_tune.core.data import DatasetSpec
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.pipeline import Catalogue, Pipeline, check_settings
from mlfd_tune.core.spec import canonical_json, content_hash
from mlfd_tune.core.stages import DatasetStage
from mlfd_tune.core.store import walk
from tests.helpers.folders import write_folder_dataset
from tests.helpers.pipelines import pipeline, settings

VECTOR_ADAPTORS = "attention, bottleneck, identity, linear, pointwise, transformer"
THREE = {"datasets": {"three": {"source": "digits", "train_size": 32, "split_seed": 2}}}


def without(spec, *fields: str) -> str:
    """Return the text that is hashed, with some fields as null."""
    return canonical_json(json.loads(canonical_json(spec)) | dict.fromkeys(fields))


def kinds(*stages) -> dict[str, int]:
    return dict(Counter(stage.stage_name for stage in walk(stages)))


def test_a_student_stands_on_all_teachers_a_control_on_its_own_and_a_baseline_on_none():
    made = pipeline(**THREE)
    assert kinds(made.student("one", "mlfd")) == {
        "dataset": 3,
        "teacher": 3,
        "features": 3,
        "joint_teacher": 1,
        "targets": 1,
        "student": 1,
    }
    assert kinds(made.student("one", "own_teacher")) == {
        "dataset": 1,
        "teacher": 1,
        "features": 1,
        "joint_teacher": 1,
        "targets": 1,
        "student": 1,
    }
    assert kinds(made.student("one", "none")) == {"dataset": 1, "baseline": 1}


def test_students_of_all_datasets_share_teachers_and_shared_heads_share_the_joint_teacher():
    apart, shared = pipeline(**THREE), pipeline(**THREE, joint_teacher={"heads": "shared"})
    names = ("one", "two", "three")
    assert kinds(*(apart.student(name) for name in names))["teacher"] == 3
    assert kinds(*(apart.student(name) for name in names))["features"] == 9
    assert kinds(*(apart.student(name) for name in names))["joint_teacher"] == 3
    assert kinds(*(shared.student(name) for name in names))["joint_teacher"] == 1


def test_fusion_depths_that_end_at_the_same_level_share_their_features():
    def features(levels: object) -> set[str]:
        stages = walk([pipeline(joint_teacher={"levels": levels}).student("one")])
        return {stage.key for stage in stages if stage.stage_name == "features"}

    assert features("L2") == features(["stride32"])
    assert not features("L2") & features("L3")


def test_the_method_is_the_settings_unless_asked_otherwise():
    assert pipeline(method="none").student("one").stage_name == "baseline"
    assert pipeline(method="none").student("one", "mlfd").stage_name == "student"
    control = pipeline(method="own_teacher").student("one")
    assert control.key == pipeline().student("one", "own_teacher").key


def test_keys_are_the_same_whichever_pipeline_asks():
    one = [stage.key for stage in walk([pipeline().evaluation("one")])]
    other = Pipeline(settings(), Catalogue())
    assert [stage.key for stage in walk([other.evaluation("one")])] == one
    copy = pickle.loads(pickle.dumps(pipeline().evaluation("one")))
    assert [stage.key for stage in walk([copy])] == one


def test_a_key_is_the_hash_of_name_version_spec_and_input_keys():
    for stage in walk([pipeline().evaluation("one")]):
        parts = {
            "stage": stage.stage_name,
            "version": stage.version,
            "spec": json.loads(canonical_json(stage.spec)),
            "inputs": {name: below.key for name, below in stage.inputs.items()},
        }
        assert stage.key == content_hash(parts)


def test_the_text_under_a_joint_teachers_key_stays_what_it_is():
    """A change here orphans every artifact that users have: raise a version only if need be."""
    changes = {"levels": "L3", "heads": "shared", "norm": "group", "dropout": 0.9}
    spec = pipeline(joint_teacher=changes).student("one").targets.joint_teacher.spec
    assert canonical_json(spec.fusion) == (
        '{"adaptor":"pointwise","channels":{"stride16":192,"stride32":96},"dropout":0.9,'
        '"levels":["embedding","stride32","stride16"],"norm":"group","width":16}'
    )
    assert without(spec, "train", "fusion") == (
        '{"datasets":["one","two"],"fusion":null,"seed":0,"train":null}'
    )


def test_the_text_under_a_students_key_stays_what_it_is():
    spec = pipeline(distillation={"beta": {"stride32": 0.5}}).student("one", seed=3).spec
    assert without(spec, "train") == (
        '{"arch":"test_resnet","dataset":"one","distillation":{"adaptor":"linear","alpha":0.6,'
        '"beta":{"embedding":0.2,"stride32":0.5},"ce_weight":1.0,"target_norm":"standardise",'
        '"temperature":2.0},"seed":3,"train":null}'
    )
    train = spec.train.model_dump(exclude={"augment", "precision", "compile"})
    assert canonical_json(train) == (
        '{"accumulate":1,"batch_size":32,"clip_grad":null,"drop_path_rate":0.0,"drop_rate":0.0,'
        '"ema_decay":null,"epochs":1,"label_smoothing":0.0,"lr":0.003,"momentum":0.9,'
        '"optimizer":"adam","schedule":"onecycle","threads":1,"warmup_epochs":0.0,'
        '"weight_decay":0.001}'
    )


def test_where_a_folder_lies_is_not_part_of_the_key_and_what_is_in_it_is(tmp_path):
    here = write_folder_dataset(tmp_path / "here", "digits", 3, per_class=8)
    there = tmp_path / "somewhere" / "else"
    shutil.copytree(here, there)

    def key(path) -> str:
        spec = DatasetSpec(source="folder", path=str(path))
        return DatasetStage("any", spec, 16).key

    assert key(there) == key(here)
    (image, *_) = sorted(there.rglob("*.png"))
    image.unlink()
    assert key(there) != key(here)


def test_what_a_dataset_is_called_is_not_part_of_its_key_but_of_its_teachers():
    twins = {"datasets": {"twin": {"source": "digits", "train_size": 96}}}
    made = pipeline(**twins)
    assert made.dataset("twin").key == made.dataset("one").key
    assert made.teacher("twin").key != made.teacher("one").key


def test_a_catalogue_lists_a_dataset_once_and_carries_what_it_found(tmp_path):
    folder = write_folder_dataset(tmp_path / "data", "digits", 3, per_class=8)
    spec = DatasetSpec(source="folder", path=str(folder))
    catalogue = Catalogue()
    stage = catalogue.stage("mine", spec, 16)
    assert catalogue.stage("mine", spec, 16) is stage
    assert catalogue.stage("mine", spec, 32) is not stage
    carried = pickle.loads(pickle.dumps(catalogue))
    shutil.rmtree(folder)  # a worker does not look again
    again = carried.stage("mine", spec, 16)
    assert (again.counts, again.num_classes) == (stage.counts, 3)
    assert again.key == stage.key
    assert again.estimate_bytes() > 0


def test_a_catalogue_finds_out_at_once_that_a_dataset_is_not_there(tmp_path):
    spec = DatasetSpec(source="folder", path=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere"):
        Catalogue().stage("mine", spec, 16)


def test_students_of_several_architectures_under_one_joint_teacher_have_maps_of_its_width():
    changes = {"students": {"two": {"arch": "test_convnext"}}}
    shared = pipeline(**changes, joint_teacher={"heads": "shared", "width": 24})
    assert shared.student("one").targets.joint_teacher.spec.fusion.channels == {"stride32": 24}
    apart = pipeline(**changes, joint_teacher={"heads": "per_dataset", "width": 24})
    assert apart.student("one").targets.joint_teacher.spec.fusion.channels == {"stride32": 96}
    assert apart.student("two").targets.joint_teacher.spec.fusion.channels == {"stride32": 64}


def test_labels_tell_stages_apart_for_people():
    made = pipeline()
    labels = [stage.label for stage in walk([made.evaluation("one")])]
    assert labels == [
        "dataset one",
        "teacher one (test_resnet)",
        "features one -> one (stride32)",
        "dataset two",
        "teacher two (test_resnet)",
        "features two -> one (stride32)",
        "joint teacher one (2 teachers, L2, pointwise)",
        "targets one (2 teachers, L2, pointwise)",
        "student one (mlfd, test_resnet, seed 0)",
        "test of student one (mlfd, test_resnet, seed 0)",
    ]
    assert "(own teacher, L2, pointwise)" in made.student("one", "own_teacher").targets.label


@pytest.mark.parametrize("levels", ["L1", "L2", "L3", "L4", ["stride16"]])
def test_settings_that_fit_together_pass(levels):
    check_settings(settings(joint_teacher={"levels": levels}))
    check_settings(settings(method="own_teacher", joint_teacher={"levels": levels}))


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        (
            {"teachers": {"two": {"arch": "levit_128s"}}, "joint_teacher": {"levels": "L4"}},
            [
                "teachers.two.arch: architecture 'levit_128s' has no level 'stride8' at 32 px "
                "(it has: embedding, stride32, stride16)",
                "students.two.arch: architecture 'levit_128s' has no level 'stride8' at 32 px "
                "(it has: embedding, stride32, stride16)",
            ],
        ),
        (
            {"joint_teacher": {"levels": "L1", "adaptor": "conv3x3"}},
            [
                "joint_teacher.adaptor: adaptor 'conv3x3' works on maps only, not on an embedding "
                f"vector (allowed there: {VECTOR_ADAPTORS})"
            ],
        ),
        (
            {"joint_teacher": {"levels": "L1"}, "distillation": {"adaptor": "conv3x3"}},
            [
                f"distillation.adaptor: student of {name} at embedding: adaptor 'conv3x3' works "
                f"on maps only, not on an embedding vector (allowed there: {VECTOR_ADAPTORS})"
                for name in ("one", "two")
            ],
        ),
        (
            {"distillation": {"alpha": 0, "beta": {"stride32": 0, "embedding": 0}, "ce_weight": 0}},
            [
                "distillation: alpha, ce_weight and the beta of every distilled level are 0, so "
                "there is nothing to learn (allowed: at least one above 0)"
            ],
        ),
        (
            {"students": {"one": {"arch": "vgg11", "train": {"drop_path_rate": 0.1}}}}
            | {"joint_teacher": {"levels": "L1"}},
            [
                "students.one.train.drop_path_rate: architecture 'vgg11' has no stochastic depth, "
                "but the rate is 0.1 (allowed: 0)"
            ],
        ),
    ],
    ids=["level", "fusing adaptor", "student's adaptor", "nothing to learn", "stochastic depth"],
)
def test_what_only_shows_when_settings_meet_is_found_before_anything_runs(changes, problems):
    with pytest.raises(UserError) as caught:
        check_settings(settings(**changes))
    assert list(caught.value.problems) == problems


def test_a_baseline_asks_nothing_of_levels_and_adaptors():
    check_settings(
        settings(method="none", teacher={"arch": "levit_128s"}, joint_teacher={"levels": "L4"})
    )
