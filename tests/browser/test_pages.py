"""A figure's page where it was saved, and copied to another place: it draws, or says what it lacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import plotly.graph_objects as go
import pytest
from conftest import BROWSER
from playwright.sync_api import sync_playwright

from nbtools.data import make_study
from nbtools.runs import folders

pytestmark = [pytest.mark.browser]


def test_a_figure_is_never_a_blank_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if BROWSER is None:
        pytest.skip("needs chromium or google-chrome on the PATH")
    monkeypatch.setenv("NBTOOLS_HOME", str(tmp_path))
    make_study(tmp_path / "data/derived/tiny", profile="tiny")
    run = folders.start("10_summary", {**folders.defaults("10_summary"), "study": "tiny"})
    run.save_figure("curve", go.Figure(go.Scatter(y=[1, 2]), {"title": {"text": "ε, √n"}}))
    alone = Path(shutil.copy(run.folder / "curve.html", tmp_path / "copied.html"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto((run.folder / "curve.html").as_uri())
        assert page.locator(".gtitle").text_content() == "ε, √n"
        page.locator(".js-plotly-plot").hover()
        with page.expect_download() as saved:
            page.locator('[data-attr="toimage"], [data-title*="ownload"]').first.click()
        assert saved.value.suggested_filename == "curve.svg"
        assert "</svg>" in Path(saved.value.path()).read_text(encoding="utf-8")
        page.goto(alone.as_uri())
        page.get_by_text("copy that file beside this one").wait_for()
        shutil.copy(tmp_path / "runs/plotly.min.js", tmp_path)
        page.goto(alone.as_uri())
        page.locator(".gtitle").wait_for()
        browser.close()
