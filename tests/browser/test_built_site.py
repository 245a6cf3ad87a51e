"""The site as Sphinx builds it: every link leads somewhere, nothing is asked of another host, everyone can read it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from conftest import MISSED, PHONE, TOUCHED, chromium
from executed_runs import code, display, plotly, write_run
from PIL import Image

from nbtools.plots.style import new_figure
from nbtools.runs import folders
from nbtools.site import build_site
from nbtools.site.outputs import WIDGET

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = [pytest.mark.slow]
SHOWN = "05_attack_explorer"
LOOKED_AT = (
    "index.html",
    f"notebooks/{SHOWN}.html",
    "notebooks/01_brain_responses.html",
    "docs/methods.html",
    "reference/attacks.html",
    "gallery.html",
    "questions.html",
)
CUT = "all => all.filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.innerText)"
# Of axe-core: what WCAG asks at AA, contrast of 4.5 and names of controls among it, and headings in order.
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "rules": {"heading-order": {"enabled": True}, "page-has-heading-one": {"enabled": True}},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, with one executed notebook: a figure wider than a page, a picture, a table, an explorer."""
    home, picture = tmp_path_factory.mktemp("home"), BytesIO()
    Image.new("RGB", (40, 30), "teal").save(picture, "png")
    wide = new_figure("Does it rise?", "region", "accuracy").add_scatter(y=[1, 2], name="TO")
    wide.update_layout(width=1400)
    table = pd.DataFrame([range(30)], columns=[f"column {i}" for i in range(30)])
    outputs = [
        plotly(wide),
        display({"image/png": base64.b64encode(picture.getvalue()).decode()}),
        display({"text/html": table.to_html()}),
        display({WIDGET: {"model_id": "1"}, "text/plain": "AttackExplorer(children=())"}),
    ]
    write_run(home, SHOWN, "2026-03-01T10:00:00+0000", [code(each) for each in outputs])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBTOOLS_HOME", str(home))
        return build_site("demo", home / "site", home / "work").parent


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, BeautifulSoup]:
    files = [
        file for file in site.rglob("*.html") if "_static" not in file.parts
    ]  # a template of the theme's lies there
    return {file: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for file in files}


# --- as it lies on the disk ---------------------------------------------------------------------------------


def test_all_that_the_project_has_to_say_is_there(site: Path) -> None:
    words = ["methods", "log", "teaching", "encoders"]
    wanted = ["index", "gallery", "questions", "CHANGELOG", "data/README", "notebooks/glossary"]
    wanted += [*(f"docs/{word}" for word in words), *(f"notebooks/{name}" for name in folders.notebooks())]
    assert [page for page in wanted if not (site / f"{page}.html").exists()] == []


def test_links_lead_somewhere(pages: dict[Path, BeautifulSoup]) -> None:
    """Pages, files and places in them; a link to another host is one to follow, not to load."""
    places = {page: {tag["id"] for tag in soup.find_all(id=True)} for page, soup in pages.items()}
    lost = []
    for page, soup in pages.items():
        for tag in soup.find_all(href=True):
            link = urlsplit(tag["href"])
            target = (page.parent / unquote(link.path)).resolve() if link.path else page
            if link.scheme or tag["href"] == "#":
                continue
            if not target.exists() or (link.fragment and target in places and link.fragment not in places[target]):
                lost.append(f"{page.name}: {tag['href']}")
    assert lost == []


def test_all_that_is_loaded_lies_in_the_site(site: Path, pages: dict[Path, BeautifulSoup]) -> None:
    loaded = []
    for page, soup in pages.items():
        named = [tag["src"] for tag in soup.find_all(src=True)]
        named += [tag["href"] for tag in soup.find_all("link", rel=["stylesheet", "preload", "icon"])]
        loaded += [(page, name) for name in named if not name.startswith("data:")]
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        names = re.findall(r"""(?:url\(|@import )["']?([^"')\s]+)""", text)
        loaded += [(sheet, name) for name in names if not name.startswith(("data:", "#"))]
    assert len(loaded) > 100
    assert [name for page, name in loaded if not (page.parent / unquote(urlsplit(name).path)).exists()] == []


def test_one_plotly_serves_all_figures(site: Path, pages: dict[Path, BeautifulSoup]) -> None:
    assert len(list(site.rglob("plotly*.js"))) == 1
    names = {tag["data-figure"] for soup in pages.values() for tag in soup.find_all(attrs={"data-figure": True})}
    assert names == {file.stem for file in (site / "_static/figures").iterdir()} != set()


def test_every_picture_is_told_in_words(pages: dict[Path, BeautifulSoup]) -> None:
    pictures = [(page, tag) for page, soup in pages.items() for tag in soup.select("main img")]
    assert len(pictures) > 5
    assert [(page.name, tag["src"]) for page, tag in pictures if len(tag.get("alt", "")) < 10] == []
    charts = [tag for soup in pages.values() for tag in soup.select(".chart")]
    assert all(len(tag["aria-label"]) > 10 for tag in charts)


def test_headings_are_in_order(pages: dict[Path, BeautifulSoup]) -> None:
    for page, soup in pages.items():
        levels = [int(tag.name[1]) for tag in soup.select("main :is(h1, h2, h3, h4, h5, h6)")]
        assert not levels or levels[0] == 1, page
        steps = [after - before for before, after in pairwise(levels)]
        assert max(steps, default=0) <= 1, page


