"""The explorers of notebooks 14, 15 and 18 in a real browser, in JupyterLab or as apps: they say what is computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from conftest import ROIS, Project, app

from nbtools.data.brains.anatomy import centre_of, load_volume
from nbtools.data.study import open_study
from nbtools.runs import folders
from nbtools.widgets import brain_state, comparison_state, geometry_state, study_state
from nbtools.widgets.brain_state import BrainTables
from nbtools.widgets.geometry_state import SpaceTables

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser]
Open = Callable[[str], "Locator"]


@pytest.fixture
def opened(
    request: pytest.FixtureRequest, page: Page, project: Project, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Open a notebook in JupyterLab or as an app, run it, and return its explorers."""
    monkeypatch.setenv("NBTOOLS_HOME", str(project.folder))
    lab = request.getfixturevalue("lab") if request.param == "jupyterlab" else None
    servers = ExitStack()

    def explorers(notebook: str) -> Locator:
        if lab:
            lab.run(page, f"{notebook}.ipynb")
        else:
            page.goto(servers.enter_context(app(project, notebook)), timeout=120_000)
        found = page.locator(".nbtools-explorer:not(.nbtools-game)")
        found.last.locator(".gtitle").first.wait_for()
        if lab:
            page.get_by_text("| Idle").first.wait_for()
        return found

    with servers:
        yield explorers
        page.goto("about:blank")  # before the server stops, or the page would miss it


def point(page: Page, figure: Locator, axes: int, x: float, y: float) -> None:
    """Move the mouse to a place of a subplot, in its own coordinates."""
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    right, down = figure.evaluate(
        """(figure, [axes, x, y]) => {
            const { [`xaxis${axes}`]: across, [`yaxis${axes}`]: up } = figure._fullLayout;
            return [across._offset + across.l2p(x), up._offset + up.l2p(y)];
        }""",
        [axes if axes > 1 else "", x, y],
    )
    assert box
    page.mouse.move(box["x"] + right, box["y"] + down, steps=4)


def says_what_it_is(explorer: Locator, name: str) -> None:
    """A title, what to do, a lamp; and the page scrolls, but nothing inside it."""
    from playwright.sync_api import expect

    expect(explorer.get_by_role("heading", name=name)).to_be_visible()
    expect(explorer.locator(".nbtools-head p")).to_contain_text(re.compile("Click|Choose"))
    expect(explorer.locator(".nbtools-lamp")).to_have_text("live")
    assert explorer.evaluate(SCROLLERS) == []


SCROLLERS = """(explorer) => {
    const output = explorer.closest(".jp-OutputArea-output") ?? explorer;
    return [output, ...explorer.querySelectorAll(":not(select, option, svg *)")].filter((part) => {
        const { overflowX, overflowY } = getComputedStyle(part);
        const down = /auto|scroll/.test(overflowY) && part.scrollHeight > part.clientHeight + 1;
        return down || (/auto|scroll/.test(overflowX) && part.scrollWidth > part.clientWidth + 1);
    }).map((part) => part.className);
}"""


def table(notebook: str, name: str, **own: object) -> pd.DataFrame:
    return folders.find(notebook, "tiny", **own).table(name)


