"""Serve an explorer as an app: Voila for this machine alone, behind a token, with nothing a visitor could run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nbtools.checks import check_choice
from nbtools.data.study import open_study
from nbtools.runs import folders, warm
from nbtools.widgets.study_state import finished_runs

SHARE = Path(__file__).parent / "share"
# Voila's page has no place for finished progress bars, nor for plotly's figures outside widgets.
QUIET = {"TQDM_DISABLE": "1", "PLOTLY_RENDERER": "json"}
IDLE = 3600  # seconds until the kernel of a forgotten page is stopped
EXPLORERS = ("05_attack_explorer", "14_brain_and_geometry", "15_study_explorer")
FRAMED = "v1.kernel.websocket.jupyter.org"


def serve(notebook: str, port: int, texts: Mapping[str, str] | None = None, *, open_browser: bool = True) -> int:
    """Run Voila on one notebook until it is stopped; return the exit status.

    Parameters
    ----------
    notebook : str
        Name without ``.ipynb``.
    port : int
        Of the address, on 127.0.0.1.
    texts : mapping, optional
        Parameters as they stand on the command line; the others have their defaults.
    open_browser : bool
        Whether to open the page.

    Raises
    ------
    InputError
        If there is no such notebook, parameter or study, or the networks or runs that it shows are not there.
    """
    check_choice(f"{notebook} is no explorer", notebook, EXPLORERS, fix="name one")
    given = folders.typed(notebook, texts or {})
    chosen = {**folders.defaults(notebook), **given}
    for roi in chosen.get("rois", "").split():  # here the reader learns what is missing; the page would not say
        folders.find("03_guided_training", chosen["study"], roi=roi, alpha=chosen["alpha"], seed=chosen["seed"])
    open_study(chosen["study"])
    if "rois" not in chosen:
        finished_runs(chosen["study"])
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(SHARE), os.environ.get("JUPYTER_PATH")]))
    os.environ |= QUIET
    warm.use_soon()
    from voila.app import Voila  # finds its templates when it is imported

    _refuse_unframed()
    _let_pages_end_kernels()
    with TemporaryDirectory(prefix="nbtools-explore-") as folder:
        file = _with_parameters(folders.NOTEBOOKS / f"{notebook}.ipynb", given, Path(folder))
        Voila.launch_instance(arguments(file, port, open_browser=open_browser))
    return 0


def _with_parameters(notebook: Path, given: Mapping[str, Any], folder: Path) -> Path:
    """Return the notebook, or where it is given parameters a copy of it with these, as papermill writes them."""
    if not given:
        return notebook
    from papermill.iorw import load_notebook_node, write_ipynb
    from papermill.parameterize import parameterize_notebook

    copy = folder / notebook.name
    write_ipynb(parameterize_notebook(load_notebook_node(str(notebook)), dict(given)), str(copy))
    return copy


def _refuse_unframed() -> None:
    """Refuse a channel whose messages have no frame.

    Voila 0.5.13 reads a frame's head off every message that carries bytes. Where there is none it counts to a number
    near 2⁶³, and the server answers nobody any more. Its own pages ask for the frame.
    """
    from tornado.web import HTTPError
    from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler as Channel

    get = Channel.get

    async def framed(channel: Channel, kernel_id: str) -> None:
        if FRAMED not in channel.request.headers.get("Sec-WebSocket-Protocol", ""):
            raise HTTPError(400, f"this channel speaks {FRAMED}")
        await get(channel, kernel_id)

    Channel.get = framed


def _let_pages_end_kernels() -> None:
    """Give pages the cookie without which Voila refuses to end their kernel when they are left or loaded again."""
    from voila.tornado.handler import TornadoVoilaHandler as Page

    get = Page.get

    async def with_cookie(page: Page, path: str | None = None) -> None:
        _ = page.xsrf_token  # tornado sets the cookie once it is asked for
        await get(page, path)

    Page.get = with_cookie


def arguments(notebook: Path, port: int, *, open_browser: bool = True) -> list[str]:
    """Return Voila's arguments to serve a notebook, with everything closed that Voila can close."""
    return [
        str(notebook),
        f"--port={port}",
        "--Voila.ip=127.0.0.1",
        "--Voila.auto_token=True",  # printed with the address; other users of this machine do not have it
        "--VoilaConfiguration.strip_sources=True",
        "--VoilaConfiguration.show_tracebacks=False",
        "--VoilaConfiguration.file_allowlist=(?!)$",  # the name of no file
        "--VoilaConfiguration.template=nbtools",
        "--VoilaConfiguration.allow_template_override=NO",
        "--KernelManager.transport_encryption=auto",
        f"--MappingKernelManager.cull_idle_timeout={IDLE}",
        *([] if open_browser else ["--no-browser"]),
    ]
