"""Natural corruptions: accuracy by kind and severity, and on average (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nbtools.errors import InputError
from nbtools.metrics.stats import bootstrap_ci

_COLUMNS = ("image_id", "label", "prediction", "condition", "seed", "corruption", "severity")


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
        One row per condition × corruption × severity: ``accuracy``, ``ci_low``, ``ci_high`` (fractions; networks of
        several seeds are averaged), ``n`` (images).

    Raises
    ------
    InputError
        If a column is missing or an image was decided twice.
    """
    return _accuracy(decisions, ["condition", "corruption", "severity"])


def mean_corruption_accuracy(decisions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each network averaged over all corruptions and severities, the clean images left out.

    Parameters and errors are those of `corruption_accuracy`; one row per condition.
    """
    _check(decisions)
    return _accuracy(decisions[decisions["severity"] > 0], ["condition"])


def _accuracy(decisions: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    _check(decisions)
    right = decisions.assign(right=(decisions["prediction"] == decisions["label"]).astype(float))
    rows = []
    for key, group in right.groupby(by, sort=False):
        values = group.groupby("image_id")["right"].mean().to_numpy()  # all groups draw the same images
        low, high = bootstrap_ci(values)
        means = {"accuracy": float(np.mean(values)), "ci_low": low, "ci_high": high, "n": len(values)}
        rows.append({**dict(zip(by, key, strict=True)), **means})
    return pd.DataFrame(rows)


def _check(decisions: pd.DataFrame) -> None:
    missing = [column for column in _COLUMNS if column not in decisions]
    keys = ["image_id", "condition", "seed", "corruption", "severity"]
    doubled = 0 if missing else int(decisions.duplicated(keys).sum())
    if missing or doubled or decisions.empty:
        raise InputError(
            "this is not a table of decisions on corrupted images",
            expected=f"columns {', '.join(_COLUMNS)}, one row per {' × '.join(keys)}",
            got=f"{len(decisions)} rows"
            + (f", without {', '.join(missing)}" if missing else "")
            + (f", {doubled} of them twice" if doubled else ""),
            fix="give each network each image once",
        )