# One in JupyterLab, one as an app; the attack explorer is always tried in both, and with it what they share.
@pytest.mark.parametrize("opened", ["jupyterlab", pytest.param("app", marks=pytest.mark.long)], indirect=True)
def test_regions_are_chosen_by_keys_and_clicks_and_images_compared(opened: Open, page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    views = opened("14_brain_and_geometry")
    expect(views).to_have_count(2)
    source = open_study("tiny")
    volume = load_volume(source.nsd, source.subject, ROIS)
    voxels, pattern = (
        pd.concat(table("02_neural_predictors", name, roi=roi) for roi in ROIS) for name in ("voxels", "pattern_r")
    )
    found = table("14_brain_and_geometry", "drive")
    tables = BrainTables(table("01_brain_responses", "noise_ceilings"), voxels, pattern, found)

    says_what_it_is(views.nth(0), "Brain view")
    says_what_it_is(views.nth(1), "Geometry explorer")
    brain, state = views.nth(0), brain_state.pick_region(volume, "TO")
    said = brain.get_by_role("status").first
    expect(said).to_have_text(brain_state.describe(volume, tables, state))
    brain.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "brain.png")
    brain.get_by_label("region", exact=True).press("ArrowUp")
    state = brain_state.pick_region(volume, "V1")
    expect(said).to_have_text(brain_state.describe(volume, tables, state))
    histogram = "(figure) => figure.data.some((trace) => trace.type === 'histogram' && trace.name === 'V1')"
    page.wait_for_function(histogram, arg=brain.locator(".js-plotly-plot").first.element_handle())
    brain.get_by_role("slider").first.press("ArrowRight")
    state = brain_state.pick_voxel(volume, state, (state.at[0] + 1, None, None))
    expect(said).to_have_text(brain_state.describe(volume, tables, state))
    i, j, _ = centre_of(volume, "TO")
    point(page, brain.locator(".js-plotly-plot").first, 3, i, j)
    page.mouse.down()
    page.mouse.up()
    state = brain_state.pick_voxel(volume, state, (i, j, None))
    expect(said).to_have_text(brain_state.describe(volume, tables, state))
    names = [f"image {i}" for i in brain_state.extremes(found[found["roi"] == state.roi])["image_id"]]
    shown = brain.locator("figure img")
    assert [alt.split(":")[0] for alt in shown.evaluate_all("all => all.map((image) => image.alt)")] == names

    geometry = views.nth(1)
    spaces = SpaceTables(*(table("14_brain_and_geometry", n) for n in ("rdms", "maps", "components", "manifolds")))
    geometry_shows = geometry_state.first_state(spaces)
    words = geometry.get_by_role("status")
    expect(words.first).to_have_text(geometry_state.describe_pair(spaces, geometry_shows))
    geometry.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "geometry.png")
    point(page, geometry.locator(".js-plotly-plot").first, 1, 7, 3)
    geometry_shows = geometry_state.pick_pair(spaces, geometry_shows, 3, 7)
    expect(words.first).to_have_text(geometry_state.describe_pair(spaces, geometry_shows))
    expect(geometry.get_by_label("second image")).to_have_value("7")
    geometry.get_by_label("right", exact=True).press("ArrowUp")
    names = list(spaces.spaces)
    geometry_shows = replace(geometry_shows, right=names[names.index(geometry_shows.right) - 1])
    expect(words.nth(1)).to_have_text(geometry_state.describe_spaces(spaces, geometry_shows))
    expect(geometry.locator(".js-plotly-plot").first).to_contain_text(geometry_shows.right)


@pytest.mark.parametrize("opened", [pytest.param("jupyterlab", marks=pytest.mark.long), "app"], indirect=True)
def test_runs_are_filtered_and_the_hierarchy_follows(opened: Open, page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    explorer = opened("15_study_explorer").first
    says_what_it_is(explorer, "Study explorer")
    explorer.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "study.png")
    rows = explorer.locator(".nbtools-table tbody tr")
    expect(rows).to_have_count(3)
    words = explorer.get_by_label("words", exact=True)
    words.fill("TO")
    words.press("Enter")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("TO")
    expect(explorer.locator(".gtitle").first).to_contain_text("Training of 1 network (")
    words.fill("no such run")
    words.press("Enter")
    expect(rows).to_have_count(0)
    words.fill("")
    words.press("Enter")
    explorer.get_by_label("notebook", exact=True).press("ArrowDown")
    expect(rows.first).to_contain_text("04_adversarial_attacks")

    found = study_state.all_runs("tiny")
    said = explorer.get_by_role("status").last
    for key, level in (("ArrowUp", 0), ("ArrowDown", 1)):
        explorer.get_by_label("ε", exact=True).press(key)
        epsilon = study_state.hierarchy_options(found)["epsilon"][level]
        chosen = study_state.HierarchyChoice(0.9, (0,), "LinfPGD", epsilon)
        accuracy, _ = study_state.hierarchy_of(found, chosen)
        expect(said).to_contain_text(study_state.describe_hierarchy(accuracy, chosen))


@pytest.mark.parametrize("opened", ["jupyterlab"], indirect=True)
def test_two_lists_choose_the_axes_of_the_comparison(opened: Open, page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    explorer = opened("18_compare_networks").last
    scores = table("18_compare_networks", "compared", networks="none V1 TO")
    measures, (x, y) = comparison_state.measures_in(scores), comparison_state.first_axes(scores)
    figure, words = explorer.locator(".js-plotly-plot"), explorer.get_by_role("status").last
    rows = explorer.locator(".nbtools-scores tbody tr")
    expect(rows).to_have_count(3)
    expect(words).to_have_text(comparison_state.describe_pair(scores, x, y))
    explorer.get_by_label("horizontal", exact=True).press("ArrowDown")
    x = measures[measures.index(x) + 1]
    expect(words).to_have_text(comparison_state.describe_pair(scores, x, y))
    explorer.get_by_label("vertical", exact=True).press("ArrowUp")
    y = measures[measures.index(y) - 1]
    expect(words).to_have_text(comparison_state.describe_pair(scores, x, y))
    expect(figure.locator(".xtitle")).to_contain_text(x)
    expect(figure.locator(".ytitle")).to_contain_text(y)
    expect(figure.locator(".scatterlayer .trace")).to_have_count(3)
    explorer.get_by_label("sorted by", exact=True).select_option("gradient, clean")
    ranked = scores[scores["measure"] == "gradient, clean"].sort_values("score", ascending=False)["condition"]
    for place, name in enumerate(ranked):
        expect(rows.nth(place)).to_contain_text(name)
    explorer.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "comparison.png", full_page=True)
