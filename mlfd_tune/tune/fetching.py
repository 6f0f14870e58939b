"""Weights from MLflow, fetched without importing MLflow's side before there is something to fetch.

What fetches travels to every worker, and most fetch nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

__all__ = ["lazy_fetcher"]


def lazy_fetcher(tracking_uri: str, folder: Path) -> Callable[[str], Path]:
    """Return what `mlfd_tune.tracking.weights.mlflow_fetcher` returns, imported when called."""
    return partial(_fetch, tracking_uri, folder)


def _fetch(tracking_uri: str, folder: Path, uri: str) -> Path:
    from mlfd_tune.tracking.weights import mlflow_fetcher

    return mlflow_fetcher(tracking_uri, folder)(uri)
