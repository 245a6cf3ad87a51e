"""A newcomer opens a notebook in JupyterLab, in a real browser, runs all of it, looks at the figures and saves it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nbtools import provenance, runs

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH"),
]
TOKEN = "a-token-of-this-test"
NOTEBOOK = "00_start_here.ipynb"
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # keep cells that are out of view in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # no pop-up, no network
}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    address: str
    notebooks: Path

    def url(self, notebook: str) -> str:
        return f"{self.address}/lab/tree/{notebook}?token={TOKEN}&reset"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_study: Path) -> Iterator[Lab]:
    """JupyterLab on a copy of the notebooks (it saves what it runs), with a home, settings and study of its own."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(tiny_study.parent, home / "data/derived/tiny")
    shutil.copytree(runs.NOTEBOOKS, home / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    first = home / "notebooks" / NOTEBOOK
    first.write_text(first.read_text().replace(r"study: str = \"demo\"", r"study: str = \"tiny\""))
    for name, setting in SETTINGS.items():
        file = home / f"config/lab/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", *root]
    command += [f"--IdentityProvider.token={TOKEN}", f"--notebook-dir={home / 'notebooks'}"]
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "share", "JUPYTER_RUNTIME_DIR": "runtime"}
    environment = {**os.environ, "NBTOOLS_HOME": str(home), **{name: str(home / to) for name, to in places.items()}}
    log = home / "lab.log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        _wait(f"http://127.0.0.1:{port}/api?token={TOKEN}", server, log)
        yield Lab(f"http://127.0.0.1:{port}", home / "notebooks")
    finally:
        server.terminate()
        server.wait(timeout=20)


def _wait(address: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture
def page(lab: Lab) -> Iterator[Page]:
    """A page of a browser; the test fails if a script on it does."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        browser.close()
    assert errors == []


def test_the_first_notebook_runs_from_top_to_bottom(lab: Lab, page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page.goto(lab.url(NOTEBOOK))
    page.get_by_text("| Idle").first.wait_for(timeout=90_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()

    # The last table: which notebooks have finished runs.
    table = page.locator(".jp-RenderedHTMLCommon table", has_text="finished runs")
    expect(table).to_contain_text("10_summary", timeout=60_000)
    page.get_by_text("| Idle").first.wait_for()

    figures = page.locator(".js-plotly-plot")
    expect(figures).to_have_count(3)
    for figure, said in zip(figures.all(), ("Scanner images", "Images to classify", "Cue conflict"), strict=True):
        figure.scroll_into_view_if_needed()
        title = figure.locator(".gtitle")
        expect(title).to_be_visible()
        expect(title).to_contain_text(said)
        expect(title).to_contain_text("(tiny study, simulated)")
        expect(figure.locator("image").first).to_be_visible()
        page.screenshot(path=tmp_path / f"{said.split()[0].lower()}.png")
    table.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "end.png")

    page.keyboard.press("ControlOrMeta+s")
    saved = _saved(lab.notebooks / NOTEBOOK)
    assert [cell["execution_count"] for cell in saved] == list(range(1, len(saved) + 1))
    outputs = [output for cell in saved for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]

    # What the cells left behind, and that saving did not undo it.
    (folder,) = (lab.notebooks.parent / "runs/tiny/00_start_here").iterdir()
    assert (folder / "run.json").exists()
    assert provenance.code_digest(lab.notebooks / NOTEBOOK) == provenance.code_digest(runs.NOTEBOOKS / NOTEBOOK)


def _saved(file: Path, seconds: float = 20) -> list[dict]:
    """Return the code cells once JupyterLab has written them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
        if all(cell["execution_count"] for cell in cells):
            return cells
        time.sleep(0.25)
    pytest.fail("the notebook was not saved")
