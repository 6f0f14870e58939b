"""`leave_one_out`: the base, and the base without one of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlfd_tune.ablation.designs.arm import Arm
from mlfd_tune.ablation.designs.lineup import lineup_of
from mlfd_tune.config import AblationConfig, Part, pipeline_settings, settings_for
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.methods import METHODS
from mlfd_tune.core.methods.shapes import compared_levels
from mlfd_tune.core.models import LEVELS, level_shapes
from mlfd_tune.core.pipeline import check_settings
from mlfd_tune.core.settings import PipelineSettings

__all__ = ["ALL", "leave_one_out"]

ALL = "all"
"""Name of the reference, which has every part."""

Drop = tuple[str, Mapping[str, Any]]
"""What is dropped, in words, and the values that drop it."""

_PLAINEST = ("identity", "linear")


def leave_one_out(config: AblationConfig, dataset: str) -> list[Arm]:
    """The base and every arm that lacks one part of it.

    A part that the base has not, that its method does not go by, or that nothing works without,
    has no arm: the last level, the last term of the loss.

    Raises:
        UserError: There is nothing to drop.
    """
    base = _Base(config, dataset)
    arms = [Arm(ALL, {}, True)]
    for part in config.design.parts:
        arms += [Arm(f"without {what}", dict(params), False) for what, params in _DROPS[part](base)]
    if len(arms) == 1:
        raise UserError(
            f"design.parts: the base has none of {', '.join(config.design.parts)} that {dataset} "
            f"could do without under method {base.settings.method!r}; name other parts"
        )
    return arms


class _Base:
    """The base of one target dataset.

    Args:
        config: The ablation.
        target: The dataset.
    """

    def __init__(self, config: AblationConfig, target: str) -> None:
        self.settings: PipelineSettings = pipeline_settings(config)
        self.target = target
        self.method = METHODS[config.method]
        self._raw = self.settings.model_dump(mode="json")
        # What is wrong with the base itself is told where it is planned.
        self._works = self._problem({}) is None

    def has(self, *sections: str) -> bool:
        """Tell whether the method goes by all of these sections."""
        return set(sections) <= set(self.method.sections)

    def allows(self, params: Mapping[str, Any]) -> bool:
        """Tell whether the base works with these values in it."""
        return not self._works or self._problem(params) is None

    def without(self, *drops: Drop) -> Iterator[Drop]:
        """Yield those of `drops` that the base works with."""
        return (drop for drop in drops if self.allows(drop[1]))

    def _problem(self, params: Mapping[str, Any]) -> UserError | None:
        try:
            check_settings(settings_for(self._raw, self.target, params))
        except UserError as error:
            return error
        return None


def _levels(base: _Base) -> Iterator[Drop]:
    """Yield each level of the fusion, or each rung of UNIC's ladder."""
    settings = base.settings
    if base.has("joint_teacher"):
        key, levels = "joint_teacher.levels", settings.joint_teacher.levels
    elif base.has("unic"):
        key, levels = "unic.rungs", settings.unic.rungs or _levels_of_student(base)
    else:
        return
    if len(levels) > 1:
        for level in levels:
            yield from base.without((level, {key: [other for other in levels if other != level]}))


def _levels_of_student(base: _Base) -> tuple[str, ...]:
    settings, target = base.settings, base.target
    shapes = level_shapes(settings.student_arch(target), settings.student_image_size(target))
    return tuple(level for level in LEVELS if level in shapes)


def _teachers(base: _Base) -> Iterator[Drop]:
    """Yield each teacher of the lineup."""
    lineup = lineup_of(base.settings, base.target)
    if lineup is None or len(lineup[1]) < 2:
        return
    key, names = lineup
    for name in names:
        others = [other for other in names if other != name]
        yield from base.without((f"teacher {name}", {key: others}))


def _adaptor(base: _Base) -> Iterator[Drop]:
    """Yield the joint teacher's adaptors, and the student's where it needs any.

    Without its adaptors a joint teacher takes the teachers' features as they are. A student whose
    channels are not those of its targets cannot do without: there the plainest, `linear`, takes
    the place of a richer one.
    """
    fusion, chosen = base.settings.joint_teacher, base.settings.distillation
    if base.has("teachers", "joint_teacher") and fusion.adaptor != "identity":
        params = {"joint_teacher.adaptor": "identity", "joint_teacher.residual": False}
        yield from base.without(("adaptor", params))
    if not base.has("distillation"):
        return
    # A skip around `identity` is refused wherever an adaptor is made: this finds out whether any
    # is.
    skipped = {"distillation.adaptor": "identity", "distillation.residual": True}
    if base.allows(skipped):
        return
    for kind in _PLAINEST:
        if (kind, False) == (chosen.adaptor, chosen.residual):
            return
        params = {"distillation.adaptor": kind, "distillation.residual": False}
        if base.allows(params):
            yield "student adaptor", params
            return


def _losses(base: _Base) -> Iterator[Drop]:
    """Yield each term of the loss that has a weight."""
    settings, chosen = base.settings, base.settings.distillation
    if base.has("unic"):
        if settings.unic.labels:
            yield from base.without(("labels", {"unic.labels": False}))
        if settings.unic.weight:
            yield from base.without(("features", {"unic.weight": 0.0}))
    if not base.has("distillation"):
        return
    if chosen.alpha:
        yield from base.without(("logits", {"distillation.alpha": 0.0}))
    if chosen.ce_weight:
        yield from base.without(("labels", {"distillation.ce_weight": 0.0}))
    for level in compared_levels(settings, base.method().student_levels(settings)):
        if chosen.beta[level]:
            params = {f"distillation.beta.{level}": 0.0}
            yield from base.without((f"features at {level}", params))


def _augmentation(base: _Base) -> Iterator[Drop]:
    """Yield each way in which the student's images are varied, and all of them at once."""
    if base.method.role == "reference":  # nothing is trained on images
        return
    augment = base.settings.students[base.target].train.augment
    fields = type(augment).model_fields
    # Whole, so that what the dataset's own entry says otherwise is not merged in.
    active = {
        name: getattr(augment, name)
        for name, field in fields.items()
        if getattr(augment, name) != field.default
    }
    for name in active:
        rest = {other: value for other, value in active.items() if other != name}
        yield name.replace("_", " "), {"student.train.augment": rest}
    if len(active) > 1:
        yield "augmentation", {"student.train.augment": {}}


_DROPS: dict[Part, Callable[[_Base], Iterator[Drop]]] = {
    "levels": _levels,
    "teachers": _teachers,
    "adaptor": _adaptor,
    "losses": _losses,
    "augmentation": _augmentation,
}
