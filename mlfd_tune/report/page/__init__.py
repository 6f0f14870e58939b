"""One page that tells everything about a run: `mlfd-tune report`.

`material` reads what there is from MLflow, the run's folder and the store; every module in
`sections` makes one section of it; `svg` puts figures inline; `rendering` writes the page.
"""

from mlfd_tune.report.page.builder import build_sections
from mlfd_tune.report.page.material import Material, gather
from mlfd_tune.report.page.rendering import render

__all__ = ["Material", "build_sections", "gather", "render"]
