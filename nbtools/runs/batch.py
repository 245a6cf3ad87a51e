"""Notebooks in batch: executed by papermill, strictly, into their run folders."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from nbtools.errors import Helped, InputError, Interrupted
from nbtools.files import locked, make_folder
from nbtools.processes import LOG, exported, on_sigterm, place
from nbtools.runs import folders
from nbtools.runs.asked import check_asked
from nbtools.runs.lineage import check_trained

EXECUTED = "notebook.ipynb"  # in the run's folder
SAID = "log.txt"  # there too: how far a run at work is, a line a minute
_TOLD = (InputError.__name__, Interrupted.__name__)  # their words are enough; the executed notebook keeps the rest


def run_notebook(notebook: str, texts: dict[str, str], *, quiet: bool = False) -> int:
    """Execute a notebook with papermill, strictly, into its run folder.

    Parameters
    ----------
    notebook : str
        Name without ``.ipynb``.
    texts : dict
        Parameters as they stand on the command line.
    quiet : bool
        Say nothing but what fails.

    Returns
    -------
    int
        0 if the run is finished, now or before; 1 if a cell failed; `Interrupted.STATUS` if the process was told to
        end (SIGTERM) and the run goes on when it is started again.

    Raises
    ------
    InputError
        If a parameter does not exist, has a value of another type than its default, or names what is not there.
    """
    parameters = folders.typed(notebook, texts)
    full = {**folders.defaults(notebook), **parameters}
    check_trained(notebook, full)
    folder = folders.run_folder(notebook, parameters)
    if _finished_before(folder, quiet):
        return 0
    check_asked(notebook, full)
    if place().rank > 0:  # it trains beside the first process, whose notebook is kept
        return _execute(notebook, parameters, None)
    make_folder(folder)
    with locked(folder / EXECUTED):  # another process at this run may be the same job, started again: wait for it
        if _finished_before(folder, quiet):
            return 0
        if not quiet:
            print(f"running {notebook} into {folder}\n", end="", flush=True)  # one write: other runs print beside it
        (folder / SAID).unlink(missing_ok=True)
        watched = sys.stderr.isatty() and not quiet
        with exported({LOG: str((watched and _terminal()) or folder / SAID)}):
            status = _execute(notebook, parameters, folder / EXECUTED, bar=watched)
        if status:
            (folder / folders.RECORD).unlink(missing_ok=True)  # a run whose notebook failed anywhere is not finished
            with suppress(InputError), locked(folder, 0):  # removes the lock that the killed kernel left behind
                pass
            print(f"the notebook as far as it went: {folder / EXECUTED}", file=sys.stderr)
            return status
    if not (folder / folders.RECORD).exists():
        raise InputError(
            "the notebook ended without finishing its run",
            file=folder / EXECUTED,
            expected="a cell that calls run.finish()",
            got=f"no {folders.RECORD}",
            fix="see the notebook; the other notebooks show how",
        )
    return 0


def _finished_before(folder: Path, quiet: bool) -> bool:
    if (finished := folders.stale(folder) == []) and not quiet:
        print(f"finished before: {folder}\n", end="")
    return finished


def _terminal() -> Path | None:
    """Return the terminal of this process, if it has one that the notebook's kernel can write to."""
    with suppress(OSError, AttributeError):  # AttributeError: Windows has no names for them
        terminal = Path(os.ttyname(sys.stderr.fileno()))
        return terminal if os.access(terminal, os.W_OK) else None
    return None


def _execute(notebook: str, parameters: folders.Parameters, output: Path | None, *, bar: bool = False) -> int:
    """Execute a notebook and return the status; told to end, its kernel is told too, and ends in its own way."""
    # papermill imports slowly; skipping what is finished should not wait for it
    import papermill
    from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    from nbtools.runs import warm

    told: list[str] = []

    def pass_on() -> None:
        told.append("SIGTERM")
        warm.terminate()

    warm.use()
    try:
        with on_sigterm(pass_on):
            papermill.execute_notebook(
                str(folders.NOTEBOOKS / f"{notebook}.ipynb"),
                str(output) if output else None,
                parameters=parameters,
                kernel_name=NATIVE_KERNEL_NAME,  # this environment's, in whichever the notebook was saved
                cwd=str(folders.NOTEBOOKS),
                progress_bar=bar,
                config=Config({"KernelManager": {"transport_encryption": "auto"}}),  # ipykernel warns of plain TCP
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # it reports its own shutdown as an error
                shutdown_kernel="immediate",  # all is on the disk by then; taking its libraries down takes 2 s
            )
    except (PapermillExecutionError, RuntimeError) as error:  # the latter of a dead kernel, before its first cell too
        name = getattr(error, "ename", "")
        if name == Helped.__name__:
            return 0
        print(f"error: {getattr(error, 'evalue', '')}" if name in _TOLD else error, file=sys.stderr)
        return Interrupted.STATUS if told or name == Interrupted.__name__ else 1
    return 0
