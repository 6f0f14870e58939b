"""Reports of a real sweep and a real ablation, opened in a headless browser without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.command import mlfd_tune, write_yaml
from tests.helpers.experiments import tiny_pipeline, tiny_sweep

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("report"),
    pytest.mark.skipif(not BROWSER, reason="no Chromium or Chrome is installed"),
]

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NASTY = "<script>document.title = 'hacked'</script> & <b>bold</b>"
EXPERIMENTS = ("tiny", "arms")
SIZES = ((1280, 900), (390, 844))


@dataclass
class Opened:
    """A page and what went wrong in it, and whatever it asked for outside itself."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    workers = {"resources": {"workers": 2}}
    arms: dict[str, Any] = {
        "labels alone": {"method": "none"},
        "own teacher": {"method": "own_teacher"},
        NASTY: {"method": "mlfd"},
    }
    ablation = {
        "kind": "ablation",
        **tiny_pipeline(),
        "design": {"kind": "compare", "arms": arms},
        "seeds": 2,
        "metric": "test/acc1",
        **workers,
    }
    write_yaml(folder / "tiny.yaml", tiny_sweep(**workers))
    write_yaml(folder / "arms.yaml", ablation)
    for name in EXPERIMENTS:
        mlfd_tune("run", f"{name}.yaml", cwd=folder)
        mlfd_tune("report", name, "-o", f"{name}.html", cwd=folder)
    return {name: folder / f"{name}.html" for name in EXPERIMENTS}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield opened
        opened.close()


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}px")
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(params=EXPERIMENTS)
def opened(
    request: pytest.FixtureRequest,
    browser: Browser,
    reports: dict[str, Path],
    size: tuple[int, int],
) -> Iterator[Opened]:
    """Open a report from its file; every test ends with a look at what it asked for and said."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, is_mobile=width < 500, reduced_motion="reduce"
    )
    page = context.new_page()
    found = Opened(page)
    address = reports[request.param].as_uri()
    page.on("console", lambda message: found.errors.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.errors.append(str(error)))

    def answer(route: Any) -> None:
        if route.request.url.partition("#")[0] == address:
            route.continue_()
        else:
            found.requests.append(route.request.url)
            route.abort()

    page.route("**/*", answer)
    page.goto(address)
    yield found
    assert found.errors == []
    assert found.requests == []
    context.close()


def no_overflow(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_every_link_leads_to_its_section(opened: Opened) -> None:
    page = opened.page
    links = page.locator("nav.sections a")
    assert links.count() >= 10

    for number in range(links.count()):
        link = links.nth(number)
        link.click()
        address = link.get_attribute("href")
        page.locator(f"nav.sections a[aria-current][href='{address}']").wait_for()
        section = page.locator(f"section{address}")
        assert section.locator("h2").inner_text() == link.inner_text()
        assert page.locator("nav.sections a[aria-current]").count() == 1
        box, view = section.bounding_box(), page.viewport_size
        assert box is not None
        assert view is not None
        assert box["y"] < view["height"]
        assert box["y"] + box["height"] > 0


def test_only_what_a_small_run_cannot_tell_is_missing(opened: Opened) -> None:
    empty = opened.page.locator("nav.sections a.empty").all_inner_texts()

    # Four trials that ran to the end are too few for importances, and nothing was evaluated beyond
    # its accuracy.
    assert set(empty) <= {"Importance", "Embeddings (t-SNE)"}


def test_every_section_folds_and_unfolds(opened: Opened) -> None:
    page = opened.page

    for section in page.locator("main > section").all():
        button, parts = section.locator(".fold"), section.locator("> .parts")
        assert button.get_attribute("aria-expanded") == "true"
        assert parts.is_visible()
        button.click()
        assert button.get_attribute("aria-expanded") == "false"
        assert not parts.is_visible()
    page.locator("nav.sections a").nth(1).click()  # whoever goes to a section finds it unfolded
    assert page.locator("main > section > .parts").nth(1).is_visible()


def test_every_figure_can_be_seen_and_says_how_to_reproduce_it(opened: Opened) -> None:
    page = opened.page
    figures = page.locator("figure")
    assert figures.count() >= 4

    for figure in figures.all():
        figure.scroll_into_view_if_needed()
        box = figure.locator("svg").bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 60
        assert figure.locator("svg title").text_content()
        figure.locator("summary").click()
        commands = figure.locator("pre").first
        assert commands.is_visible()
        assert commands.inner_text().startswith("mlfd-tune run ")
        assert figure.locator("pre").count() == 2
    assert no_overflow(page)


def test_tables_sort_by_their_buttons(opened: Opened) -> None:
    page = opened.page
    table = page.locator("#table-leaderboard")
    column = "validation accuracy, %"
    button = table.get_by_role("button", name=column)
    head = button.locator("xpath=..")
    cells = table.locator(f'tbody [data-label="{column}"]')

    def values() -> list[float]:
        return [float(cell.get_attribute("data-order") or "nan") for cell in cells.all()]

    before = values()
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(before, reverse=True)
    button.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(before)
    assert no_overflow(page)


def test_the_theme_can_be_chosen_and_follows_the_system_otherwise(opened: Opened) -> None:
    page = opened.page

    def lightness() -> int:
        colour = page.evaluate(
            "getComputedStyle(document.querySelector('section')).backgroundColor"
        )
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    def ink() -> int:
        text = "document.querySelector('figure svg text:not([fill^=\"#\"])')"
        colour = page.evaluate(f"getComputedStyle({text}).fill")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    page.emulate_media(color_scheme="dark")
    assert lightness() < 150
    assert ink() > 600
    page.emulate_media(color_scheme="light")
    assert lightness() > 700
    assert ink() < 150
    page.get_by_role("button", name="Dark").click()
    assert page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"
    assert lightness() < 150
    page.get_by_role("button", name="Light").click()
    page.emulate_media(color_scheme="dark")
    assert lightness() > 700
    page.get_by_role("button", name="Auto").click()
    assert lightness() < 150


def test_all_of_it_can_be_reached_with_the_tab_key(opened: Opened) -> None:
    page = opened.page
    wanted = page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, summary, pre')]
            .filter(one => one.checkVisibility()).length"""
    )
    page.evaluate("() => { window.reached = new Set(); }")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    for _ in range(2 * wanted + 40):
        page.evaluate("() => { window.reached.add(document.activeElement); }")
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break

    missed = page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, summary, pre')]
            .filter(one => one.checkVisibility() && !window.reached.has(one))
            .map(one => one.outerHTML.slice(0, 80))"""
    )
    assert missed == []


def test_nothing_is_wider_than_the_screen(opened: Opened) -> None:
    page = opened.page
    page.evaluate("() => document.querySelectorAll('details').forEach(one => { one.open = true; })")

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert no_overflow(page)
        wide = page.evaluate(
            """() => [...document.querySelectorAll('main *')].filter(one =>
                !one.closest('.scroll, pre, table') &&
                one.getBoundingClientRect().right > window.innerWidth + 1
            ).map(one => one.outerHTML.slice(0, 80))"""
        )
        assert wide == []


def test_it_can_be_read_without_its_script_and_on_paper(
    browser: Browser, reports: dict[str, Path]
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(reports["tiny"].as_uri())
    for section in page.locator("main > section > .parts").all():
        assert section.is_visible()
    assert page.locator(".fold:visible, .theme:visible").count() == 0
    context.close()

    page = browser.new_page()
    page.goto(reports["tiny"].as_uri())
    page.locator("#curves .fold").click()
    page.emulate_media(media="print")
    assert page.locator("#curves > .parts").is_visible()
    assert not page.locator("nav.sections").is_visible()
    page.close()


def test_names_from_outside_are_shown_as_they_stand(
    browser: Browser, reports: dict[str, Path]
) -> None:
    page = browser.new_page()
    page.goto(reports["arms"].as_uri())

    assert page.title() == "arms · ablation report"
    assert page.locator("tbody th", has_text=NASTY).count() >= 1
    assert page.locator("main b").count() == 0
    page.close()
