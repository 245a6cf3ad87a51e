"""``python -m nbtools lab``: JupyterLab on the notebooks, for this machine alone."""

from __future__ import annotations

import argparse

from nbtools.cli.parser import add
from nbtools.data.study import home
from nbtools.places import INSTALLED
from nbtools.runs import copies


def add_lab(commands: argparse._SubParsersAction) -> None:
    """Add the command that opens JupyterLab."""
    lab = add(commands, "lab", _lab, "open JupyterLab on the notebooks; an installed package's are copied here first")
    lab.add_argument("--port", type=int, default=8888)
    lab.add_argument("--no-browser", action="store_true", help="only print the address")


def _lab(chosen: argparse.Namespace) -> None:
    if INSTALLED:
        for name in copies.renew():
            print(f"kept: {home() / name} is yours, and no longer as nbtools has it (delete it to get that one)")
    notebooks = copies.own_folder() / "notebooks"
    print(f"notebooks: {notebooks}\nresults:   {home() / 'runs'}", flush=True)
    from jupyterlab.labapp import LabApp  # imports slowly

    browser = ["--no-browser"] if chosen.no_browser else []
    LabApp.launch_instance([f"--notebook-dir={notebooks}", "--ip=127.0.0.1", f"--port={chosen.port}", *browser])
