"""A newcomer opens a notebook in JupyterLab, in a real browser, runs all of it, looks at the figures and saves it."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nbtools.conditions import CONDITIONS, MEANING, parse_condition
from nbtools.runs import folders, provenance

if TYPE_CHECKING:
    from conftest import Lab
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser]
NOTEBOOK = "00_start_here.ipynb"


def test_the_first_notebook_runs_from_top_to_bottom(lab: Lab, page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    lab.run(page, NOTEBOOK)

    # The last table: which notebooks have finished runs.
    table = page.locator(".jp-RenderedHTMLCommon table", has_text="finished runs")
    expect(table).to_contain_text("10_summary", timeout=120_000)
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
        figure.hover()
        for button in figure.locator(".modebar-btn").all()[:-1]:  # the last is plotly's name, a link to its page
            assert "Share" not in str(button.get_attribute("data-title"))
            button.click()  # and nothing is asked of another machine
        page.screenshot(path=tmp_path / f"{said.split()[0].lower()}.png")
    longest = max((MEANING[parse_condition(name).kind] for name in CONDITIONS), key=len)
    expect(page.get_by_role("cell", name=longest, exact=True).first).to_be_visible()
    expect(page.get_by_role("link", name="glossary", exact=True)).to_be_visible()
    answers = page.locator(".jp-MarkdownCell details")
    expect(answers.locator("ol")).to_be_hidden()
    answers.locator("summary").click()
    expect(answers.locator("ol")).to_be_visible()
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
    assert provenance.code_digest(lab.notebooks / NOTEBOOK) == provenance.code_digest(folders.NOTEBOOKS / NOTEBOOK)


def _saved(file: Path, seconds: float = 20) -> list[dict]:
    """Return the code cells once JupyterLab has written them; while it does, the file is not whole."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(json.JSONDecodeError):
            cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
            if all(cell["execution_count"] for cell in cells):
                return cells
        time.sleep(0.25)
    pytest.fail("the notebook was not saved")
