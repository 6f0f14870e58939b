"""The whole configuration, and what the run was made with."""

from __future__ import annotations

from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Cell, Listing, Part, Section, Table

__all__ = ["configuration"]

_VERSION = "mlfd.version."


def configuration(material: Material) -> Section:
    """Return the last section."""
    parts: list[Part] = []
    if material.text:
        caption = f"{material.parent.experiment}.yaml, with everything included"
        parts.append(Listing(caption, material.text))
    else:
        parts.append(Absent("The configuration was not logged with the run."))
    tags = material.parent.tags
    rows = [
        (name.removeprefix(_VERSION), value)
        for name, value in tags.items()
        if name.startswith(_VERSION)
    ]
    rows += [
        (word, tags[name])
        for word, name in (
            ("commit", "mlflow.source.git.commit"),
            ("CPUs", "mlfd.hardware.cpus"),
            ("GPUs", "mlfd.hardware.gpus"),
        )
        if name in tags
    ]
    if rows:
        parts.append(
            Table(
                "table-versions",
                "Software and hardware of the run",
                ("what", "version"),
                [[Cell(name), Cell(value)] for name, value in rows],
            )
        )
    return Section("configuration", "Configuration", parts, note=f"Again: {material.again()}")
