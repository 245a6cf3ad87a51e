"""The static pages in a real browser, opened from a disk: they show what is in the runs and what explorers compute."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from conftest import MISSED, PHONE, TOUCHED, chromium

from nbtools import metrics
from nbtools.data.images.classified import load_test_images
from nbtools.data.images.labels import load_labels
from nbtools.data.images.sets import ImageSet
from nbtools.data.study import open_study
from nbtools.models.networks import load_model
from nbtools.runs import folders
from nbtools.widgets import geometry_state, study_state, write_pages
from nbtools.widgets.attack_state import Bench, Choice
from nbtools.widgets.attack_view import view
from nbtools.widgets.geometry_state import SpaceTables
from nbtools.widgets.static import _page

if TYPE_CHECKING:
    from conftest import Project, Watch
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
N_IMAGES, WIDTHS = 4, (390, 768, 1366, 1920)
DRAWN = {  # what is there once a page has drawn
    "index": "#study svg .mark",
    "attack": "#standing .mark",
    "geometry": "#space-left-map image",
    "study": "#attacked .mark",
}
FILTERS = (
    ("03_guided_training", "TO"),
    ("all", "TO seed=0"),
    ("04_adversarial_attacks", "none alpha=0.9"),
    ("all", "no"),
)


@pytest.fixture(scope="module")
def pages(project: Project) -> Iterator[Path]:
    """The pages of the tiny study; its spaces are invented, of scanner images that there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBTOOLS_HOME", str(project.folder))
        _lay_out()
        write_pages(project.folder / "pages", "tiny", N_IMAGES)
        yield project.folder / "pages"


def _lay_out() -> None:
    """Leave what notebook 14 does."""
    rng, source = np.random.default_rng(0), open_study("tiny")
    labels = load_labels(source)
    ids = labels.index.to_numpy()[:40]
    spaces = {name: rng.random((len(ids), 12)) for name in ("measured TO", "pooled none", "pooled TO")}
    run = folders.start("14_brain_and_geometry", {**folders.defaults("14_brain_and_geometry"), "study": "tiny"})
    rdms, maps = metrics.rdm_tables(spaces, ids, order=ids[:20])
    clouds = metrics.manifold_tables(spaces, ids, labels.loc[ids].to_numpy(), 0)
    run.save({"rdms": rdms, "maps": maps, "components": clouds[0], "manifolds": clouds[1]}, {})
    run.finish()


@pytest.fixture
def opened(page: Page, pages: Path, watch: Watch) -> Iterator[Page]:
    """A page that may ask for what lies beside it, and for nothing else."""
    yield page
    page.goto("about:blank")
    assert watch.strangers
    watch.strangers[:] = [url for url in watch.strangers if not url.startswith(pages.as_uri())]


def visit(page: Page, pages: Path, name: str, **chosen: object) -> None:
    page.goto("about:blank")
    page.goto(f"{(pages / name).as_uri()}.html#" + "&".join(f"{key}={value}" for key, value in chosen.items()))


def pixels(page: Page, panel: str, which: int) -> np.ndarray:
    """What a picture of a network holds, (height, width, 3)."""
    code = """([panel, which]) => {
        const canvas = document.querySelectorAll(`#panel-${panel} canvas`)[which];
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
    }"""
    return np.array(page.evaluate(code, [panel, which])).reshape(32, 32, 4)[..., :3]


def right_at(bench: Bench, images: ImageSet, name: str, level: float) -> int:
    """How many images a network still names rightly."""
    paths = [bench.paths(Choice(str(image), (name,), "LinfFGSM"))[name] for image in images.ids]
    said = [path.predictions[path.levels.index(level)] for path in paths]
    return int((torch.stack(said) == images.labels).sum())


