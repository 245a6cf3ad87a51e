"""A figure's files and a report: each opens alone, offline, in a window of any size, in the dark, and on paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from conftest import chromium
from PIL import Image

from nbtools import plots
from nbtools.data import make_study
from nbtools.plots.style import new_figure
from nbtools.runs import folders
from nbtools.runs.figures import LATER

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page(offline=True)


def test_a_figure_opens_alone_and_is_drawn_for_papers(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido")
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    monkeypatch.delenv(LATER)
    make_study(tmp_path / "data/derived/tiny", profile="tiny")
    run = folders.start("10_summary", {**folders.defaults("10_summary"), "study": "tiny"})
    run.save_figure("curve", new_figure("ε, √n", "x", "y").add_scatter(y=[1, 2]))
    (tmp_path / "elsewhere").mkdir()
    page.goto(Path(shutil.copy(run.folder / "curve.html", tmp_path / "elsewhere")).as_uri())
    assert page.locator(".gtitle").text_content() == "ε, √n"
    page.locator(".js-plotly-plot").hover()
    with page.expect_download() as saved:
        page.locator('[data-attr="toimage"], [data-title*="ownload"]').first.click()
    assert saved.value.suggested_filename == "curve.svg"
    assert "</svg>" in Path(saved.value.path()).read_text(encoding="utf-8")
    assert Image.open(run.folder / "curve.png").size == (2000, 1000)
    assert "ε, √n" in (run.folder / "curve.svg").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report with a figure and a table of long words."""
    figure = new_figure("Accuracy", "ε", "accuracy").add_scatter(y=[1, 2])
    runs = pd.DataFrame({"subject": ["demo"], "folder": ["all_rois=none-random-V1-shuffle-TO-shuffle_" * 3]})
    sections = [("Which runs", "Networks.", runs), ("The hierarchy", "Bars.", figure)]
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(
        plots.report("Does it rise?", sections, ["It rises: +0.02.", "Above 2.", "Clean."]), encoding="utf-8"
    )
    return file.as_uri()


@pytest.mark.parametrize("width", [390, 700, 1920])
def test_a_report_is_read_at_any_width(page: Page, report: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(report)
    page.locator(".gtitle").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "no line goes beyond the window"
    shown = page.locator(".js-plotly-plot").bounding_box()
    assert shown
    assert shown["width"] >= min(max(700, width - 40), 1080), "on a phone it scrolls by itself, else it fills the page"
    assert page.locator(".answer p").all_text_contents() == ["It rises: +0.02.", "Above 2.", "Clean."]
    answer, first = (page.locator(name).first.bounding_box() for name in (".answer", "h2"))
    assert answer["y"] < min(first["y"], 300)


def test_a_report_follows_the_readers_theme_and_its_figures_stay_on_white(page: Page, report: str) -> None:
    page.goto(report)
    papers = {}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        papers[theme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        svg = page.locator("svg.main-svg").first
        assert svg.evaluate("(drawn) => getComputedStyle(drawn).backgroundColor") == "rgb(255, 255, 255)"
    assert papers == {"light": "rgb(255, 255, 255)", "dark": "rgb(25, 27, 30)"}


def test_a_reports_figures_are_as_wide_as_the_paper_when_it_is_printed(page: Page, report: str) -> None:
    page.set_viewport_size({"width": 1900, "height": 800})
    page.emulate_media(color_scheme="dark", media="print")
    page.goto(report)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    widths = {}
    for event in ("beforeprint", "afterprint"):
        page.evaluate(f"dispatchEvent(new Event('{event}'))")
        page.wait_for_timeout(500)
        widths[event] = page.evaluate("document.querySelector('.js-plotly-plot')._fullLayout.width")
    page.emulate_media(media="screen")
    assert widths["beforeprint"] <= 680 < widths["afterprint"]
