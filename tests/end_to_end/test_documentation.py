"""What the documentation says to type is accepted, and what it points to is there."""

from __future__ import annotations

import contextlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml

from mlfd_tune.cli import main
from mlfd_tune.config import load_experiment

PROJECT = Path(__file__).parents[2]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(PROJECT.glob("docs/*.md"))]
PROGRAM = re.compile(r"^(?:\S*/)?mlfd-tune\s")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)\s#]+)(#[^)\s]*)?\)")
OWN_FILE = re.compile(r"`((?:mlfd_tune|tests|docs|experiments|search_spaces)/[\w./-]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(content):
            if match[1] in languages:
                line = content.count("\n", 0, match.start()) + 2
                found.append(Block(str(page.relative_to(PROJECT)), line, match[2]))
    return found


def commands() -> list[Block]:
    """Every line that calls the program, with lines that end in a backslash joined."""
    found = []
    for block in blocks("bash", "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            if PROGRAM.match(line.strip()):
                found.append(Block(block.page, block.line, line.strip()))
    return found


def is_whole(block: Block) -> bool:
    return re.search(r"^kind:", block.text, re.MULTILINE) is not None


def experiments() -> list[Block]:
    return [block for block in blocks("yaml") if is_whole(block)]


def parts_of_experiments() -> list[Block]:
    return [block for block in blocks("yaml") if not is_whole(block)]


@pytest.mark.parametrize("command", commands(), ids=lambda block: f"{block}-{block.text}")
def test_commands_and_their_options_exist(command: Block) -> None:
    name, *arguments = shlex.split(command.text, comments=True)
    found: click.Command = main
    while isinstance(found, click.Group):
        with found.make_context(name, arguments, resilient_parsing=True) as context:
            resolved, found_below, arguments = found.resolve_command(context, arguments)
        assert resolved is not None
        assert found_below is not None
        name, found = resolved, found_below
    with contextlib.suppress(click.exceptions.Exit):  # --help prints and exits
        found.make_context(name, arguments)


@pytest.mark.parametrize("block", experiments(), ids=str)
def test_experiments_are_valid(block: Block, tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "shared").symlink_to(PROJECT / "experiments" / "shared")
    (tmp_path / "search_spaces").symlink_to(PROJECT / "search_spaces")
    (folder / "from_the_page.yaml").write_text(block.text)
    load_experiment(folder / "from_the_page.yaml")


@pytest.mark.parametrize("block", parts_of_experiments(), ids=str)
def test_parts_of_experiments_are_valid(block: Block, tmp_path: Path) -> None:
    part = yaml.safe_load(block.text)
    if all("." in key for key in part):
        part = {"search": {"space": part}}
    whole = {
        "kind": "sweep",
        "datasets": {"digits": {"source": "digits"}},
        **part,
        "search": {"trials": 9, "space": {"seed": {"int": [0, 9]}}, **part.get("search", {})},
    }
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(whole))
    load_experiment(tmp_path / "whole.yaml")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        linked = (page.parent / target).resolve()
        assert linked.exists(), target
        if anchor:
            assert anchor[1:] in anchors(linked), f"{target}{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_project_that_are_named_exist(page: Path) -> None:
    for name in OWN_FILE.findall(page.read_text(encoding="utf-8")):
        assert (PROJECT / name).exists(), name


def test_the_readme_names_the_test_command() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert "`make test` is the test command" in text
    assert "\nmake quickstart\n" in text


def anchors(page: Path) -> set[str]:
    """The anchors GitHub gives to a page's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.strip().replace(" ", "-"))
    return found
