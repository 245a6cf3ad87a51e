"""The attack explorer in a real browser, in JupyterLab and as an app: the page shows what the library computes."""

from __future__ import annotations

import base64
import io
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

from nbtools.data.images.sets import choose_rows, load_folder
from nbtools.models.networks import load_model
from nbtools.widgets.attack_state import LEVELS, Bench, Choice
from nbtools.widgets.attack_view import View, view

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
    networks = {name: load_model(next(folders.glob(f"{name}_*"))) for name in ("none", "TO")}
    return Bench(networks, images[choose_rows(len(images), 24)])


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    from conftest import app

    with app(project, "05_attack_explorer") as address:
        yield address


def expected(bench: Bench, **changes: object) -> View:
    choice = replace(Choice(str(bench.images.ids[0]), ("none", "TO")), **changes)
    for name in bench.missing(choice):
        bench.compute(choice, name)
    return view(bench, choice)


def check(explorer: Locator, seen: View) -> None:
    """The page shows this view: ε, sentences, heads of the bars, and the pictures to within a grey level."""
    from playwright.sync_api import expect

    expect(explorer.locator(".gtitle").first).to_contain_text(f"ε = {seen.budget} (")
    expect(explorer.locator(".gtitle").first).to_contain_text("simulated")
    named = explorer.get_by_role("slider", name="ε", exact=True)
    expect(named).to_have_attribute("aria-valuetext", f"{seen.level:g}/255" if seen.level else "clean")
    expect(explorer.locator("[data-title*=Share]")).to_have_count(0)  # plotly's button sends a figure's data away
    expect(explorer.locator(".nbtools-verdict")).to_have_text([panel.verdict for panel in seen.panels])
    expect(explorer.locator(".nbtools-flip")).to_have_text([panel.flip for panel in seen.panels])
    pictures = [picture for panel in seen.panels for picture in (panel.before, panel.after, panel.difference)]
    shown = [pixels(image.get_attribute("src")) for image in explorer.locator(".nbtools-pictures img").all()]
    for there, here in zip(shown, pictures, strict=True):
        assert np.abs(there.astype(int) - here).max() <= 1
    bars = explorer.locator(".barlayer .bars .point path")
    expect(bars).to_have_count(2 * len(seen.bars))  # clean and at ε


def pixels(source: str | None) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(str(source).split(",")[1]))))


def drag(page: Page, explorer: Locator, places: int) -> None:
    """Drag ε's handle by this many places with the mouse."""
    handle, track = explorer.get_by_role("slider"), explorer.locator(".noUi-base")
    handle.scroll_into_view_if_needed()
    box, rail = handle.bounding_box(), track.bounding_box()
    assert box
    assert rail
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + places * rail["width"] / len(LEVELS), y, steps=8)
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
    explorer.locator(".nbtools-drop").dispatch_event("drop", {"dataTransfer": transfer})


