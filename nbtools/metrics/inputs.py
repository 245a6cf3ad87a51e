"""What metrics are given: features with an id or label for each image, and tables that hold several groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype, is_string_dtype

from nbtools.checks import check_counts, check_table
from nbtools.errors import InputError


def check_rows(what: str, values: np.ndarray, *labels: np.ndarray, n_rows: int = 1, n_columns: int = 1) -> None:
    """Raise `InputError` unless values are a table of enough rows and columns, with a label for each row, none missing.

    Parameters
    ----------
    what : str
        What the values are, in the plural.
    values : array
        To be (n_rows, n_columns), at least so many of either: images or trials, features or voxels.
    *labels : array
        To be (n_rows,): ids, labels, repeats; None and NaN are none.
    """
    enough = values.ndim == 2 and len(values) >= n_rows and values.shape[1] >= n_columns
    if not enough or any(part.shape != values.shape[:1] for part in labels):
        raise InputError(
            f"{what} do not fit",
            expected=f"a table of {n_rows} rows and {n_columns} columns or more, and one label or id for each row",
            got=" and ".join(str(part.shape) for part in (values, *labels)),
            fix="one row and one label or id per image or trial, in the same order",
        )
    missing = sum(int(pd.isna(part).sum()) for part in labels)
    check_counts(
        f"{what} without a label or id",
        {f"of {len(values)} are missing (None or NaN)": missing},
        expected="a label or id for each row",
        fix="leave these rows out, or give them a label of their own",
    )


def check_features(what: str, values: np.ndarray, *labels: np.ndarray, n_rows: int = 1, n_columns: int = 1) -> None:
    """Raise `InputError` as `check_rows`, and if a value is not finite."""
    check_rows(what, values, *labels, n_rows=n_rows, n_columns=n_columns)
    broken = int((~np.isfinite(values)).any(axis=1).sum())
    if broken:
        raise InputError(
            f"{what} are not finite",
            expected="finite numbers",
            got=f"NaN or infinity in {broken} of {len(values)} rows",
            fix="drop dead voxels when loading; look for a diverged network",
        )


def check_answers(problem: str, table: pd.DataFrame, names: Sequence[str], *, fix: str) -> None:
    """Raise `InputError` unless answers can be compared, right ones and given ones: none missing, numbers or text."""
    check_table(problem, table, names, fix=fix)
    missing = {"missing values": int(table[list(names)].isna().to_numpy().sum())}
    check_counts(problem, missing, expected=f"{', '.join(names)} in every row", fix=fix)
    text, whole = ([kind(table[name]) for name in names] for kind in (is_string_dtype, is_integer_dtype))
    if not (all(text) or all(whole)):
        kinds = ", ".join(f"{name}: {table[name].dtype}" for name in names)
        raise InputError(problem, expected=f"{', '.join(names)}: all integer or all text", got=kinds, fix=fix)


def groups_of(table: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the `by` columns of each group, in the order they come, and its rows; without any, the whole table.

    Rows without a value in a `by` column (None, NaN) are a group, too: none is left out.
    """
    if not by:
        yield {}, table
        return
    for key, rows in table.groupby(list(by), sort=False, dropna=False):
        yield dict(zip(by, key, strict=True)), rows
