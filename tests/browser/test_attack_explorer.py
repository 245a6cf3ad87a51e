"""The attack explorer in a real browser, in JupyterLab and as an app: the page shows what the library computes."""

from __future__ import annotations

import base64
import io
import re
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from nbtools.attacks.meaning import MEANING
from nbtools.data.images.sets import choose_rows, load_folder
from nbtools.models.networks import load_model
from nbtools.widgets.attack_class import class_view
from nbtools.widgets.attack_paths import LEVELS
from nbtools.widgets.attack_state import CLASS, Bench, Choice
from nbtools.widgets.attack_view import view

if TYPE_CHECKING:
    from conftest import Lab, Project, Watch
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser]
NOTEBOOK = "05_attack_explorer.ipynb"


@pytest.fixture(scope="module")
def bench(project: Project) -> Bench:
    """What the notebook explores, loaded here."""
    images = load_folder(project.folder / "data/derived/tiny/classification/val", 32)
    folders = project.folder / "runs/tiny/03_guided_training"
    networks = {name: load_model(next(folders.glob(f"{name}_*"))) for name in ("none", "TO", "V1")}
    return Bench(networks, images[choose_rows(len(images), 24)])


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    from conftest import app

    with app(project, "05_attack_explorer") as address:
        yield address


def computed(bench: Bench, **changes: object) -> Choice:
    choice = replace(Choice(str(bench.images.ids[0]), ("none", "TO")), **changes)
    for name in bench.missing(choice):
        bench.compute(choice, name)
    return choice


def stands_at(explorer: Locator, bench: Bench, level: float) -> int:
    """The page has drawn this ε, and its slider says so; return the place of ε."""
    from playwright.sync_api import expect

    at = (0.0, *bench.levels).index(level)
    expect(explorer.locator(".nbtools-stage")).to_have_attribute("data-drawn", re.compile(rf"\d+ {level:g}$"))
    slider = explorer.get_by_role("slider", name="ε", exact=True)
    expect(slider).to_have_attribute("aria-valuetext", f"{level:g}/255" if level else "clean")
    return at


def check(explorer: Locator, bench: Bench, level: float, **changes: object) -> None:
    """The page shows what the library computes: names, sentences, probabilities, and the pictures to the bit."""
    from playwright.sync_api import expect

    choice = computed(bench, level=level, **changes)
    seen = view(bench, choice)
    expect(explorer.locator(".aside h3 b")).to_have_text(list(choice.networks))
    expect(explorer.locator(".what")).to_contain_text(f"{choice.attack} on {choice.image}")
    at = stands_at(explorer, bench, level)
    expect(explorer.locator(".verdict")).to_have_text([panel.verdicts[at] for panel in seen.panels])
    expect(explorer.locator(".image .flips")).to_have_text([panel.flip for panel in seen.panels])
    shares = [f"{100 * share:.0f}%" for panel in seen.panels for share in panel.probabilities[at]]
    for there, here in zip(explorer.locator(".number").all_text_contents(), shares, strict=True):
        assert abs(int(there[:-1]) - int(here[:-1])) <= 1  # a half is rounded to either side
    clean = [seen.panels[0].after[0]] if len(seen.panels) == 1 else []
    wanted = [*clean, *(panel.after[at] for panel in seen.panels), *(panel.difference[at] for panel in seen.panels)]
    for there, here in zip(canvases(explorer), wanted, strict=True):
        assert np.abs(there.astype(int) - here).max() <= 1


def check_class(explorer: Locator, bench: Bench, level: float, **changes: object) -> None:
    """The class tab shows who stands, how many, and what the fallen are taken for."""
    from playwright.sync_api import expect

    seen = class_view(bench, computed(bench, level=level, tab=CLASS, **changes))
    n = len(seen.ids)
    expect(explorer.locator(".count").first).to_be_visible()
    at = stands_at(explorer, bench, level)
    expect(explorer.locator(".verdict")).to_have_text(
        [f"{panel.counts[at]} of {n} still stand" for panel in seen.panels]
    )
    expect(explorer.locator(".count b")).to_have_text([str(panel.counts[at]) for panel in seen.panels])
    tiles, fell = explorer.locator(".tile"), explorer.locator(".tile.fell")
    expect(tiles).to_have_count(n * len(seen.panels))
    expect(fell).to_have_count(sum(n - panel.counts[at] for panel in seen.panels))
    taken = [
        says
        for panel in seen.panels
        for says, stands in zip(panel.says[at], panel.stands[at], strict=True)
        if not stands
    ]
    assert [text for text in tiles.locator("span").all_text_contents() if text] == taken
    expect(explorer.get_by_text(seen.difference[at], exact=True)).to_be_visible()


