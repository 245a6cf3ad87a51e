"""Several runs at once: which ones, one table of all of theirs, and settings of one taken over by another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from nbtools.checks import check_table
from nbtools.conditions import is_adopted
from nbtools.errors import InputError
from nbtools.files import read_table
from nbtools.runs.folders import Parameters, prefer_defaults, typed
from nbtools.runs.lineage import OF_A_TRAINING


def chosen(found: pd.DataFrame, notebook: str, **values: Any) -> pd.DataFrame:
    """Choose networks' runs among those that were found.

    Parameters
    ----------
    found : DataFrame
        From `collect`, or runs of several notebooks told apart by a column ``notebook``.
    notebook : str
        Whose runs are wanted.
    **values
        What each parameter must be, or a list of what it may be; of an adopted network's, what it has.

    Returns
    -------
    DataFrame
        Its rows; of runs that agree in ``roi``, ``alpha`` and ``seed``, those with the defaults in all else.

    Raises
    ------
    InputError
        If the notebook has no such parameter, or it cannot have such a value.
    """
    rows = found[found["notebook"] == notebook] if "notebook" in found else found
    for name, value in values.items():
        each = value if isinstance(value, list) else [value]
        wanted = [typed(notebook, {name: one})[name] for one in each]
        any_will_do = rows["roi"].map(is_adopted).astype(bool) & (name in OF_A_TRAINING)
        rows = rows[rows[name].isin(wanted) | any_will_do]
    return prefer_defaults(rows, notebook, by=("roi", "alpha", "seed"))


def tables(found: pd.DataFrame, name: str, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read the same table of many runs into one, with these parameters of each run as further columns.

    Raises
    ------
    InputError
        If there is no run to read, or one lacks the table or has one that cannot be read.
    """
    fix = "run the notebooks before this one (`make demo` runs them all), or correct the parameters"
    check_table(f"no finished run to read from: table {name}", found, ("folder", *columns), fix=fix)
    parts = []
    for _, row in found.iterrows():
        part = read_table(Path(row["folder"]) / f"{name}.parquet")
        parts.append(part.assign(**{column: row[column] for column in columns}))
    return pd.concat(parts, ignore_index=True)


def taken_over(notebook: str, settings: Parameters, changes: str) -> Parameters:
    """Return the settings of another notebook's run, with some of them changed.

    Parameters
    ----------
    notebook : str
        Whose settings they are.
    settings : dict
        From its run: ``run.parameters``.
    changes : str
        Words ``name=value``, such as ``"epochs=46 schedule=constant"``; none: as they are.

    Raises
    ------
    InputError
        If a word is no ``name=value``, or the notebook has no such parameter or not with that value.
    """
    pairs = [word.partition("=") for word in changes.split()]
    wrong = [name for name, sign, _ in pairs if not sign]
    if wrong:
        raise InputError(
            f"these settings of {notebook} cannot be read",
            expected="name=value, one word each, such as epochs=46",
            got=", ".join(map(repr, wrong)),
            fix="write each with = and without blanks around it",
        )
    return {**settings, **typed(notebook, {name: value for name, _, value in pairs})}
