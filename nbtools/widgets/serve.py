"""Serve an explorer as an app: Voila for this machine alone, behind a token, with nothing a visitor could run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nbtools import runs
from nbtools.errors import InputError

SHARE = Path(__file__).parent / "share"
IDLE = 3600  # seconds until the kernel of a forgotten page is stopped


def serve(notebook: str, port: int, *, open_browser: bool = True) -> int:
    """Run Voila on one notebook until it is stopped; return its exit status.

    Parameters
    ----------
    notebook : str
        Name without ``.ipynb``; its default parameters hold.
    port : int
        Of the address, on 127.0.0.1.
    open_browser : bool
        Whether to open the page.

    Raises
    ------
    InputError
        If there is no such notebook, or the networks it shows have not been trained.
    """
    chosen = runs.defaults(notebook)
    if "rois" not in chosen:
        raise InputError(
            f"{notebook} is no explorer",
            expected="a notebook that shows networks: 05_attack_explorer",
            got=notebook,
            fix="name an explorer",
        )
    for roi in chosen["rois"].split():  # here the reader learns what is missing; the page would not say
        runs.find("03_guided_training", chosen["study"], roi=roi, alpha=chosen["alpha"], seed=chosen["seed"])
    places = [str(SHARE), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    environment = {**os.environ, "JUPYTER_PATH": os.pathsep.join(places)}
    try:
        return subprocess.call(voila_command(notebook, port, open_browser=open_browser), env=environment)
    except KeyboardInterrupt:
        return 0


def voila_command(notebook: str, port: int, *, open_browser: bool = True) -> list[str]:
    """Return the command that serves a notebook, with everything closed that Voila can close."""
    return [
        sys.executable,
        "-m",
        "voila",
        str(runs.NOTEBOOKS / f"{notebook}.ipynb"),
        f"--port={port}",
        "--Voila.ip=127.0.0.1",
        "--Voila.auto_token=True",  # printed with the address; other users of this machine do not have it
        "--VoilaConfiguration.strip_sources=True",
        "--VoilaConfiguration.show_tracebacks=False",
        "--VoilaConfiguration.file_allowlist=[]",
        "--VoilaConfiguration.template=nbtools",
        "--VoilaConfiguration.allow_template_override=NO",
        f"--MappingKernelManager.cull_idle_timeout={IDLE}",
        *([] if open_browser else ["--no-browser"]),
    ]
