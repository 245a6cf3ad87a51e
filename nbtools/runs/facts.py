"""What a report says of the run it comes from: settings, versions, commit, machine."""

from __future__ import annotations

import time

import pandas as pd

from nbtools.runs.folders import Run
from nbtools.runs.provenance import short, surroundings


def facts(run: Run) -> pd.DataFrame:
    """Return the settings of a run, and what else its numbers depend on, as a table for readers.

    Parameters
    ----------
    run : Run
        Open or finished; date, commit and machine are those of now.

    Returns
    -------
    DataFrame
        One row per fact: ``what``, ``value`` (both str): the notebook's parameters, the date, the commit (and whether
        files differ from it), versions, the machine, the run's folder.
    """
    around = surroundings()
    git = around["git"] or {"commit": "not a repository", "dirty": False}
    rows = {
        "notebook": run.notebook,
        "run folder": short(run.folder),
        **{name: str(value) or "–" for name, value in run.parameters.items()},
        "made": time.strftime("%Y-%m-%d %H:%M %z"),
        "nbtools": around["nbtools"],
        "commit": git["commit"] + ", with changes" * git["dirty"],
        "torch": around["packages"]["torch"],
        "machine": around["device"],
    }
    return pd.DataFrame({"what": list(rows), "value": list(rows.values())})
