"""Runs on the command line: executed, repeated, compared."""

from __future__ import annotations

import argparse
from pathlib import Path

from nbtools import runs
from nbtools.cli.parser import PARAMETER, add
from nbtools.errors import InputError
from nbtools.places import INSTALLED
from nbtools.runs import folders


def add_runs(commands: argparse._SubParsersAction) -> None:
    """Add the commands ``run``, ``repeat`` and ``compare``."""
    run = add(commands, "run", _run, "execute a notebook into its run folder, unless it is finished there")
    run.add_argument("notebook", help="its file, name or number: 03_guided_training, 03")
    run.add_argument("--quiet", action="store_true", help="say nothing but what fails")
    run.add_argument("-p", **PARAMETER)

    repeat = add(commands, "repeat", _repeat, "run a finished run again, elsewhere, and say whether it gives the same")
    repeat.add_argument("run", type=Path, help="its folder: runs/<study>/<notebook>/…")

    compare = add(commands, "compare", _compare, "say in what two finished runs differ")
    compare.add_argument("runs", type=Path, nargs=2, metavar="run", help="their folders")


def _run(chosen: argparse.Namespace) -> int:
    file = Path(chosen.notebook)
    if file.exists() and file.resolve().parent != folders.NOTEBOOKS.resolve():
        raise InputError(
            "runs are kept for the project's own notebooks only",
            file=file,
            expected=f"a notebook in {folders.NOTEBOOKS}",
            got=f"one in {file.resolve().parent}",
            fix="put it beside the others, under a name of its own"
            + " (`nbtools lab` copies them into this folder)" * INSTALLED,
        )
    return runs.run_notebook(notebook_name(chosen.notebook), dict(chosen.p), quiet=chosen.quiet)


def notebook_name(given: str) -> str:
    """Return the name of a notebook that is given by its file, its name or its number."""
    stem = Path(given).stem
    return next((name for name in folders.notebooks() if name.partition("_")[0] == stem), stem)


def _repeat(chosen: argparse.Namespace) -> int:
    return runs.repeat(chosen.run)


def _compare(chosen: argparse.Namespace) -> int:
    return runs.compare(*chosen.runs)
