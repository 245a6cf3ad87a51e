"""Tables that figures show: their checks, the rows at one ε, the order of conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from nbtools.checks import check_once, check_table
from nbtools.conditions import HIERARCHY, conditions_of
from nbtools.errors import InputError
from nbtools.metrics.decisions.robustness import at_epsilon, epsilon_label


def check_drawable(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise `InputError` unless the table has rows and these columns."""
    fix = "finish the run that makes this table, or rename its columns"
    check_table("the table cannot be drawn", table, columns, fix=fix)


def check_names(values: Iterable[object], allowed: Iterable[str], column: str) -> None:
    """Raise `InputError` unless the column holds only these names."""
    allowed = list(allowed)
    unknown = sorted(set(map(str, values)) - set(allowed))
    if unknown:
        raise InputError(
            f"the column {column} holds unknown names",
            expected=", ".join(allowed),
            got=", ".join(unknown),
            fix=f"rename them in {column}",
        )


def check_points(table: pd.DataFrame, keys: Sequence[str], *, fix: str) -> None:
    """Raise `InputError` unless the keys tell all rows apart: a point of a figure holds one row."""
    check_once("the table holds points of the figure twice", table, keys, fix=fix)


def check_accuracy(accuracy: pd.DataFrame, keys: Sequence[str] = ("condition",)) -> None:
    """Raise `InputError` unless the table has one accuracy and interval per key and ε."""
    check_drawable(accuracy, (*keys, "epsilon", "accuracy", "ci_low", "ci_high"))
    fix = f"average seeds first: over_networks(accuracy, 'accuracy', by={(*keys, 'epsilon')!r})"
    check_points(accuracy, (*keys, "epsilon"), fix=fix)


def drawn_at(accuracy: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """Return the rows at one ε (pixel units); raise `InputError` if there are none."""
    rows = at_epsilon(accuracy, epsilon)
    if not len(rows):
        raise InputError(
            f"no accuracy at ε = {epsilon_label(epsilon)}",
            expected="one of ε = " + ", ".join(map(epsilon_label, sorted(set(accuracy["epsilon"])))),
            got=epsilon_label(epsilon),
            fix="choose an ε that was run; ε is in pixel units, k/255",
        )
    return rows


def clean_and_robust(accuracy: pd.DataFrame, epsilon: float, keys: Sequence[str]) -> pd.DataFrame:
    """Return a row per key, with ``…_clean`` and ``…_robust`` of what it has at ε = 0 and at ε (pixel units)."""
    clean, robust = drawn_at(accuracy, 0.0), drawn_at(accuracy, epsilon)
    both = clean.merge(robust, on=list(keys), suffixes=("_clean", "_robust"))
    if not len(both) == len(clean) == len(robust):
        raise InputError(
            "some networks lack one of the two budgets",
            expected=f"every network at ε = 0 and at ε = {epsilon_label(epsilon)}",
            got=f"{len(clean)} networks at ε = 0, {len(robust)} at the other, {len(both)} at both",
            fix="attack every network at the same budgets, clean images included",
        )
    return both


def ordered(names: pd.Series, order: Sequence[str] = HIERARCHY) -> list[str]:
    """Return the distinct names in the order of `conditions.conditions_of`, others after them as they come."""
    found, known = list(dict.fromkeys(names.astype(str))), conditions_of(order)
    return sorted(found, key=lambda name: known.index(name) if name in known else len(known))