@pytest.mark.parametrize("name", ["index", "attack", "geometry", "study"])
def test_data_that_are_missing_or_cut_are_said_on_the_page(name: str, page: Page, watch: Watch, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    source = SimpleNamespace(name="tiny", title="tiny", simulated=True)
    (tmp_path / f"{name}.html").write_text(_page(name, source), encoding="utf-8")
    (tmp_path / "data").mkdir()
    for content in (None, "", 'take("', 'take("another",{"arrays":{}},"");'):
        for file in ("attack", "geometry", "study") if content is not None else ():
            (tmp_path / "data" / f"{file}.js").write_text(content, encoding="utf-8")
        page.goto("about:blank")
        page.goto((tmp_path / f"{name}.html").as_uri())
        said = "missing" if content is None else "damaged"
        expect(page.locator("main .alert").first).to_contain_text(f"is {said}: copy the folder as a whole")
    watch.errors.clear()
    watch.strangers.clear()


def test_all_pages_draw_at_any_width_in_both_themes(opened: Page, pages: Path, tmp_path: Path) -> None:
    files = [file for file in pages.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 15e6
    assert not [file.name for file in files if re.search(rb"https?://(?!www\.w3\.org/)", file.read_bytes())]
    for name, drawn in DRAWN.items():
        visit(opened, pages, name)
        opened.locator(drawn).first.wait_for(state="attached")
        assert "simulated" in opened.locator("header").inner_text()
        for theme in ("light", "dark"):
            opened.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            for width in WIDTHS:
                opened.set_viewport_size({"width": width, "height": 800})
                opened.wait_for_timeout(100)
                assert opened.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
                opened.screenshot(path=tmp_path / f"{name}-{theme}-{width}.png", full_page=True)


def test_a_thumb_hits_every_control(pages: Path) -> None:
    with chromium() as browser:
        phone = browser.new_page(**PHONE)
        for name, drawn in DRAWN.items():
            visit(phone, pages, name)
            phone.locator(drawn).first.wait_for(state="attached")
            assert phone.locator(TOUCHED).evaluate_all(MISSED) == [], name
            assert phone.evaluate("document.documentElement.scrollWidth") == 390, name


def test_dragging_shows_what_the_explorer_and_the_runs_say(opened: Page, pages: Path) -> None:
    from playwright.sync_api import expect

    images = load_test_images(open_study("tiny"), N_IMAGES)
    found = {name: folders.find("03_guided_training", "tiny", roi=name) for name in ("none", "TO")}
    networks = {name: load_model(run.folder) for name, run in found.items()}
    bench = Bench(networks, images)
    chosen = str(images.ids[1])
    for name in networks:
        for image in images.ids:
            bench.compute(Choice(str(image), (name,), "LinfFGSM"), name)
    visit(opened, pages, "attack", image=chosen, a="none", b="TO", attack="LinfFGSM", e="0")
    slider = opened.get_by_role("slider", name="ε", exact=True)
    seen = view(bench, Choice(chosen, ("none", "TO"), "LinfFGSM"))
    for at, level in enumerate(seen.levels):
        expect(slider).to_have_attribute("aria-valuetext", seen.budgets[at])
        expect(opened.locator(".verdict")).to_have_text([panel.verdicts[at] for panel in seen.panels])
        expect(opened.locator(".flip")).to_have_text([panel.flip for panel in seen.panels])
        for letter, panel in zip("ab", seen.panels, strict=True):
            assert np.abs(pixels(opened, letter, 0) - panel.after[at].astype(int)).max() <= 1
            path = bench.paths(Choice(chosen, (panel.network,), "LinfFGSM"))[panel.network]
            change = (path.pixels[path.levels.index(level)] - path.pixels[0]).permute(1, 2, 0).numpy()
            shown = np.clip(127.5 + seen.amplify * 255 * change, 0, 255)
            assert (
                np.abs(pixels(opened, letter, 1) - shown).max() <= seen.amplify / 2 + 1
            )  # half a grey level, amplified
        standing = {name: right_at(bench, images, name, level) for name in networks}
        told = f"of {N_IMAGES} images still stand: {standing['none']} in none, {standing['TO']} in TO."
        expect(opened.locator("#count")).to_contain_text(told)
        slider.press("ArrowRight")

    decisions = {name: folders.find("04_adversarial_attacks", "tiny", roi=name).table("decisions") for name in networks}
    for level in (2, 4):
        visit(opened, pages, "attack", a="none", b="TO", attack="LinfPGD", e=level)
        for name, table in decisions.items():
            at = table[np.isclose(table["epsilon"], level / 255)]
            share = (at["prediction"] == at["label"]).mean()
            expect(opened.locator("#count")).to_contain_text(f"{name} {100 * share:.1f}% of {len(at)}")


def test_a_view_is_in_the_address_and_keys_reach_everything(opened: Page, pages: Path) -> None:
    from playwright.sync_api import expect

    visit(opened, pages, "attack", a="V1", attack="no such attack")
    expect(opened.get_by_label("attack", exact=True)).to_have_value("LinfPGD")
    tray = opened.get_by_role("radio")
    tray.first.focus()
    opened.keyboard.press("ArrowRight")
    expect(tray.nth(1)).to_be_focused()
    expect(tray.nth(1)).to_have_attribute("aria-checked", "true")
    assert opened.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    opened.get_by_role("slider").press("End")
    expect(opened.locator("#budget")).to_have_text("ε = 16/255")
    opened.wait_for_function("location.hash.includes('e=16')")
    opened.reload()
    expect(opened.locator("#budget")).to_have_text("ε = 16/255")
    expect(opened.get_by_label("network", exact=True)).to_have_value("V1")
    expect(tray.nth(1)).to_have_attribute("aria-checked", "true")

    for name in ("attack", "geometry", "study"):
        visit(opened, pages, name)
        opened.locator(".chart .mark, .chart image").first.wait_for(state="attached")
        assert opened.locator(".chart :is(a, button, [tabindex])").count() == 0
        nameless = """[...document.querySelectorAll("select, input, button, svg[role=img], canvas")].filter((node) =>
            !node.ariaLabel && !node.textContent && !node.labels?.length && node.ariaHidden !== "true").length"""
        assert opened.evaluate(nameless) == 0


def test_a_step_of_epsilon_is_drawn_at_once(opened: Page, pages: Path) -> None:
    visit(opened, pages, "attack")
    opened.locator("#standing .mark").first.wait_for(state="attached")
    code = """async () => {
        const [slider, times] = [document.getElementById("level"), []];
        for (let step = 0; step < 50; step++) {
            const start = performance.now();
            slider.value = step % 14;
            slider.dispatchEvent(new Event("input"));
            document.body.getBoundingClientRect(); // laid out, too
            times.push(performance.now() - start);
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        }
        return times;
    }"""
    times = opened.evaluate(code)
    print(f"a step of ε: {statistics.median(times):.0f} ms at the median, {max(times):.0f} ms at most")
    assert statistics.median(times) <= 100


def test_spaces_and_pairs_are_those_of_the_explorer(opened: Page, pages: Path) -> None:
    from playwright.sync_api import expect

    run = folders.find("14_brain_and_geometry", "tiny")
    tables = SpaceTables(*(run.table(name) for name in ("rdms", "maps", "components", "manifolds")))
    state = geometry_state.first_state(tables)
    visit(opened, pages, "geometry")
    said = opened.locator("#pair-said")
    expect(said).to_have_text(geometry_state.describe_pair(tables, state))
    opened.get_by_label("left", exact=True).select_option("pooled none")
    box = opened.locator("#space-left canvas").first.bounding_box()
    assert box
    for row, column in ((3, 11), (11, 3), (19, 0), (5, 6)):
        opened.mouse.move(box["x"] + (column + 0.5) * box["width"] / 20, box["y"] + (row + 0.5) * box["height"] / 20)
        state = geometry_state.GeometryState("pooled none", tables.spaces[-1], row, column)
        expect(said).to_have_text(geometry_state.describe_pair(tables, state))
    rho = re.search(r"ρ = (\S+)\.", geometry_state.describe_spaces(tables, state))
    assert rho
    expect(opened.locator("#said")).to_contain_text(f"ρ = {rho[1]}")


def test_accuracy_and_runs_are_those_of_the_explorer(opened: Page, pages: Path) -> None:
    from playwright.sync_api import expect

    runs = study_state.all_runs("tiny")
    options = study_state.hierarchy_options(runs)
    visit(opened, pages, "study", e="2")
    for level in options["epsilon"]:
        chosen = study_state.HierarchyChoice(0.9, tuple(options["seeds"]), "worst case", level)
        accuracy, _ = study_state.hierarchy_of(runs, chosen)
        expect(opened.locator("#said")).to_contain_text(study_state.describe_hierarchy(accuracy, chosen))
        shares = metrics.at_epsilon(accuracy, level).set_index("condition")["accuracy"]
        label = opened.locator("#attacked svg")
        for name, share in shares.items():
            expect(label).to_have_attribute("aria-label", re.compile(rf"{name} {100 * share:.1f}%"))
        opened.get_by_role("slider").press("ArrowRight")
    rows = opened.locator("#runs tbody tr")
    expect(rows).to_have_count(3)
    for notebook, words in FILTERS:
        opened.get_by_label("notebook", exact=True).select_option(notebook)
        opened.get_by_label("words", exact=True).fill(words)
        expect(rows).to_have_count(len(study_state.filtered(runs, notebook, words)))
