"""All sections of a report in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import matplotlib

from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Section
from mlfd_tune.report.page.sections.ablation import ablation
from mlfd_tune.report.page.sections.configuration import configuration
from mlfd_tune.report.page.sections.curves import curves
from mlfd_tune.report.page.sections.importance import importance
from mlfd_tune.report.page.sections.leaderboard import leaderboard_section
from mlfd_tune.report.page.sections.ranks import ranks
from mlfd_tune.report.page.sections.search import search
from mlfd_tune.report.page.sections.stages import stages
from mlfd_tune.report.page.sections.summary import summary
from mlfd_tune.report.page.sections.teachers import teachers
from mlfd_tune.report.page.sections.tested import confusion, embeddings
from mlfd_tune.report.page.sections.timeline import timeline

__all__ = ["SECTIONS", "build_sections"]

SECTIONS: Final[tuple[Callable[[Material], Section | None], ...]] = (
    summary,
    leaderboard_section,
    ablation,
    ranks,
    teachers,
    curves,
    search,
    importance,
    stages,
    timeline,
    confusion,
    embeddings,
    configuration,
)


def build_sections(material: Material) -> list[Section]:
    """Return the sections that have a meaning for this run."""
    # A dollar sign in somebody's name for an arm is no beginning of a formula.
    with matplotlib.rc_context({"text.parse_math": False}):
        built = [make(material) for make in SECTIONS]
    return [section for section in built if section is not None]
