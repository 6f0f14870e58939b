"""`doctor`: what a bug report should say about a machine."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import click

from mlfd_tune.cli.kinds import registries
from mlfd_tune.cli.options import as_json, print_json, print_table, store_path, tracking_uri
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.uris import hide_logins, shown_uri

__all__ = ["doctor"]


@click.command()
@store_path
@tracking_uri
@as_json
def doctor(store: str, uri: str, json_: bool) -> None:
    """Show what is installed, the devices and the disk.

    And whether the artifact store is there and tracking can be reached.
    """
    from importlib.metadata import PackageNotFoundError, version

    import torch

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "missing"

    packages = (
        "mlfd-tune",
        "torch",
        "torchvision",
        "timm",
        "ray",
        "optuna",
        "mlflow",
        "scikit-image",
    )
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts = {
        "python": sys.version.split()[0],
        **{name: installed(name) for name in packages},
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "gpus": ", ".join(gpus) or "none",
        "free disk": f"{shutil.disk_usage('.').free / 1e9:.1f} GB",
        "store": f"{store}{'' if Path(store).is_dir() else ' (not made yet)'}",
        "tracking": _tracking(uri),
        **_extensions(),
    }
    print_json(facts) if json_ else print_table(("", ""), facts.items())


def _extensions() -> dict[str, str]:
    """Return the kinds that packages bring, each with its package or why it cannot be used."""
    found = {}
    for registry in registries().values():
        for name in registry:
            try:
                origin = registry.origin(name)
                registry.require(name)
            except UserError as error:
                origin = str(error)
            if origin is not None:
                found[f"{registry.concept} {name}"] = origin
    return found


def _tracking(uri: str) -> str:
    from mlfd_tune.tracking import check_uri, reachable

    started = time.perf_counter()
    try:
        check_uri(uri)
    except UserError as error:
        return str(error).removeprefix("tracking uri: ")
    problem = reachable(uri, 5.0)
    told = problem or f"reachable in {time.perf_counter() - started:.1f} s"
    return hide_logins(f"{shown_uri(uri)}: {told}")