def canvases(explorer: Locator) -> list[np.ndarray]:
    sources = explorer.locator(".frame canvas").evaluate_all("all => all.map((canvas) => canvas.toDataURL())")
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB")) for source in sources
    ]


def fits(page: Page, explorer: Locator, side: int) -> None:
    """Nothing scrolls, and the two pictures are so large, with their pixels whole."""
    sizes = (
        "() => { const { scrollHeight, scrollWidth } = document.scrollingElement; return [scrollHeight, scrollWidth]; }"
    )
    height, width = page.evaluate(sizes)
    screen = page.viewport_size
    assert screen
    assert height <= screen["height"]
    assert width <= screen["width"]
    for picture in explorer.locator(".card canvas").all()[:2]:
        box = picture.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= side
        assert box["y"] + box["height"] <= screen["height"]
        assert picture.evaluate("canvas => getComputedStyle(canvas).imageRendering") == "pixelated"


def drag(page: Page, explorer: Locator, places: int) -> None:
    """Drag ε by this many places with the mouse, from anywhere on the curves."""
    chart = explorer.get_by_role("slider")
    chart.scroll_into_view_if_needed()
    grip = chart.locator("circle").last.bounding_box()
    ticks = [text.bounding_box() for text in chart.locator("text[text-anchor=middle]").all()]
    at = int(chart.get_attribute("aria-valuenow") or 0)
    assert grip
    x, y = (ticks[at]["x"] + ticks[at]["width"] / 2), grip["y"] - 40  # type: ignore[index]
    target = ticks[at + places]
    assert target
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(target["x"] + target["width"] / 2, y, steps=8)
    page.mouse.up()


def drop(page: Page, explorer: Locator, name: str, data: bytes) -> None:
    transfer = page.evaluate_handle(
        """([name, data]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name));
            return transfer;
        }""",
        [name, base64.b64encode(data).decode()],
    )
    explorer.locator(".nbtools-stage").dispatch_event("drop", {"dataTransfer": transfer})


