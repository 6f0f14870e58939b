from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mlfd_tune.core.errors import UserError
from mlfd_tune.report.curves import Curve
from mlfd_tune.report.histories import experiment_curves
from mlfd_tune.report.runs import finished_run
from tests.helpers.recorder import Recorder

T_1 = 12.706205  # two-sided 95 % Student t quantile with 1 degree of freedom


@pytest.fixture(scope="module")
def uri(report_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sweep that was run three times, the last time without end, and an ablation."""
    folder = tmp_path_factory.mktemp("outboxes")
    record_sweep(report_uri, folder)
    record_ablation(report_uri, folder)
    return report_uri


def record_sweep(uri: str, folder: Path) -> None:
    old = Recorder(uri, "sweep", folder / "old", "s1")
    for seed in (1, 2):
        old.train("confirm", "digits", "mlfd", seed, [1.0, 2.0], config="best")
    old.close()

    new = Recorder(uri, "sweep", folder / "new", "s2")
    teacher = new.stage(
        "teacher", "digits", [{"val/acc1": value} for value in (30.0, 60.0)], arch="a", seed=0
    )
    joint = new.stage(
        "joint_teacher",
        None,
        [{"val/acc1": 9.0, "val/acc1/digits": v, "val/acc1/letters": v / 2} for v in (50.0, 70.0)],
        fusion__levels="['embedding', 'stride32']",
        seed=0,
    )
    own = new.stage(
        "joint_teacher", "digits", [{"val/acc1": 1.0}], fusion__levels="['embedding']", seed=0
    )
    links = {"teacher.digits": teacher, "joint_teacher.all": joint}
    for trial in range(3):
        new.train("trial", "digits", "mlfd", 0, [99.0], config=f"trial{trial}")
    for seed, luck in ((1, 0.0), (2, 4.0)):
        best = {"config": "best", "stages": links}
        new.train("confirm", "digits", "mlfd", seed, [40.0 + luck, 80.0 + luck], **best)  # type: ignore[arg-type]
        new.train("confirm", "digits", "none", seed, [20.0, 70.0 + luck], of="best", config="b1")
        control = {"joint_teacher.digits": own}
        new.train("confirm", "digits", "own_teacher", seed, [25.0, 75.0], of="best", stages=control)
        new.train("confirm", "digits", "mlfd", seed, [35.0, 60.0], config="second", stages=links)
        new.train("confirm", "digits", "none", seed, [10.0, 50.0], of="second", config="b2")
    new.train("confirm", "letters", "mlfd", 1, [5.0, 15.0], config="best", stages=links)
    new.close()

    unfinished = Recorder(uri, "sweep", folder / "unfinished", "s3")
    unfinished.train("confirm", "digits", "mlfd", 1, [0.0], config="best")
    unfinished.close("KILLED")


def record_ablation(uri: str, folder: Path) -> None:
    ablation = Recorder(uri, "depth", folder / "depth", "a1", "ablation")

    def joint(levels: str, seed: int, width: int, last: float) -> str:
        history = [{"val/acc1": value, "val/acc1/digits": value} for value in (10.0, last)]
        return ablation.stage(
            "joint_teacher",
            "digits",
            history,
            fusion__levels=levels,
            fusion__width=width,
            seed=seed,
        )

    one = [joint("['embedding']", seed, 16, 60.0 + seed) for seed in (0, 1)]
    narrow = joint("['embedding', 'stride32']", 0, 16, 70.0)
    wide = joint("['embedding', 'stride32']", 0, 32, 72.0)
    for seed in (0, 1):
        for arm, stage in (("L1", one[seed]), ("L2, 16", narrow), ("L2, 32", wide)):
            learned = {
                "stages": {"joint_teacher.digits": stage},
                "params": {"joint_teacher.width": arm[-2:], "joint_teacher.levels": arm[:2]},
            }
            ablation.train("arm", "digits", "mlfd", seed, [30.0, 50.0], arm=arm, **learned)  # type: ignore[arg-type]
            # What the joint teacher is like is nothing to the baseline: one training, three arms.
            baseline = {"arm": f"{arm}, none", "key": f"baseline{seed}"}
            ablation.train("arm", "digits", "none", seed, [20.0, 40.0], **baseline)  # type: ignore[arg-type]
        # A run that was cut short: the figure ends where its seeds do.
        ablation.train("arm", "digits", "kd", seed, [30.0, 50.0, 55.0][: 3 - seed], arm="kd")
    ablation.close()


def the(curves: list[Curve], label: str, dataset: str = "digits") -> Curve:
    (curve,) = (c for c in curves if (c.label, c.dataset) == (label, dataset))
    return curve


def test_a_sweep_shows_its_best_confirmed_configuration_beside_baseline_and_control(
    uri: str,
) -> None:
    curves = experiment_curves(uri, "sweep")

    assert [(curve.dataset, curve.label, curve.role) for curve in curves] == [
        ("digits", "mlfd", "student"),
        ("digits", "own_teacher", "control"),
        ("digits", "none", "baseline"),
        ("digits", "joint teacher L2", "joint_teacher"),
        ("digits", "teacher", "teacher"),
        ("letters", "mlfd", "student"),
        ("letters", "joint teacher L2", "joint_teacher"),
    ]
    # Not those of the second best configuration, nor of its baseline.
    np.testing.assert_allclose(the(curves, "mlfd").mean, [42.0, 82.0])
    np.testing.assert_allclose(the(curves, "none").mean, [20.0, 72.0])


def test_seeds_are_folded_into_mean_and_student_t_interval(uri: str) -> None:
    curve = the(experiment_curves(uri, "sweep"), "mlfd")

    half = T_1 * math.sqrt(8.0) / math.sqrt(2)  # values 4 apart: s = 2 sqrt(2)
    assert curve.seeds == 2
    assert curve.epochs.tolist() == [1, 2]
    assert curve.low is not None
    assert curve.high is not None
    np.testing.assert_allclose(curve.low, curve.mean - half, rtol=1e-5)
    np.testing.assert_allclose(curve.high, curve.mean + half, rtol=1e-5)


def test_one_seed_has_no_band(uri: str) -> None:
    curve = the(experiment_curves(uri, "sweep", dataset="letters"), "mlfd", "letters")
    assert (curve.seeds, curve.low, curve.high) == (1, None, None)


def test_teachers_are_those_that_students_learned_from(uri: str) -> None:
    curves = experiment_curves(uri, "sweep")

    assert the(curves, "teacher").mean.tolist() == [30.0, 60.0]
    # A shared joint teacher has a curve of its own on every dataset.
    assert the(curves, "joint teacher L2").mean.tolist() == [50.0, 70.0]
    assert the(curves, "joint teacher L2", "letters").mean.tolist() == [25.0, 35.0]
    # The control's joint teacher fuses nothing.
    assert not any(curve.label == "joint teacher L1" for curve in curves)


def test_the_latest_finished_run_is_taken_unless_another_is_asked_for(uri: str) -> None:
    assert finished_run(uri, "sweep").id == "s2"
    assert the(experiment_curves(uri, "sweep", run="s1"), "mlfd").mean.tolist() == [1.0, 2.0]
    assert the(experiment_curves(uri, "sweep", run="s3"), "mlfd").mean.tolist() == [0.0]


def test_an_ablation_shows_every_arm_over_the_epochs_of_all_seeds(uri: str) -> None:
    curves = experiment_curves(uri, "depth")

    students = [curve.label for curve in curves if curve.role == "student"]
    assert sorted(students) == ["L1", "L2, 16", "L2, 32", "kd"]
    assert the(curves, "kd").epochs.tolist() == [1, 2]


def test_arms_that_are_the_same_training_are_one_curve(uri: str) -> None:
    baselines = [c.label for c in experiment_curves(uri, "depth") if c.role == "baseline"]
    assert baselines == ["none"]


def test_joint_teachers_are_folded_over_seeds_and_told_apart_otherwise(uri: str) -> None:
    joint = [c for c in experiment_curves(uri, "depth") if c.role == "joint_teacher"]

    assert {curve.label: curve.mean[-1] for curve in joint} == {
        "joint teacher L1": 60.5,
        "joint teacher L2 (width=16)": 70.0,
        "joint teacher L2 (width=32)": 72.0,
    }
    assert the(joint, "joint teacher L1").seeds == 2


def test_methods_and_other_metrics_can_be_asked_for(uri: str) -> None:
    curves = experiment_curves(uri, "sweep", "train/loss", methods=["none"])

    (curve,) = curves
    assert (curve.label, curve.mean.tolist()) == ("none", [1.0, 0.5])


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"experiment": "sweeep"}, "did you mean 'sweep'?"),
        ({"run": "s4"}, "--run: sweep has no run 's4' (allowed: s1, s2, s3"),
        ({"dataset": "digit"}, "did you mean 'digits'?"),
        ({"methods": ["mlf"]}, "--method: no run of 'mlf' (allowed: mlfd, none, own_teacher"),
        ({"metric": "val/acc"}, "--metric: 'val/acc' was not logged (allowed: "),
    ],
)
def test_unknown_names_are_answered_with_what_exists(
    arguments: dict[str, object], part: str, uri: str
) -> None:
    given = {"experiment": "sweep"} | arguments
    with pytest.raises(UserError) as caught:
        experiment_curves(uri, **given)  # type: ignore[arg-type]
    assert part in str(caught.value)


def test_a_sweep_without_confirmation_says_so(uri: str, tmp_path: Path) -> None:
    recorder = Recorder(uri, "bare", tmp_path / "outbox", "b1")
    recorder.train("trial", "digits", "mlfd", 0, [10.0])
    recorder.close()

    with pytest.raises(UserError, match="run b1 has no finished confirmation or arm"):
        experiment_curves(uri, "bare")


def test_an_experiment_without_a_finished_run_names_those_it_has(uri: str, tmp_path: Path) -> None:
    recorder = Recorder(uri, "killed", tmp_path / "outbox", "k1")
    recorder.train("confirm", "digits", "mlfd", 0, [10.0])
    recorder.close("KILLED")

    with pytest.raises(UserError, match=r"no sweep or ablation is finished; --run takes .*: k1"):
        experiment_curves(uri, "killed")
