"""Several runs at once: which ones, one table of all of theirs, and settings of one taken over by another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nbtools.checks import check_choice, check_once, check_table
from nbtools.conditions import is_adopted, parse_condition
from nbtools.data.study import home
from nbtools.errors import InputError
from nbtools.files import read_table
from nbtools.runs.folders import Parameters, Run, collect, prefer_defaults, typed
from nbtools.runs.lineage import CLOUDS, NETWORKS, OF_A_TRAINING
from nbtools.runs.provenance import short
from nbtools.runs.records import finished_record


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
    fix = "run the notebooks before this one (`python -m nbtools demo` runs them all), or correct the parameters"
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


def compared(
    run: Run, notebook: str, *, names: Sequence[str], alpha: float, seeds: Sequence[int]
) -> dict[tuple[str, int], Run]:
    """Find the networks that a run compares, whoever trained them.

    Parameters
    ----------
    run : Run
        Notes them as input. A finished one gets those it was made of, and says which came later.
    notebook : str
        In which conditions are looked up: that of the networks.
    names : sequence of str
        Conditions, each with the networks of these seeds that there are, at least one; or paths of run folders (what
        holds a ``/``), whole or from where ``runs/`` lies.
    alpha : float
        α of the networks of which it says anything (`Condition.weighted`); a path names its own.
    seeds : sequence of int
        Of the networks that conditions name.

    Returns
    -------
    dict of (condition, seed) → Run
        In the order of the names. Where runs of one condition were made otherwise, by another α, say, it is named with
        what they differ in: ``"TO alpha=0.35"``.

    Raises
    ------
    InputError
        If a condition has no network, or several that no default tells apart; if a path is no finished run of notebook
        03 or 13; if a network is named twice.
    """
    conditions = [name for name in names if "/" not in name]
    rows = chosen(collect(notebook, run.parameters["study"]), notebook, roi=conditions, seed=list(seeds))
    fits = [row.alpha == alpha or not parse_condition(row.roi).weighted for row in rows.itertuples()]
    rows = prefer_defaults(rows.loc[fits], notebook, by=("roi", "seed"))
    if absent := [name for name in conditions if name not in set(rows["roi"])]:
        run.upstreams(notebook, roi=absent, alpha=alpha, seed=list(seeds))  # says how they are made
    check_once("a condition has several networks", rows, ("roi", "seed"), fix="name the folder of the run you mean")
    rows = rows.sort_values("seed")
    places = {name: [Path(folder) for folder in rows.loc[rows["roi"] == name, "folder"]] for name in conditions}
    found = [_network(folder) for name in names for folder in places.get(name, [home() / name])]
    names = [one.parameters["roi"] + "-manifold" * (one.notebook == CLOUDS) for one in found]
    values = pd.DataFrame([one.parameters for one in found]).drop(columns=["seed", "predictor_seed"], errors="ignore")
    keys = pd.DataFrame({"network": told_apart(names, values), "seed": [one.parameters["seed"] for one in found]})
    check_once("a network is named twice", keys, ("network", "seed"), fix="name each once")
    named = zip(keys.itertuples(index=False, name=None), found, strict=True)
    return {key: one for key, one in named if _is_part(one, run)}


def _network(folder: Path) -> Run:
    record = finished_record(folder)
    check_choice(f"{short(folder)} holds no network to compare", record["notebook"], (NETWORKS, CLOUDS))
    return Run(record["notebook"], record["parameters"], folder, finished=True)


def told_apart(names: Sequence[str], values: pd.DataFrame) -> list[str]:
    """Return runs' names (n_runs,), each with those of its values in which runs of that name differ.

    Parameters
    ----------
    names : sequence of str (n_runs,)
        Conditions.
    values : DataFrame
        Parameters, a row per run: ``"TO"`` becomes ``"TO alpha=0.35"`` where there is a ``TO`` of another ``alpha``.
    """
    values = values.reset_index(drop=True).astype(str)
    telling = values.groupby(list(names)).transform("nunique") > 1
    return [
        " ".join([name, *(f"{key}={values.at[row, key]}" for key in values if telling.at[row, key])])
        for row, name in enumerate(names)
    ]


def took(folder: Path, network: Path) -> bool:
    """Say whether the finished run in a folder read the weights of the network in another."""
    return short(network / "weights.safetensors") in finished_record(folder)["inputs"]


def _is_part(network: Run, run: Run) -> bool:
    """Note a network as input of a run; of a finished one, say whether it is, and where it is not, what to do."""
    if run.finished and not took(run.folder, network.folder):
        print(f"note: {short(network.folder)} came later: delete {short(run.folder)} to compare it, too")
        return False
    run.use(network)
    return True