def png(colors: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(colors).save(buffer, format="png")
    return buffer.getvalue()


def explore(page: Page, explorer: Locator, bench: Bench, pictures: Path) -> None:
    """Everything a reader does, in JupyterLab and in the app alike."""
    from playwright.sync_api import expect

    check(explorer, bench, 2.0)
    page.screenshot(path=pictures / "start.png")
    expect(explorer.locator(".nbtools-lamp")).to_have_text("live")
    chips = explorer.locator(".chip")
    expect(chips).to_have_text(["none", "TO", "V1"])  # all trained networks
    drag(page, explorer, 3)
    check(explorer, bench, 5.7)
    explorer.get_by_role("slider").press("ArrowRight")
    check(explorer, bench, 8.0)

    chips.nth(1).click()
    check(explorer, bench, 8.0, networks=("none",))
    chips.nth(1).press("ArrowRight")
    page.keyboard.press("Enter")
    check(explorer, bench, 8.0, networks=("none", "V1"))  # loaded now
    chips.nth(0).click()
    chips.nth(1).click()
    check(explorer, bench, 8.0, networks=("V1", "TO"))
    chips.nth(2).click()
    chips.nth(0).click()
    both = {"networks": ("TO", "none")}
    check(explorer, bench, 8.0, **both)

    explorer.get_by_label("attack", exact=True).select_option("LinfFGSM")  # works in the background
    fooled = {"attack": "LinfFGSM", **both}
    check(explorer, bench, 8.0, **fooled)
    expect(explorer.locator(".line")).to_have_text(MEANING["LinfFGSM"])
    explorer.get_by_role("radio").first.press("ArrowRight")
    check(explorer, bench, 8.0, image=str(bench.images.ids[1]), **fooled)

    drop(page, explorer, "holiday.png", b"\x89PNG\r\n\x1a\n and then nothing")
    expect(explorer.get_by_role("alert")).to_contain_text("an image cannot be read")
    check(explorer, bench, 8.0, image=str(bench.images.ids[1]), **fooled)
    page.screenshot(path=pictures / "broken.png")
    own = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    drop(page, explorer, "<b>mine.png", png(own))
    expect(explorer.get_by_role("radio", name="<b>mine.png")).to_have_attribute("aria-checked", "true")
    expect(explorer.locator(".what")).to_contain_text("there is no right answer to lose")
    expect(explorer.get_by_role("alert")).to_have_count(0)
    page.screenshot(path=pictures / "foreign.png")

    explorer.get_by_role("button", name="Copy as code").click()
    expect(explorer.locator(".code pre")).to_contain_text("perturb(network, x")
    page.keyboard.press("Escape")
    with page.expect_download() as saved:
        explorer.get_by_role("button", name="Save state").click()
    state = Path(saved.value.path()).read_bytes()
    explorer.get_by_role("radio").first.click()
    check(explorer, bench, 8.0, **fooled)
    drop(page, explorer, "state.json", state)
    expect(explorer.locator(".what")).to_contain_text("there is no right answer to lose")

    explorer.get_by_role("tab", name="class").click()
    check_class(explorer, bench, 8.0, **fooled)
    drag(page, explorer, -5)
    check_class(explorer, bench, 1.4, **fooled)
    page.screenshot(path=pictures / "class.png")
    explorer.locator(".tile").nth(3).click()
    check(explorer, bench, 1.4, image=str(bench.images.ids[3]), **fooled)
    explorer.get_by_role("slider").press("PageUp")
    explorer.get_by_role("button", name="play").click()
    check(explorer, bench, LEVELS[-1], image=str(bench.images.ids[3]), **fooled)
    expect(explorer.get_by_role("button", name="play")).to_be_visible()  # it has stopped by itself


LEFT = {"attack": "LinfFGSM", "networks": ("TO", "none")}  # what `explore` leaves chosen, of image 3


def test_the_explorer_in_jupyterlab(lab: Lab, page: Page, watch: Watch, bench: Bench, tmp_path: Path) -> None:
    lab.run(page, NOTEBOOK)
    explorer = page.locator(".nbtools-explorer")
    explorer.locator("[data-drawn]").wait_for(timeout=120_000)
    page.get_by_text("| Idle").first.wait_for()
    explorer.scroll_into_view_if_needed()
    explore(page, explorer, bench, tmp_path)

    lab.turn_dark(page)
    explorer.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "dark.png")

    explorer.get_by_role("slider").press("Home")
    explorer.get_by_role("radio").first.click()
    check(explorer, bench, 0.0, **LEFT)
    lab.reload(page)
    check(explorer, bench, 0.0, **LEFT)
    lab.view_again(page, explorer)
    check(explorer.last, bench, 0.0, **LEFT)
    explorer.last.get_by_role("slider").press("ArrowRight")
    for shown in explorer.all():
        check(shown, bench, 0.25, **LEFT)
    page.screenshot(path=tmp_path / "twice.png")

    lab.restart()
    stops(page, explorer.last, tmp_path)
    # JupyterLab's own, after a reload, whenever it comes: it looks for widgets before it has asked the kernel for them
    watch.errors[:] = [error for error in watch.errors if "widget model not found" not in error]


def stops(page: Page, explorer: Locator, pictures: Path) -> None:
    """A touch that no kernel hears is soon said to be lost, and the controls take no other."""
    from playwright.sync_api import expect

    explorer.get_by_role("slider").first.press("ArrowRight")
    expect(page.get_by_role("alert").filter(has_text="The kernel does not answer")).to_be_visible(timeout=3_000)
    expect(explorer).to_have_attribute("inert", "")
    expect(explorer.locator(".nbtools-lamp")).to_have_text("no answer")
    page.screenshot(path=pictures / "stopped.png")


def test_an_app_whose_server_is_gone_says_so(project: Project, page: Page, watch: Watch, tmp_path: Path) -> None:
    from conftest import app

    with app(project, "05_attack_explorer") as address:
        page.goto(address, timeout=120_000)
        explorer = page.locator(".nbtools-explorer")
        explorer.locator("[data-drawn]").wait_for(timeout=120_000)
    stops(page, explorer, tmp_path)
    watch.errors.clear()  # of the connection


