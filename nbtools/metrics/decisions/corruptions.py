"""Natural corruptions: accuracy by kind and severity, and on average (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import pandas as pd

from nbtools.metrics.decisions.accuracy import accuracy_by, answered

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
    return accuracy_by(_answered(decisions), _KEYS[1:])


def mean_corruption_accuracy(decisions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each network averaged over all corruptions and severities, the clean images left out.

    Parameters and errors are those of `corruption_accuracy`; one row per condition × seed.
    """
    right = _answered(decisions)
    return accuracy_by(right[right["severity"] > 0], ["condition", "seed"])


def _answered(decisions: pd.DataFrame) -> pd.DataFrame:
    problem, fix = "this is not a table of decisions on corrupted images", "give each network each image once"
    return answered(problem, decisions, _KEYS, fix=fix)