def test_formulas_are_mathml(pages: dict[Path, BeautifulSoup]) -> None:
    formulas = {page.stem: len(soup.find_all("math")) for page, soup in pages.items()}
    written = ("01_brain_responses", "03_guided_training", "13_manifold_guidance", "19_training_and_certificates")
    assert [name for name in written if not formulas[name]] == []


def test_no_answer_of_the_instructors_is_shown(pages: dict[Path, BeautifulSoup]) -> None:
    told = {page.stem: soup.get_text() for page, soup in pages.items() if page.parent.name == "notebooks"}
    assert len(told) > 20
    assert [name for name, text in told.items() if "For instructors: answers" in text] == []


# --- in a browser -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    silent = type("Silent", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(silent, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def opened(browser: Browser, address: str, width: int = 1366, theme: str = "light") -> tuple[Page, list[str]]:
    """A page that loads from one place only, and the list of all that was asked of another, or went wrong."""
    page = browser.new_page(viewport={"width": width, "height": 850}, color_scheme=theme)
    faults: list[str] = []

    def guard(route: Route) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            faults.append(route.request.url)
            route.abort()

    page.route("**/*", guard)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda answer: faults.append(answer.url) if answer.status >= 400 else None)
    return page, faults


@pytest.mark.browser
@pytest.mark.parametrize("name", LOOKED_AT)
def test_no_other_host_is_asked_and_a_phone_shows_the_whole_width(browser: Browser, address: str, name: str) -> None:
    page, faults = opened(browser, address, width=390)
    page.goto(address + name)
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
    texts = page.locator(":is(main p, main li, main h1, main h2):not(:is(table, pre, .chart) *):visible")
    assert texts.evaluate_all(CUT) == []
    assert faults == []
    page.close()


@pytest.mark.browser
def test_a_thumb_hits_every_control(browser: Browser, address: str) -> None:
    page = browser.new_page(**PHONE)
    for name in (*LOOKED_AT, "search.html"):
        page.goto(address + name)
        assert page.locator(TOUCHED).evaluate_all(MISSED) == [], name
    page.goto(f"{address}questions.html")
    page.locator(".primary-toggle:visible").tap()
    menu = page.locator("dialog[open] :is(a, button)")
    menu.get_by_text("Gallery").wait_for()
    assert menu.evaluate_all(MISSED) == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", ["index.html", "docs/notebooks.html", "explorers-page.html"])
def test_the_words_of_a_picture_are_readable_on_a_phone(browser: Browser, address: str, name: str) -> None:
    page = browser.new_page(**PHONE)
    page.goto(address + name)
    pictures = page.locator(".bd-article img")
    pictures.last.scroll_into_view_if_needed()
    shown = "all => all.map((one) => [one.width / one.naturalWidth, one.parentElement.clientWidth < 390])"
    assert set(map(tuple, pictures.evaluate_all(shown))) == {(1, True)}
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", LOOKED_AT)
def test_everyone_can_read_it(browser: Browser, address: str, name: str, theme: str) -> None:
    page, _ = opened(browser, address, theme=theme)
    page.goto(address + name)
    assert page.locator("html").get_attribute("data-theme") == theme
    found = Axe().run(page, options=RULES).response["violations"]
    told = [(each["id"], node["target"], node["failureSummary"]) for each in found for node in each["nodes"]]
    assert told == []
    page.close()


@pytest.mark.browser
def test_a_figure_is_drawn_scrolls_in_its_box_and_uploads_nothing(browser: Browser, address: str) -> None:
    page, faults = opened(browser, address)
    page.goto(f"{address}notebooks/{SHOWN}.html#figure-1")
    chart = page.locator("#figure-1")
    chart.locator(".gtitle").wait_for()
    assert chart.locator(".gtitle").text_content() == "Does it rise?"
    assert chart.evaluate("box => box.scrollWidth > box.clientWidth"), "1,400 pixels need more than the page has"
    buttons = chart.locator(".modebar-btn").evaluate_all("all => all.map((one) => one.dataset.title + one.tabIndex)")
    assert len(buttons) > 1
    assert not [told for told in buttons if re.search("share|cloud|edit", told, re.IGNORECASE)]
    assert all(told.endswith("-1") for told in buttons), "a chart is one stop of the Tab key"
    assert faults == []
    page.close()


@pytest.mark.browser
def test_the_gallery_draws_and_leads_to_the_place(browser: Browser, address: str) -> None:
    page, faults = opened(browser, address)
    page.goto(f"{address}gallery.html")
    card = page.locator(".card-link").first
    card.locator(".main-svg").first.wait_for()
    box, drawn = card.bounding_box(), card.locator(".chart-area").bounding_box()
    assert box
    assert drawn
    assert drawn["x"] >= box["x"] - 1
    assert drawn["x"] + drawn["width"] <= box["x"] + box["width"] + 1
    card.click()
    page.locator("#figure-1 .gtitle").wait_for()
    assert faults == []
    page.close()


@pytest.mark.browser
def test_search_finds_without_a_server(browser: Browser, site: Path) -> None:
    root = site.as_uri() + "/"
    page, faults = opened(browser, root)
    page.goto(f"{root}search.html?q=ceiling")
    page.locator('#search-results a[href*="01_brain_responses"]').first.wait_for()  # results come one by one
    assert faults == []
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", LOOKED_AT)
def test_first_paint_is_quick_from_disk(browser: Browser, site: Path, name: str) -> None:
    """The best of three: other tests run beside it."""
    page, faults = opened(browser, site.as_uri() + "/")
    paints = []
    for _ in range(3):
        page.goto((site / name).as_uri())
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    assert min(paints) < 2000
    assert faults == []
    page.close()