def test_the_explorer_as_an_app(address: str, page: Page, bench: Bench, project: Project, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page.goto(address, timeout=120_000)
    explorer = page.locator(".nbtools-explorer")
    explorer.locator("[data-drawn]").wait_for(timeout=120_000)
    for width, height, side in ((1366, 768, 390), (1920, 1080, 560)):
        page.set_viewport_size({"width": width, "height": height})
        fits(page, explorer, side)
        page.screenshot(path=tmp_path / f"app-{width}.png")
    explore(page, explorer, bench, tmp_path)
    page.set_viewport_size({"width": 1366, "height": 768})
    fits(page, explorer, 390)

    # What is shown stands in the address: it survives a reload, and another address opens another picture.
    expect(page).to_have_url(re.compile(r"#image=.*level=16&"))
    page.reload()
    check(explorer, bench, LEVELS[-1], image=str(bench.images.ids[3]), **LEFT)
    page.evaluate(f"location.hash = 'image={bench.images.ids[5]}&networks=TO&level=4&attack=LinfFGSM'")
    check(explorer, bench, 4.0, image=str(bench.images.ids[5]), attack="LinfFGSM", networks=("TO",))
    page.evaluate("location.hash = 'image=nowhere.png'")
    expect(explorer.get_by_role("alert")).to_contain_text("image is not among what there is")
    check(explorer, bench, 4.0, image=str(bench.images.ids[5]), attack="LinfFGSM", networks=("TO",))

    expect(page.get_by_text("One decision, followed")).to_be_hidden()  # the rest of the notebook
    assert "runs.start" not in page.content(), "no source"
    target = project.folder / "a-visitor-was-here"
    replies = page.evaluate(RUN_CODE, f"open({str(target)!r}, 'w').close()")
    assert "kernel_info_reply" in replies, "the channel is open, and still nothing runs"
    assert "execute_reply" not in replies
    assert not target.exists()


def test_a_page_that_is_being_left_fails_at_nothing(address: str, page: Page) -> None:
    """Its kernel ends at once, the page when the server has answered; until then it asks now and then, as ever."""
    from playwright.sync_api import expect

    page.goto(address, timeout=120_000)
    page.locator(".nbtools-explorer [data-drawn]").wait_for(timeout=120_000)
    page.evaluate("dispatchEvent(new Event('beforeunload'))")
    expect(page.locator(".nbtools-lamp")).to_have_text("no answer", timeout=20_000)


def test_the_app_answers_nobody_without_the_token(address: str) -> None:
    address = address.split("?")[0]
    with urllib.request.urlopen(address) as answer:
        assert "/login" in answer.url
        assert b"nbtools-explorer" not in answer.read()
    for path in ("api/kernels", "api/contents", "voila/files/notebooks/05_attack_explorer.ipynb", "api/terminals"):
        with pytest.raises(urllib.error.HTTPError, match=r"40[345]"):
            urllib.request.urlopen(urllib.request.Request(f"{address}{path}", data=b"{}"))


def test_the_app_refuses_a_channel_without_frames(address: str) -> None:
    """Voila would count to a number near 2⁶³ and answer nobody any more."""
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    address, token = address.split("?")
    channel = f"{address}api/kernels/{uuid.uuid4()}/channels?{token}"
    request = urllib.request.Request(channel, headers={**upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)


# A visitor who writes to the kernel's channel by hand, each message in the frame that the channel speaks.
RUN_CODE = """async (code) => {
    const { kernelId, baseUrl } = JSON.parse(document.getElementById("jupyter-config-data").textContent);
    const address = `ws://${location.host}${baseUrl}api/kernels/${kernelId}/channels?session_id=visitor`;
    const socket = new WebSocket(address, "v1.kernel.websocket.jupyter.org");
    socket.binaryType = "arraybuffer";
    const replies = [];
    socket.onmessage = ({ data }) => {
        const view = new DataView(data);
        const [start, end] = [2, 3].map((place) => Number(view.getBigUint64(8 * place, true)));
        replies.push(JSON.parse(new TextDecoder().decode(data.slice(start, end))).msg_type);
    };
    await new Promise((open) => (socket.onopen = open));
    const send = (kind, content) => {
        const header = { msg_id: kind, msg_type: kind, session: "visitor", username: "", version: "5.3", date: "" };
        const texts = ["shell", JSON.stringify(header), "{}", "{}", JSON.stringify(content)];
        const parts = texts.map((text) => new TextEncoder().encode(text));
        const places = [8 * (parts.length + 2)];
        parts.forEach((part) => places.push(places.at(-1) + part.length));
        const message = new Uint8Array(places.at(-1));
        const view = new DataView(message.buffer);
        [places.length, ...places].forEach((place, i) => view.setBigUint64(8 * i, BigInt(place), true));
        parts.forEach((part, i) => message.set(part, places[i]));
        socket.send(message);
    };
    const flags = { silent: false, store_history: false, user_expressions: {}, allow_stdin: false };
    send("execute_request", { code, ...flags });
    send("kernel_info_request", {});
    await new Promise((done) => setTimeout(done, 3000));
    socket.close();
    return replies;
}"""
