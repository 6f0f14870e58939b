"""Makes the pictures of the README from the MLflow database of a real run.

    pip install '.[docs]'
    python docs/pictures.py --database mlflow.db --experiment quickstart

It writes `docs/images/leaderboard.svg` (the table that `mlfd-tune leaderboard` prints) and
`docs/images/run-tree.png` (MLflow's own page in a headless Chromium, which has to be installed),
and puts the table's text between the leaderboard marks of the README. It works on a copy of the
database.
"""

from __future__ import annotations

import argparse
import io
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import which
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from mlfd_tune.tracking import leaderboard, open_client, rich_tables

PROJECT = Path(__file__).resolve().parents[1]
TABLE_COLUMNS = 84
MARKS = ("<!-- leaderboard: written by docs/pictures.py -->", "<!-- end of leaderboard -->")
START_S = 90.0
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def main() -> None:
    """Parse the command line and make everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", type=Path, default=Path("mlflow.db"), help="SQLite file")
    parser.add_argument("--experiment", default="quickstart", help="its name")
    parser.add_argument("--dataset", default="letters", help="whose runs the tree shows")
    parser.add_argument("--output", type=Path, default=PROJECT / "docs" / "images", help="folder")
    parser.add_argument("--readme", type=Path, default=PROJECT / "README.md", help="file")
    parser.add_argument("--browser", default="chromium", help="a Chromium or Chrome")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "mlflow.db"
        copy_database(options.database, copy)
        uri = f"sqlite:///{copy}"
        console = printed_leaderboard(uri, options.experiment)
        (options.output / "leaderboard.svg").write_text(as_svg(console, options.experiment))
        put_into_readme(options.readme, console.export_text())
        picture = run_tree(uri, options.experiment, options.dataset, options.browser)
        (options.output / "run-tree.png").write_bytes(picture)
    print(f"{options.output}: leaderboard.svg, run-tree.png; {options.readme}: the table")


def copy_database(source: Path, target: Path) -> None:
    """Copy an SQLite database that may be in use."""
    if not source.is_file():
        sys.exit(f"--database {source}: no such file")
    with (
        closing(sqlite3.connect(f"file:{quote(str(source.resolve()))}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)


def printed_leaderboard(uri: str, experiment: str) -> Console:
    """Print the leaderboard to a console that remembers it."""
    console = Console(width=TABLE_COLUMNS, file=io.StringIO(), record=True, force_terminal=True)
    for table in rich_tables(leaderboard(uri, experiment)):
        console.print(table)
    return console


def as_svg(console: Console, experiment: str) -> str:
    """Return what was printed as SVG, without the web fonts that rich would load."""
    svg = console.export_svg(title=f"mlfd-tune leaderboard {experiment}", clear=False)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def put_into_readme(readme: Path, text: str) -> None:
    """Put the table between the marks, if the file has them."""
    content = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    before, first, rest = content.partition(MARKS[0])
    _, last, after = rest.partition(MARKS[1])
    if not first or not last:
        print(f"{readme} has no leaderboard marks; left as it is", file=sys.stderr)
        return
    table = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
    readme.write_text(f"{before}{first}\n```text\n{table}\n```\n{last}{after}", encoding="utf-8")


def run_tree(uri: str, experiment: str, dataset: str, browser: str) -> bytes:
    """Return a PNG of MLflow's page of one dataset's runs, the parent's row unfolded."""
    found = open_client(uri).get_experiment_by_name(experiment)
    if found is None:
        sys.exit(f"--experiment {experiment}: not in the database")
    query = quote(f"tags.`mlfd.dataset` = '{dataset}'")
    with mlflow_server(uri) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=which(browser), args=OPTIONS)
        page = chromium.new_page(viewport={"width": 1400, "height": 1330})
        page.goto(
            f"{address}/#/experiments/{found.experiment_id}/runs"
            f"?workflowType=machine_learning&searchFilter={query}"
            "&orderByKey=attributes.start_time&orderByAsc=true"
        )
        # A panel of MLflow's that has nothing to do with the runs.
        page.click('[data-component-id="mlflow.assistant.chat_panel.close"]')
        page.click('[row-index="0"] [col-id*="Run Name"] button')
        page.wait_for_function("document.body.innerText.includes('trial ')")
        choose_columns(
            page,
            hide=("Dataset", "Source", "Models"),
            show=("val/acc1", "mlfd.kind", "mlfd.reason"),
        )
        widen(page, "Run Name", 170)
        widen(page, "mlfd.reason", 150)
        page.wait_for_timeout(1000)  # the table slides into place
        picture = page.screenshot()
        chromium.close()
        return picture


def choose_columns(page: Page, hide: tuple[str, ...], show: tuple[str, ...]) -> None:
    """Set which columns MLflow's table of runs has, by way of its menu."""
    page.get_by_role("button", name="Columns", exact=True).click()
    for name in (*hide, *show):
        page.get_by_placeholder("Search columns").fill(name)
        title = page.locator("[role=dialog] [class*=tree-title]").get_by_text(name, exact=True)
        title.first.click()
        page.wait_for_timeout(500)
    page.keyboard.press("Escape")
    page.wait_for_selector("[role=dialog]", state="detached")


def widen(page: Page, column: str, pixels: int) -> None:
    """Drag the right edge of a column's head."""
    edge = page.locator(f'[col-id*="{column}"] .ag-header-cell-resize').first.bounding_box()
    assert edge is not None
    x, y = edge["x"] + 1, edge["y"] + edge["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels, y, steps=4)
    page.mouse.up()


@contextmanager
def mlflow_server(uri: str) -> Iterator[str]:
    """Run MLflow's server on a free port for as long as the block lasts; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_S
        while not answers(f"{address}/health"):
            if time.monotonic() > until or server.poll() is not None:
                sys.exit("MLflow's server did not start")
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


def answers(address: str) -> bool:
    """Tell whether a web server answers."""
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
