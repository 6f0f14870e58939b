"""The report of recorded runs: its sections, what they claim, and that nothing gets active."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlfd_tune.cli.report import report
from mlfd_tune.core.errors import UserError
from mlfd_tune.report.page import Material, build_sections, gather, render
from mlfd_tune.report.page.parts import Absent, Drawing, Section, Table, Words
from mlfd_tune.tracking.client import open_client
from tests.helpers.recorded_reports import ARMS, NASTY, record_ablation, record_sweep
from tests.helpers.recorder import Recorder

SWEEP, ABLATION = "a sweep", "an ablation"


class Page(HTMLParser):
    """Collects tags with their attributes, and text by the tag it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def recorded(report_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("outbox")
    record_sweep(report_uri, SWEEP, folder / "sweep")
    record_ablation(report_uri, ABLATION, folder / "ablation")
    return report_uri


def material_of(uri: str, experiment: str, run: str | None = None) -> Material:
    nowhere = Path("nowhere")
    return gather(uri, experiment, run, nowhere, nowhere)


@pytest.fixture(scope="module")
def sweep(recorded: str) -> tuple[dict[str, Section], str]:
    material = material_of(recorded, SWEEP)
    sections = build_sections(material)
    return {section.id: section for section in sections}, render(material, sections)


@pytest.fixture(scope="module")
def ablation(recorded: str) -> tuple[dict[str, Section], str]:
    material = material_of(recorded, ABLATION)
    sections = build_sections(material)
    return {section.id: section for section in sections}, render(material, sections)


def drawings(section: Section) -> list[Drawing]:
    return [part for part in section.parts if isinstance(part, Drawing)]


def tables(section: Section) -> list[Table]:
    return [part for part in section.parts if isinstance(part, Table)]


def test_a_sweep_has_sections_of_a_search_and_none_of_arms(
    sweep: tuple[dict[str, Section], str],
) -> None:
    sections, _ = sweep

    assert list(sections) == [
        *("summary", "leaderboard", "curves", "search", "importance", "stages", "timeline"),
        *("confusion", "embeddings", "configuration"),
    ]
    assert len(drawings(sections["curves"])) == 2
    assert len(drawings(sections["search"])) == 2


def test_an_ablation_has_sections_of_arms_and_none_of_a_search(
    ablation: tuple[dict[str, Section], str],
) -> None:
    sections, _ = ablation

    assert {"ablation", "ranks"} <= sections.keys()
    assert not {"search", "importance", "teachers"} & sections.keys()
    assert len(drawings(sections["ablation"])) == 1
    assert len(tables(sections["ablation"])) == 2
    assert len(drawings(sections["ranks"])) == 1


def test_too_few_seeds_claim_nothing(sweep: tuple[dict[str, Section], str]) -> None:
    sections, _ = sweep

    words = [part.text for part in sections["summary"].parts if isinstance(part, Words)]
    assert words == [
        "Nothing is claimed: 2 paired seeds are too few to show a difference to the baseline; 6 "
        "are needed."
    ]
    (table,) = tables(sections["summary"])
    assert {row[5].mark for row in table.rows} == {"too few seeds"}
    assert [row[4].text for row in table.rows] == ["+4.10", "+4.10"]
    assert [row[6].text for row in table.rows] == ["+3.10", "+3.10"]


def test_the_search_is_not_shown_as_a_result(report_uri: str, tmp_path: Path) -> None:
    recorder = Recorder(report_uri, "searched only", tmp_path, "20260102-101112")
    recorder.train("trial", "digits", "mlfd", 3, [10.0, 90.0])
    recorder.close()

    sections = build_sections(material_of(report_uri, "searched only"))

    summary = sections[0]
    absent = [part for part in summary.parts if isinstance(part, Absent)]
    assert "Nothing was confirmed" in absent[0].why
    assert "90.0" not in str(summary.parts)


def test_verdicts_of_arms_are_told_with_null_results(
    ablation: tuple[dict[str, Section], str],
) -> None:
    sections, _ = ablation

    marks = {row[0].text: row[7].mark for row in tables(sections["ablation"])[0].rows}
    # Two arms are compared on a dataset: six seeds reach 2 * 2/2**6 = 0.0625, too little.
    assert marks == {ARMS[0]: "reference", ARMS[1]: "too few seeds", ARMS[2]: "too few seeds"}
    words = [part.text for part in sections["summary"].parts if isinstance(part, Words)]
    assert "Nothing is claimed: 6 seeds are too few for 2 compared arms" in words[0]
    assert "7 are needed" in words[0]


def test_enough_seeds_show_what_is_there_and_what_is_not(report_uri: str, tmp_path: Path) -> None:
    record_ablation(report_uri, "eight seeds", tmp_path, seeds=8)

    sections = {one.id: one for one in build_sections(material_of(report_uri, "eight seeds"))}

    marks = {row[0].text: row[7].mark for row in tables(sections["ablation"])[0].rows}
    assert marks[NASTY] == "higher"
    assert marks[ARMS[2]] == "no difference shown"


def test_every_figure_says_how_to_reproduce_it(
    sweep: tuple[dict[str, Section], str], ablation: tuple[dict[str, Section], str]
) -> None:
    shown = [
        drawing
        for sections, _ in (sweep, ablation)
        for section in sections.values()
        for drawing in drawings(section)
    ]

    assert len(shown) >= 7
    for drawing in shown:
        assert drawing.commands[0].startswith("mlfd-tune run ")
        assert all(line.startswith("mlfd-tune ") for line in drawing.commands)
        assert "kind: " in drawing.config


def test_sections_without_data_say_why_and_how_to_get_it(
    sweep: tuple[dict[str, Section], str],
) -> None:
    sections, _ = sweep

    for name in ("importance", "timeline"):
        (absent,) = sections[name].parts
        assert isinstance(absent, Absent)
        assert "--runs" in absent.why
    for name in ("confusion", "embeddings"):
        (absent,) = sections[name].parts
        assert isinstance(absent, Absent)
        assert "mlfd-tune evaluate" in absent.command


def test_names_from_outside_are_shown_and_never_active(
    ablation: tuple[dict[str, Section], str],
) -> None:
    _, page = ablation
    parsed = Page(page)

    assert len(parsed.all("script")) == 1  # the page's own
    assert "<script>alert" not in page
    assert any(NASTY in text for text in parsed.texts)


def test_the_page_allows_its_own_style_and_script_alone(
    sweep: tuple[dict[str, Section], str], ablation: tuple[dict[str, Section], str]
) -> None:
    for _, page in (sweep, ablation):
        parsed = Page(page)
        (policy,) = [
            meta["content"] or ""
            for meta in parsed.all("meta")
            if meta.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        for tag in ("style", "script"):
            (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
        assert not [attributes for _, attributes in parsed.tags if "style" in attributes]
        assert not [name for _, a in parsed.tags for name in a if name.startswith("on")]


def test_nothing_points_outside_the_page(
    sweep: tuple[dict[str, Section], str], ablation: tuple[dict[str, Section], str]
) -> None:
    for _, page in (sweep, ablation):
        parsed = Page(page)
        for _, attributes in parsed.tags:
            for name in ("href", "src", "xlink:href", "action"):
                target = attributes.get(name)
                assert target is None or target.startswith(("#", "data:"))
        ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        inner = [a["href"] or "" for tag, a in parsed.tags if tag == "a"]
        assert {target[1:] for target in inner} <= set(ids)


def test_every_section_has_a_heading_a_link_and_a_button_that_folds_it(
    sweep: tuple[dict[str, Section], str],
) -> None:
    sections, page = sweep
    parsed = Page(page)

    links = [a.get("href") for a in parsed.all("a")]
    folds = {
        button["aria-controls"] for button in parsed.all("button") if "aria-controls" in button
    }
    for name in sections:
        assert f"#{name}" in links
        assert f"{name}-body" in folds
        assert any(heading.get("id") == f"{name}-heading" for heading in parsed.all("h2"))


def test_a_run_without_its_configuration_still_has_a_report(
    report_uri: str, tmp_path: Path
) -> None:
    recorder = Recorder(report_uri, "no file", tmp_path, "20260102-111213", "ablation")
    recorder.train("arm", "digits", "none", 3, [50.0], arm="base")
    recorder.close()

    sections = {one.id: one for one in build_sections(material_of(report_uri, "no file"))}

    (absent,) = sections["ablation"].parts
    assert isinstance(absent, Absent)
    assert "configuration was not logged" in absent.why
    assert not sections["curves"].is_empty


def test_unknown_names_are_told_with_what_is_there(recorded: str) -> None:
    with pytest.raises(UserError, match="did you mean 'a sweep'"):
        material_of(recorded, "a swep")
    with pytest.raises(UserError, match=r"has no run '2026'.*20260102-030405"):
        material_of(recorded, SWEEP, "2026")
    with pytest.raises(UserError, match="there is no database"):
        material_of("sqlite:///nowhere/mlflow.db", SWEEP)


def test_the_command_writes_the_page_and_logs_it_to_the_parent(
    recorded: str, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "page.html"
    words = [SWEEP, "-o", str(output), "--uri", recorded, "--runs", str(tmp_path), "--json"]

    told = json.loads(CliRunner().invoke(report, words, catch_exceptions=False).stdout)

    assert told["run"] == "20260102-030405"
    assert told["bytes"] == output.stat().st_size
    assert {section["id"] for section in told["sections"]} >= {"summary", "configuration"}
    client = open_client(recorded)
    logged = client.list_artifacts(told["logged_to"], "report")
    assert [file.path for file in logged] == ["report/page.html"]


def test_without_logging_nothing_is_added_to_mlflow(recorded: str, tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    words = [ABLATION, "-o", str(output), "--uri", recorded, "--no-log", "--json"]

    told = json.loads(CliRunner().invoke(report, words, catch_exceptions=False).stdout)

    assert told["logged_to"] is None
    assert output.read_text().startswith("<!doctype html>")
