"""Accuracy of decisions on images that were changed in several ways: checks that measures share, intervals."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nbtools.checks import check_once, check_table, plain
from nbtools.metrics.inputs import check_answers, groups_of
from nbtools.metrics.stats import bootstrap_ci, ci, exact_at_ends


def answered(problem: str, decisions: pd.DataFrame, keys: Sequence[str], *, fix: str) -> pd.DataFrame:
    """Return decisions with a column ``right``, 0.0 or 1.0.

    Raises
    ------
    InputError
        If a key, a label or a prediction is missing, answers are of two kinds, or two rows have the same keys.
    """
    check_table(problem, decisions, (*keys, "label", "prediction"), fix=fix)
    check_answers(problem, decisions, ("label", "prediction"), fix=fix)
    check_once(problem, decisions, keys, fix=fix)
    right = (decisions["prediction"] == decisions["label"]).astype(float)
    return plain(decisions).assign(right=right)


def accuracy_by(right: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return each group's share of right answers, with a 95 % interval over images: of an image, its mean counts.

    Parameters
    ----------
    right : DataFrame
        From `answered`.
    by : sequence of str
        What tells groups apart.

    Returns
    -------
    DataFrame
        One row per group: the `by` columns, ``accuracy``, ``ci_low``, ``ci_high``, ``n`` (images).
    """
    rows = []
    for named, group in groups_of(right, by):
        values = group.groupby("image_id")["right"].mean().to_numpy()  # all groups draw the same images
        bounds = ci(exact_at_ends(bootstrap_ci(values), values.mean(), len(values)))
        rows.append({**named, "accuracy": values.mean(), **bounds, "n": len(values)})
    return pd.DataFrame(rows)
