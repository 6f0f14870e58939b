"""`ui`: MLflow's own pages over what was tracked."""

from __future__ import annotations

import os
import sys

import click

from mlfd_tune.cli.options import tracking_uri
from mlfd_tune.cli.terminal import echo
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.uris import is_loopback, shown_uri

__all__ = ["ui"]


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="NUMBER",
    default=5000,
    show_default=True,
    help="Port to listen on.",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on.",
)
@tracking_uri
def ui(port: int, host: str, uri: str) -> None:
    """Serve MLflow's web interface.

    It shows the tracking database of --uri until it is stopped with Ctrl-C.
    """
    from mlfd_tune.tracking import check_uri
    from mlfd_tune.tracking.client import sqlite_path

    check_uri(uri)
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise UserError(f"--uri: there is no database {path} yet; run a sweep first")
    if uri.startswith("http"):
        raise UserError(f"--uri: {shown_uri(uri)} is a server already; open it in a browser")
    if not is_loopback(host):
        echo(
            f"warning: whoever reaches {host}:{port} can read, change and delete all runs: MLflow "
            "asks for no login. Without --host only this machine can.",
            err=True,
        )
    echo(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    # Not on the command line, which every user of the machine can read.
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, command)  # this very Python  # nosec B606
