"""Figures as files: what an experiment's tables do not show.

* `figures` writes any of them as PNG and SVG; `style` holds what they have in common.
* `curves` draws accuracy by epoch, from what `histories` reads in MLflow.
* `confusion`, `calibration` and `embeddings` draw what a network does with single images.
* `scaling` reads what more teachers gain and cost (`costs`); `scaling_figure` draws it and
  `scaling_tables` says it.
* `timeline` draws which worker did what when, laid out by `lanes`.
* `runs` finds the finished run that a figure is of, `teachers` what its students learned from.

Figures are matplotlib's `Figure` objects on their own: no pyplot, no state outside them. The
modules that draw import matplotlib, so commands import them when they run. What may be imported
from here: ablation, tune, tracking, config and core.
"""
