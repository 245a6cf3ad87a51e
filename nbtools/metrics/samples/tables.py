"""Tables of several networks, regions or attacks put together, and scores made ready to be tested together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nbtools.checks import check_table
from nbtools.errors import InputError


def stacked(parts: Mapping[Any, pd.DataFrame], *names: str) -> pd.DataFrame:
    """Put tables of one form below each other, with what each is of in further columns.

    Parameters
    ----------
    parts : mapping of key → DataFrame
        A key is one value, or a tuple of as many as there are names.
    *names : str
        Columns that hold the keys; they come last, or replace columns of these names.

    Raises
    ------
    InputError
        If there is no table, or a key has more or fewer values than there are names.
    """
    keys = [key if isinstance(key, tuple) else (key,) for key in parts]
    if not keys or any(len(key) != len(names) for key in keys):
        raise InputError(
            "these tables cannot be put together",
            expected=f"at least one, each with a key of {', '.join(names) or 'no value'}",
            got=f"keys {', '.join(map(repr, parts))}" if keys else "none",
            fix="give a dict whose keys have a value for each column",
        )
    named = [part.assign(**dict(zip(names, key, strict=True))) for key, part in zip(keys, parts.values(), strict=True)]
    return pd.concat(named, ignore_index=True)


def as_scores(table: pd.DataFrame, column: str, measure: str, direction: int = 1) -> pd.DataFrame:
    """Return one measure of each network in the form that `claims` tests.

    Parameters
    ----------
    table : DataFrame
        A row per network: ``condition``, ``seed`` and ``subject`` where there are several, and the column.
    column : str
        What is measured.
    measure : str
        Its name in words.
    direction : {1, -1}
        1 where the paper says that it rises from early to late regions, −1 where it falls.

    Returns
    -------
    DataFrame
        ``measure``, ``condition``, ``subject``, ``seed``, ``score``, ``direction``.

    Raises
    ------
    InputError
        If the table lacks a column.
    """
    check_table(f"{measure} cannot be tested", table, ("condition", column), fix="see which columns the table has")
    network = {name: table.get(name, 0) for name in ("subject", "seed")}
    named = table.assign(measure=measure, score=table[column], direction=direction, **network)
    return named[["measure", "condition", *network, "score", "direction"]]
