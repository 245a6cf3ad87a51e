"""``python -m nbtools lab``: JupyterLab on the notebooks, for this machine alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from nbtools.cli.parser import add
from nbtools.data.study import home
from nbtools.errors import InputError
from nbtools.places import INSTALLED
from nbtools.runs import copies


def add_lab(commands: argparse._SubParsersAction) -> None:
    """Add the command that opens JupyterLab."""
    lab = add(commands, "lab", _lab, "open JupyterLab on the notebooks; an installed package's are copied here first")
    lab.add_argument("folder", nargs="?", type=Path, help="of student copies, in place of the notebooks")
    lab.add_argument("--port", type=int, default=8888)
    lab.add_argument("--no-browser", action="store_true", help="only print the address")


def _lab(chosen: argparse.Namespace) -> None:
    notebooks = _notebooks(chosen.folder)
    print(f"notebooks: {notebooks}\nresults:   {home() / 'runs'}", flush=True)
    from jupyterlab.labapp import LabApp  # imports slowly

    browser = ["--no-browser"] if chosen.no_browser else []
    LabApp.launch_instance([f"--notebook-dir={notebooks}", "--ip=127.0.0.1", f"--port={chosen.port}", *browser])


def _notebooks(folder: Path | None) -> Path:
    """Return the folder that is opened, after the copies in it were renewed if they are this package's."""
    if folder is not None and not folder.is_dir():
        fix = "make it by `python -m nbtools student FOLDER`, or leave it out"
        raise InputError("there is no such folder", file=folder, expected="notebooks", got="no folder", fix=fix)
    if folder is not None:
        return folder.resolve()
    for name in copies.renew() if INSTALLED else ():
        print(f"kept: {home() / name} is yours, and no longer as nbtools has it (delete it to get that one)")
    return copies.own_folder() / "notebooks"