def png(colors: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(colors).save(buffer, format="png")
    return buffer.getvalue()


def explore(page: Page, explorer: Locator, bench: Bench, pictures: Path) -> None:
    """Everything a reader does, in JupyterLab and in the app alike."""
    from playwright.sync_api import expect

    check(explorer, expected(bench, level=2.0))
    page.screenshot(path=pictures / "start.png")

    drag(page, explorer, 3)
    check(explorer, expected(bench, level=5.7))
    explorer.get_by_role("slider").press("ArrowRight")
    check(explorer, expected(bench, level=8.0))

    second = explorer.get_by_label("beside", exact=True)
    second.select_option("—")
    check(explorer, expected(bench, level=8.0, networks=("none",)))
    explorer.get_by_label("network", exact=True).press("ArrowDown")
    check(explorer, expected(bench, level=8.0, networks=("TO",)))
    second.select_option("none")
    check(explorer, expected(bench, level=8.0, networks=("TO", "none")))

    explorer.get_by_label("attack", exact=True).select_option("LinfFGSM")  # works in the background
    fooled = {"attack": "LinfFGSM", "networks": ("TO", "none")}
    check(explorer, expected(bench, level=8.0, **fooled))
    explorer.get_by_role("radio").first.press("ArrowRight")
    check(explorer, expected(bench, level=8.0, image=str(bench.images.ids[1]), **fooled))

    drop(page, explorer, "holiday.png", b"\x89PNG\r\n\x1a\n and then nothing")
    expect(explorer.get_by_role("alert")).to_contain_text("an image cannot be read")
    check(explorer, expected(bench, level=8.0, image=str(bench.images.ids[1]), **fooled))
    page.screenshot(path=pictures / "broken.png")
    own = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    drop(page, explorer, "<b>mine.png", png(own))
    expect(explorer.locator(".gtitle").first).to_contain_text("<b>mine.png")
    expect(explorer.get_by_role("alert")).to_have_count(0)

    explorer.get_by_role("button", name="Copy as code").click()
    expect(explorer.locator(".nbtools-outbox pre")).to_contain_text("perturb(network, x")
    with page.expect_download() as saved:
        explorer.get_by_role("button", name="Save state").click()
    state = Path(saved.value.path()).read_bytes()
    explorer.get_by_role("radio").first.click()
    check(explorer, expected(bench, level=8.0, **fooled))
    drop(page, explorer, "state.json", state)
    expect(explorer.locator(".gtitle").first).to_contain_text("<b>mine.png")


def test_the_explorer_in_jupyterlab(lab: Lab, page: Page, watch: Watch, bench: Bench, tmp_path: Path) -> None:
    lab.run(page, NOTEBOOK)
    explorer = page.locator(".nbtools-explorer")
    explorer.locator(".gtitle").first.wait_for(timeout=120_000)
    page.get_by_text("| Idle").first.wait_for()
    explorer.scroll_into_view_if_needed()
    explore(page, explorer, bench, tmp_path)

    lab.turn_dark(page)
    explorer.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "dark.png")

    explorer.get_by_role("radio").first.click()
    seen = expected(bench, level=8.0, attack="LinfFGSM", networks=("TO", "none"))
    check(explorer, seen)
    lab.reload(page)
    check(explorer, seen)
    lab.view_again(page, explorer)
    check(explorer.last, seen)
    explorer.last.get_by_role("slider").press("ArrowLeft")
    for shown in explorer.all():
        check(shown, expected(bench, level=5.7, attack="LinfFGSM", networks=("TO", "none")))
    page.screenshot(path=tmp_path / "twice.png")

    lab.restart()
    stops(page, explorer.last, tmp_path)
    # JupyterLab's own, after a reload, whenever it comes: it looks for widgets before it has asked the kernel for them
    watch.errors[:] = [error for error in watch.errors if "widget model not found" not in error]


def stops(page: Page, explorer: Locator, pictures: Path) -> None:
    """A touch that no kernel hears is soon said to be lost, and the controls take no other."""
    from playwright.sync_api import expect

    explorer.get_by_role("slider").first.press("ArrowLeft")
    expect(page.get_by_role("alert").filter(has_text="The kernel does not answer")).to_be_visible(timeout=3_000)
    expect(explorer).to_have_attribute("inert", "")
    page.screenshot(path=pictures / "stopped.png")


def test_an_app_whose_server_is_gone_says_so(project: Project, page: Page, watch: Watch, tmp_path: Path) -> None:
    from conftest import app

    with app(project, "05_attack_explorer") as address:
        page.goto(address, timeout=120_000)
        explorer = page.locator(".nbtools-explorer")
        explorer.locator(".gtitle").first.wait_for(timeout=120_000)
    stops(page, explorer, tmp_path)
    watch.errors.clear()  # of the connection


def test_the_explorer_as_an_app(address: str, page: Page, bench: Bench, project: Project, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page.goto(address, timeout=120_000)
    explorer = page.locator(".nbtools-explorer")
    explorer.locator(".gtitle").first.wait_for(timeout=120_000)
    page.screenshot(path=tmp_path / "app.png", full_page=True)
    explore(page, explorer, bench, tmp_path)

    expect(page.get_by_text("One decision, followed")).to_be_hidden()  # the rest of the notebook
    assert "runs.start" not in page.content(), "no source"
    target = project.folder / "a-visitor-was-here"
    replies = page.evaluate(RUN_CODE, f"open({str(target)!r}, 'w').close()")
    assert "kernel_info_reply" in replies, "the channel is open, and still nothing runs"
    assert "execute_reply" not in replies
    assert not target.exists()


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
