"""What the browser tests share: a copy of the project with two small networks, JupyterLab and Voila on it, a page."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from nbtools.attacks import sweep
from nbtools.conditions import HIERARCHY
from nbtools.data.brains.measured import load_trials
from nbtools.data.images.sets import load_folder, split_rows
from nbtools.data.study import open_study
from nbtools.metrics.brain.noise_ceiling import ncsnr, noise_ceiling
from nbtools.models.networks import GuidedNet, build, freeze, save_model
from nbtools.runs import folders
from nbtools.training.guided import train_guided
from nbtools.training.loop import TrainConfig

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROIS = ("V1", "TO")
TOKEN = "a-token-of-this-test"
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # keep cells that are out of view in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # no pop-up, no network
}

PHONE: Any = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TOUCHED = ":is(button, select, input, summary, nav a)"
# Of what is touched, all that a thumb would miss: less than 40 pixels across.
MISSED = """all => all.filter((one) => one.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
    .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
    .filter(([, { width, height, right, bottom }]) => right > 0 && bottom > 0 && Math.min(width, height) < 40)
    .map(([text, { width, height }]) => `${text}: ${Math.round(width)} × ${Math.round(height)}`)"""


@dataclass(frozen=True)
class Project:
    """A copy of the project whose notebooks open the tiny study; its data and runs lie inside."""

    folder: Path

    @property
    def notebooks(self) -> Path:
        return self.folder / "notebooks"

    @property
    def environment(self) -> dict[str, str]:
        places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "share", "JUPYTER_RUNTIME_DIR": "runtime"}
        own = {"PYTHONPATH": str(self.folder), "NBTOOLS_HOME": str(self.folder), "OMP_NUM_THREADS": "1"}
        return {**os.environ, **own, **{name: str(self.folder / to) for name, to in places.items()}}

    @contextmanager
    def running(self, command: list[str], address: str, log: Path) -> Iterator[None]:
        """A server, from its first answer to the end of the block."""
        with log.open("w") as stream:
            server = subprocess.Popen(command, env=self.environment, stdout=stream, stderr=stream, cwd=self.folder)
        try:
            _wait(address, server, log)
            yield
        finally:
            server.terminate()
            server.wait(timeout=20)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    address: str
    notebooks: Path

    def run(self, page: Page, notebook: str) -> None:
        """Open a notebook and choose Run All."""
        page.goto(f"{self.address}/lab/tree/{notebook}?token={TOKEN}&reset")
        page.get_by_text("| Idle").first.wait_for(timeout=90_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()

    def reload(self, page: Page) -> None:
        """Save what is open, and load the page again."""
        page.keyboard.press("ControlOrMeta+s")
        page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty").wait_for(state="detached")
        page.reload()

    def view_again(self, page: Page, output: Locator) -> None:
        """Show a cell's output a second time, beside its notebook."""
        output.click(button="right", position={"x": 4, "y": 4})
        page.get_by_text("Create New View for Cell Output", exact=True).click()

    def restart(self) -> None:
        """Restart all kernels."""
        for kernel in self._ask("GET", "kernels"):
            self._ask("POST", f"kernels/{kernel['id']}/restart")

    def _ask(self, method: str, path: str) -> Any:
        told = {"Authorization": f"token {TOKEN}"}
        request = urllib.request.Request(f"{self.address}/api/{path}", method=method, headers=told)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def turn_dark(self, page: Page) -> None:
        page.get_by_role("menuitem", name="Settings", exact=True).click()
        page.get_by_text("Theme", exact=True).click()
        page.get_by_role("menuitem", name="JupyterLab Dark", exact=True).click()
        page.locator('body[data-jp-theme-light="false"]').wait_for(state="attached")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_study: Path) -> Project:
    """A copy (JupyterLab saves what it runs) with quickly trained networks under the names none, V1 and TO."""
    if BROWSER is None:
        pytest.skip("needs chromium or google-chrome on the PATH")
    folder = tmp_path_factory.mktemp("browser") / "project"
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for part in ("nbtools", "notebooks"):
        shutil.copytree(folders.PROJECT / part, folder / part, ignore=ignored)
    shutil.copytree(tiny_study.parent, folder / "data/derived/tiny")
    ours = {
        r"study: str = \"demo\"": r"study: str = \"tiny\"",
        r"networks: str = \"none random V1-shuffle TO-shuffle": r"networks: str = \"none",
        " ".join(HIERARCHY): " ".join(ROIS),
    }
    for file in (folder / "notebooks").glob("*.ipynb"):
        text = file.read_text()
        for old, new in ours.items():
            text = text.replace(old, new)
        file.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBTOOLS_HOME", str(folder))
        _measure()
        _train({"none": 2, "TO": 2, "V1": 0})
    return Project(folder)


