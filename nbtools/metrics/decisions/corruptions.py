"""Natural corruptions: accuracy by kind and severity, and on average (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import pandas as pd

from nbtools.checks import check_once, check_table, plain
from nbtools.metrics.inputs import check_answers, groups_of
from nbtools.metrics.stats import bootstrap_ci, ci

_KEYS = ("image_id", "condition", "seed", "corruption", "severity")


def corruption_accuracy(decisions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each network on each corruption at each severity, with 95 % intervals over images.

    Parameters
    ----------
    decisions : DataFrame
        One row per image × condition × seed × corruption × severity: ``image_id``, ``label``, ``prediction``,
        ``condition``, ``seed``, ``corruption``, ``severity`` (0: clean).

    Returns
    -------
    DataFrame
        One row per condition × seed × corruption × severity: ``accuracy``, ``ci_low``, ``ci_high`` (fractions), ``n``
        (images).

    Raises
    ------
    InputError
        If a column or an answer is missing, answers are of two kinds, or an image was decided twice.
    """
    return _accuracy(decisions, ["condition", "seed", "corruption", "severity"])


def mean_corruption_accuracy(decisions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each network averaged over all corruptions and severities, the clean images left out.

    Parameters and errors are those of `corruption_accuracy`; one row per condition × seed.
    """
    decisions = _checked(decisions)
    return _accuracy(decisions[decisions["severity"] > 0], ["condition", "seed"])


def _accuracy(decisions: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    decisions = _checked(decisions)
    right = decisions.assign(right=(decisions["prediction"] == decisions["label"]).astype(float))
    rows = []
    for named, group in groups_of(right, by):
        values = group.groupby("image_id")["right"].mean().to_numpy()  # all groups draw the same images
        rows.append({**named, "accuracy": values.mean(), **ci(bootstrap_ci(values)), "n": len(values)})
    return pd.DataFrame(rows)


def _checked(decisions: pd.DataFrame) -> pd.DataFrame:
    problem, fix = "this is not a table of decisions on corrupted images", "give each network each image once"
    check_table(problem, decisions, (*_KEYS, "label", "prediction"), fix=fix)
    check_answers(problem, decisions, ("label", "prediction"), fix=fix)
    check_once(problem, decisions, _KEYS, fix=fix)
    return plain(decisions)
