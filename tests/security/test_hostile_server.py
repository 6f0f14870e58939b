"""What an MLflow server says is data: no path, no markup, no order to the terminal."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mlfd_tune.cli import main
from mlfd_tune.core.errors import UserError
from mlfd_tune.core.store import Store
from mlfd_tune.report.page import build_sections, gather, render
from mlfd_tune.tracking import Tracker
from mlfd_tune.tracking import vocabulary as words
from mlfd_tune.tracking.model_card_parts import code, plain
from mlfd_tune.tracking.weights import mlflow_fetcher

ESCAPE = "\x1b]8;;http:evil\x07[red]x\u202e"
SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
FORMULA = "=cmd|' /C calc'!A0"
OUTSIDE = "../../planted"
CONFIG = "{kind: train, method: mlfd, students: {}}"


def record(uri: str, folder: Path, config: str = CONFIG, **tags: str) -> None:
    """Record a finished run as a sweep does, but for these tags."""
    tracker = Tracker(uri, "exp", folder / "outbox", linger_s=0.01)
    parent = {words.KIND: "sweep", words.SWEEP: "S"}
    tracker.start_run("S", "S", tags=parent)
    own = {
        words.KIND: "confirm",
        words.SWEEP: "S",
        words.DATASET: "digits",
        words.METHOD: "mlfd",
        words.SEED: "4",
        words.CONFIG: "aaaa",
        words.ARTIFACT_KEY: "0" * 64,
    }
    named = {getattr(words, name): value for name, value in tags.items()}
    tracker.start_run("a", ESCAPE, parent="S", tags=own | named, params={"x": FORMULA})
    tracker.log_text("a", config, "config.yaml")
    tracker.log_metrics("a", {"val/acc1": 70.0}, 1)
    tracker.end_run("a", "FINISHED")
    tracker.end_run("S", "FINISHED")
    assert tracker.close(30)


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments), env={"COLUMNS": "400"})
    assert "Traceback" not in result.output
    return result


@pytest.mark.parametrize("form", ["table", "csv", "md", "json"])
def test_a_leaderboard_does_not_obey_what_it_shows(uri: str, tmp_path: Path, form: str) -> None:
    record(uri, tmp_path, DATASET=ESCAPE, METHOD=ESCAPE, ARM=ESCAPE)

    result = call("leaderboard", "exp", "--format", form, "--uri", uri)

    assert result.exit_code == 0
    assert result.output.replace("\n", "").isprintable(), ascii(result.output)
    assert "\\x1b]8" in result.output or "\\u001b]8" in result.output


def test_a_spreadsheet_computes_nothing_of_a_leaderboard(uri: str, tmp_path: Path) -> None:
    record(uri, tmp_path, DATASET=FORMULA, ARM="+1+1", METHOD="@x")

    result = call("leaderboard", "exp", "--format", "csv", "--uri", uri)

    (row,) = csv.DictReader(io.StringIO(result.output))
    assert row["dataset"] == f"'{FORMULA}"
    cells = (cell for cell in row.values() if cell)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_markdown_has_names_as_text(uri: str, tmp_path: Path) -> None:
    record(uri, tmp_path, DATASET="<img src=x>", ARM="[a](javascript:b) | `c`")

    shown = call("leaderboard", "exp", "--format", "md", "--uri", uri).output

    assert "\\<img src=x>" in shown
    assert "\\[a](javascript:b) \\| \\`c\\`" in shown


@pytest.mark.parametrize("name", [OUTSIDE, "/tmp/planted", "..", "a\0b", ESCAPE])
def test_an_export_writes_below_its_folder_only(uri: str, tmp_path: Path, name: str) -> None:
    record(uri, tmp_path, DATASET=name.replace("\0", "\x01"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))

    folder, store = tmp_path / "a" / "b" / "exports", tmp_path / "store"
    result = call("export", "exp", "-o", str(folder), "--store", str(store), "--uri", uri)

    assert result.exit_code == 2, result.output
    assert "cannot be a file's name" in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("key", ["../../../elsewhere/student", "*", "..", "[a-z]*"])
def test_a_key_from_a_server_is_no_path_and_no_pattern(uri: str, tmp_path: Path, key: str) -> None:
    record(uri, tmp_path, "[]", ARTIFACT_KEY=key)
    store = Store(tmp_path / "store")
    for place in (store.root / "artifacts" / "student" / "abc", tmp_path / "elsewhere" / "student"):
        place.mkdir(parents=True)
        (place / "manifest.json").write_text("this is read by nobody")

    folder = tmp_path / "exports"
    result = call("export", "exp", "-o", str(folder), "--store", str(store.root), "--uri", uri)

    assert result.exit_code == 2, result.exception
    assert "is no configuration of a student" in result.stderr
    assert not list(folder.glob("*.safetensors"))


@dataclass
class Page(HTMLParser):
    """The elements of a page that could do something, and the attributes that could."""

    scripts: int = 0
    active: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag in {"img", "iframe", "object", "embed", "form", "base", "a"}:
            self.active += [f"{tag} {dict(attrs)}"]
        self.active += [name for name, _ in attrs if name.startswith("on") or name == "style"]


def test_a_report_shows_markup_from_a_server_as_text(uri: str, tmp_path: Path) -> None:
    record(uri, tmp_path, DATASET=f"d{SCRIPT}", METHOD=f"m{SCRIPT}", ARM=f"a{SCRIPT}")

    material = gather(uri, "exp", None, tmp_path / "runs", tmp_path / "store")
    text = render(material, build_sections(material))

    page = Page()
    page.feed(text)
    assert page.scripts == 1
    own = [one for one in page.active if not one.startswith("a {'href': '#") and "skip" not in one]
    assert own == []
    assert "alert(1)" in text
    assert "default-src 'none'" in text


@pytest.mark.parametrize("text", [SCRIPT, "`a` ``b``", "[a](javascript:b)", "a|b\nc", ESCAPE])
def test_a_model_card_shows_text_from_outside_as_text(text: str) -> None:
    shown = plain(text)
    assert "\n" not in shown
    assert shown.isprintable()
    for mark in "<>[]`|":
        assert shown.count(mark) == shown.count(f"\\{mark}")

    fence, _, inside = code(text).partition(" ")[0], "", code(text)
    ticks = len(inside) - len(inside.lstrip("`"))
    assert "`" * ticks not in inside[ticks:-ticks]
    assert inside.endswith("`" * ticks)
    assert fence.startswith("`")


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[str]:
    """Serve JSON by the beginnings of paths, over loopback, in the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = next((answers[path] for path in answers if self.path.startswith(path)), None)
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "path",
    [
        "../../../planted.safetensors",
        "/tmp/mlfd-planted.safetensors",
        "a/../../planted.safetensors",
        "%2e%2e/%2e%2e/planted.safetensors",
    ],
)
def test_artifacts_are_downloaded_into_their_folder_only(path: str, tmp_path: Path) -> None:
    prefix = "/api/2.0/mlflow-artifacts/artifacts"
    answers = {
        "/health": b"OK",
        f"{prefix}?": {"files": [{"path": path, "is_dir": False, "file_size": 3}]},
        f"{prefix}/": b"bad",
    }
    kept = tmp_path / "a" / "b" / "weights"
    kept.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))

    with serving(answers) as address, pytest.raises(UserError) as caught:
        mlflow_fetcher(address, kept)("mlflow-artifacts:/teacher")

    assert len(caught.value.problems) == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/mlfd-planted.safetensors").exists()
