"""Confusion matrices and t-SNE of what was confirmed, from readings that are kept."""

from __future__ import annotations

from mlfd_tune.report.confusion import confusion_figure
from mlfd_tune.report.embeddings import embedding_figure
from mlfd_tune.report.page.drawing import draw
from mlfd_tune.report.page.material import Material
from mlfd_tune.report.page.parts import Absent, Drawing, Part, Section
from mlfd_tune.report.page.svg import inlined, keep_text_on_areas_dark
from mlfd_tune.report.page.tested import (
    confusions,
    logged_embeddings,
    panels_of,
    tested_rows,
)

__all__ = ["confusion", "embeddings"]

_KEYS = ("kind", "seed", "datasets", "student", "students", "distillation", "confirm", "seeds")


def confusion(material: Material) -> Section:
    """Return the section of confusion matrices."""
    rows = tested_rows(material)
    parts: list[Part] = []
    for number, (dataset, of_dataset) in enumerate(rows.items()):
        for place, tested in enumerate(confusions(material, of_dataset)):
            over = f"{tested.seeds} seeds together" if tested.seeds > 1 else "one seed"
            title = f"{dataset}: {tested.label}, {over}"
            figure = confusion_figure(tested.matrix, tested.classes, title)
            keep_text_on_areas_dark(figure)
            drawing = draw(
                material,
                f"confusion-{number}-{place}",
                figure,
                f"Confusion matrix, {title}",
                f"Test split of {dataset}, {tested.label}: the true class by row, the answer by "
                "column.",
                keys=_KEYS,
            )
            parts.append(_by_evaluating(material, drawing, dataset))
    if not parts:
        parts.append(_absent(material, bool(rows), "confusion matrices"))
    return Section("confusion", "Confusion matrices", parts)


def embeddings(material: Material) -> Section:
    """Return the section of embeddings."""
    rows = tested_rows(material)
    parts: list[Part] = []
    for number, (dataset, of_dataset) in enumerate(rows.items()):
        name = f"embeddings-{number}"
        title = f"Embeddings of {dataset}"
        caption = f"t-SNE of the test split of {dataset}, one seed of each network."
        panels = panels_of(material, of_dataset)
        if panels:
            drawing = draw(material, name, embedding_figure(panels), title, caption, keys=_KEYS)
        else:
            logged = logged_embeddings(material, of_dataset)
            if logged is None:
                continue
            drawing = Drawing(
                id=f"figure-{name}",
                svg=inlined(logged, name, title, caption),
                caption=caption,
                commands=(),
                config=material.excerpt(*_KEYS),
            )
        parts.append(_by_evaluating(material, drawing, dataset))
    if not parts:
        parts.append(_absent(material, bool(rows), "embeddings"))
    return Section("embeddings", "Embeddings (t-SNE)", parts)


def _by_evaluating(material: Material, drawing: Drawing, dataset: str) -> Drawing:
    """Return the drawing with the commands that evaluate its networks anew."""
    export = material.experiment_command("export", material.parent.experiment)
    commands = (material.again(), export, f"mlfd-tune evaluate exports/{dataset}.yaml")
    return Drawing(drawing.id, drawing.svg, drawing.caption, commands, drawing.config, drawing.wide)


def _absent(material: Material, tested: bool, what: str) -> Absent:
    if not tested:
        return Absent(
            "No network of this run was confirmed or compared on the test split, and the test "
            f"split of no other is read, so there are no {what}."
        )
    export = material.experiment_command("export", material.parent.experiment)
    return Absent(
        f"There are no {what} in the store or in MLflow; export a best configuration, evaluate it, "
        "and name the store with --store.",
        f"{export} && mlfd-tune evaluate exports/{material.datasets[0]}.yaml",
    )
