"""Notebooks in batch: executed by papermill, strictly, into their run folders."""

from __future__ import annotations

import sys

from nbtools import runs
from nbtools.errors import InputError


def run_notebook(notebook: str, texts: dict[str, str]) -> int:
    """Execute a notebook with papermill, strictly, into its run folder.

    Parameters
    ----------
    notebook : str
        Name without ``.ipynb``.
    texts : dict
        Parameters as they stand on the command line.

    Returns
    -------
    int
        0 if the run is finished, now or before; 1 if a cell failed.

    Raises
    ------
    InputError
        If a parameter does not exist or has a value of another type than its default.
    """
    parameters = runs.typed(notebook, texts)
    folder = runs.run_folder(notebook, parameters)
    if runs.stale(folder) == []:
        print(f"finished before: {folder}")
        return 0
    # papermill imports slowly; skipping what is finished should not wait for it
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    folder.mkdir(parents=True, exist_ok=True)
    print(f"running {notebook} into {folder}")
    try:
        papermill.execute_notebook(
            str(runs.NOTEBOOKS / f"{notebook}.ipynb"),
            str(folder / "notebook.ipynb"),
            parameters=parameters,
            cwd=str(runs.NOTEBOOKS),
            progress_bar=sys.stderr.isatty(),
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),  # ipykernel warns of plain TCP
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # it reports its own shutdown as an error
        )
    except (PapermillExecutionError, DeadKernelError) as error:
        (folder / runs.RECORD).unlink(missing_ok=True)  # a run whose notebook failed anywhere is not finished
        print(f"{error}\nthe notebook as far as it went: {folder / 'notebook.ipynb'}", file=sys.stderr)
        return 1
    if not (folder / runs.RECORD).exists():
        raise InputError(
            "the notebook ended without finishing its run",
            file=folder / "notebook.ipynb",
            expected="a cell that calls run.finish()",
            got=f"no {runs.RECORD}",
            fix="see the notebook; the other notebooks show how",
        )
    return 0
