"""Decisions of others on images, of people or of networks: tables under the names that metrics know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from nbtools.checks import check_counts, check_once, check_table, listed, reading
from nbtools.errors import InputError
from nbtools.files import read_table

# What tells one decision from another, and what is compared with what.
_KEYS = ("condition", "seed", "subject", "attack", "epsilon", "corruption", "severity", "image_id")
_ANSWERS = ("prediction", "label", "shape", "texture")
_PROBLEM = "these decisions cannot be taken over"


def read_decisions(
    files: str | Path | Iterable[str | Path], columns: Mapping[str, str], *, parts: str | None = None
) -> pd.DataFrame:
    """Read decisions that somebody else collected.

    Parameters
    ----------
    files : path, or several
        CSV with a head line, or parquet; several are put below each other.
    columns : mapping of str to str
        Which column is what: the name that metrics know → the name in the files. ``image_id`` and ``prediction`` are
        needed; ``condition`` is who decided, ``label`` (or ``shape``, ``texture``) what is right; ``epsilon``,
        ``margin``, ``seed``, ``subject``, ``corruption``, ``severity`` as in the tables of this package. Columns that
        are not named stay behind, whatever they are called.
    parts : str, optional
        A regular expression that is searched for in ``image_id``; each of its named groups becomes a column, or
        replaces the one of its name.

    Returns
    -------
    DataFrame
        One row per decision. ``image_id`` and ``condition`` are text; answers are numbers if all of them are, else
        text: an answer such as ``"na"`` is a decision for none of the classes.

    Raises
    ------
    InputError
        If a file cannot be read or lacks a column, a value is missing, an image id does not hold the parts, an image
        was decided twice by one network, or no answer is ever right.

    Notes
    -----
    data/README.md shows it on people's raw decisions of Geirhos et al. (2019), and which metric needs which columns.
    """
    named = [files] if isinstance(files, str | Path) else list(files)
    if not named:
        raise InputError(_PROBLEM, expected="one file or more", got="none", fix="see where the files are")
    table = pd.concat([_read(Path(file), columns) for file in named], ignore_index=True)
    if parts is not None:
        table = table.assign(**_parts(table["image_id"].astype(str), parts))
    _check(table)
    answers = [name for name in _ANSWERS if name in table]
    if not all(pd.api.types.is_numeric_dtype(table[name]) for name in answers):
        table = table.astype(dict.fromkeys(answers, str))
    _check_answers(table)
    return table.astype({name: str for name in ("image_id", "condition") if name in table})


def _read(file: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read the columns of one file, under their new names; only an empty cell is a missing value."""
    fix = f"name the columns that are there; needed are image_id and prediction, for {file.name}"
    if file.suffix == ".parquet":
        table = read_table(file)
    else:
        text = {theirs: str for ours, theirs in columns.items() if ours in ("image_id", "condition")}
        with reading(_PROBLEM, OSError, ValueError, file=file, expected="a CSV table in UTF-8, or .parquet", fix=fix):
            table = pd.read_csv(file, encoding="utf-8-sig", dtype=text, keep_default_na=False, na_values=[""])
    check_table(_PROBLEM, table, columns.values(), fix=fix)
    renamed = table[list(columns.values())].set_axis(list(columns), axis=1)
    check_table(_PROBLEM, renamed, ("image_id", "prediction"), fix=fix)
    return renamed


def _parts(ids: pd.Series, pattern: str) -> pd.DataFrame:
    fix = r"write a regular expression with named groups, such as (?P<label>[a-z]+)\d+\.png"
    with reading(_PROBLEM, re.error, ValueError, expected="a regular expression with named groups", fix=fix):
        found = ids.str.extract(pattern)
    unnamed = {"groups without a name": sum(not isinstance(name, str) for name in found.columns)}
    without = {f"image ids without it, such as {ids[row]}": 1 for row in found.index[found.isna().any(axis=1)][:1]}
    check_counts(_PROBLEM, {**unnamed, **without}, expected=f"{pattern} in every image id", fix=fix)
    return found


def _check(table: pd.DataFrame) -> None:
    missing = {f"values of {name} are missing": int(count) for name, count in table.isna().sum().items()}
    check_counts(_PROBLEM, missing, expected="a value in every cell", fix="leave these rows out of the files")
    fix = "name the column that tells them apart, as seed, subject, epsilon, severity …, or drop what is there twice"
    check_once(_PROBLEM, table, [name for name in _KEYS if name in table], fix=fix)


def _check_answers(table: pd.DataFrame) -> None:
    right = next((name for name in ("label", "shape") if name in table), None)
    if right is not None and not set(table[right]) & set(table["prediction"]):
        raise InputError(
            _PROBLEM,
            expected=f"answers by the names that {right} has: {listed(table[right].unique(), 10)}",
            got=listed(table["prediction"].unique(), 10),
            fix="give both by the same names or numbers",
        )