def _start(notebook: str, **own: object) -> folders.Run:
    return folders.start(notebook, {**folders.defaults(notebook), "study": "tiny", **own})


def _measure() -> None:
    """Leave what notebooks 01 and 02 do: noise ceilings, and scores of predictors, here invented."""
    source, rng = open_study("tiny"), np.random.default_rng(0)
    ceilings = []
    for roi, region in load_trials(source, ROIS).items():
        percent = noise_ceiling(ncsnr(region.responses, region.image_ids), n=3)
        voxels = pd.DataFrame({"roi": roi, "voxel": range(len(percent)), "noise_ceiling": percent})
        run = _start("02_neural_predictors", roi=roi)
        pattern = pd.DataFrame({"roi": roi, "control": np.repeat(["trained", "shuffled"], 20)})
        run.save_table("pattern_r", pattern.assign(pattern_r=rng.random(40)))
        run.save_table("voxels", voxels.assign(r=rng.random(len(voxels))))
        run.finish()
        ceilings.append(voxels)
    run = _start("01_brain_responses", rois=" ".join(ROIS))
    run.save_table("noise_ceilings", pd.concat(ceilings, ignore_index=True))
    run.finish()


def _train(epochs: dict[str, int]) -> None:
    """Leave what notebooks 03 and 04 do, without guidance; what is not trained at all has the history of the last."""
    source = open_study("tiny")
    images, test = (load_folder(source.classification / part, source.image_size) for part in ("train", "val"))
    splits = split_rows(len(images), 0.1)
    for seed, (name, n) in enumerate(epochs.items()):
        run = _start("03_guided_training", roi=name)
        model = build(GuidedNet, seed, "small_resnet", images.classes, 0)
        if n:
            config = TrainConfig(epochs=n, batch_size=32, lr=0.003, schedule="one-cycle", augmentation="none")
            history = train_guided(model, images, None, 0.0, splits, config)
        run.save_table("history", history)
        save_model(model, run.folder)
        run.finish()
        attacked = _start("04_adversarial_attacks", roi=name)
        decisions = sweep(freeze(model), test[:40], [2 / 255, 4 / 255], attack="LinfPGD", steps=3)
        attacked.save_table("decisions", decisions.assign(attack="LinfPGD", condition=name, seed=0))
        attacked.finish()


@pytest.fixture(scope="session")
def lab(project: Project) -> Iterator[Lab]:
    """JupyterLab with settings of its own."""
    for name, setting in SETTINGS.items():
        file = project.folder / f"config/lab/user-settings/@jupyterlab/{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))
    port = free_port()
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", *root]
    command += [f"--IdentityProvider.token={TOKEN}", f"--notebook-dir={project.notebooks}"]
    address = f"http://127.0.0.1:{port}"
    with project.running(command, f"{address}/api?token={TOKEN}", project.folder / "lab.log"):
        yield Lab(address, project.notebooks)


@contextmanager
def app(project: Project, notebook: str) -> Iterator[str]:
    """The address of `python -m nbtools explore`, token included."""
    port, log = free_port(), project.folder / f"{notebook}.log"
    command = [sys.executable, "-m", "nbtools", "explore", notebook, f"--port={port}", "--no-browser"]
    with project.running(command, f"http://127.0.0.1:{port}/", log):
        (token,) = set(re.findall(r"token=(\w{20,})", log.read_text()))
        yield f"http://127.0.0.1:{port}/?token={token}"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait(address: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return  # it answers: it wants a token
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    pytest.fail(f"the server did not start:\n{log.read_text()[-2000:]}")


@dataclass
class Watch:
    """What went wrong on a page: failed scripts, errors in the console, requests that leave this machine."""

    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "about") and parts.hostname != "127.0.0.1":
            self.strangers.append(url)


@pytest.fixture
def watch() -> Watch:
    """What goes wrong on the test's page."""
    return Watch()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, until the end of the block; without one on this machine the test is skipped."""
    if BROWSER is None:
        pytest.skip("needs chromium or google-chrome on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(watch: Watch) -> Iterator[Page]:
    """A page of a browser; the test fails if a script on it does, or if it asks another machine for anything."""
    with chromium() as browser:
        from playwright.sync_api import expect

        expect.set_options(timeout=60_000)  # of a busy machine
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)
        watch.attach(page)
        yield page
    assert watch.errors == []
    assert watch.strangers == []
