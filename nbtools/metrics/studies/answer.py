"""A study's answer in three sentences: the trend, the last region beside its controls, and clean accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nbtools.checks import check_table
from nbtools.metrics.decisions.robustness import epsilon_label
from nbtools.metrics.samples.contrasts import SIGNIFICANT
from nbtools.metrics.samples.verdicts import judged, p_text, signed

_COLUMNS = ("condition", "control", "difference", "ci_low", "ci_high", "p_holm", "equivalent")


def answer(said: Mapping[float, str], differences: pd.DataFrame, regions: Sequence[str]) -> list[str]:
    """Return three sentences: robust accuracy along the hierarchy, the last region and its controls, clean accuracy.

    Parameters
    ----------
    said : mapping of ε → str
        From `verdicts`, the clean images (ε = 0) among them; the largest ε (pixel units) is the one asked about.
    differences : DataFrame
        From `compare`, of the regions and the controls at that ε; empty where there are no regions or no controls.
    regions : sequence of str
        Early to late.

    Raises
    ------
    InputError
        If the table lacks a column.
    """
    largest = max(said)
    at = f"at ε = {epsilon_label(largest)}"
    trend = f"Robust accuracy {at}: {said[largest]}."
    clean = f"Clean accuracy: {said[0.0]}." if 0.0 in said else "Clean accuracy was not measured."
    return [trend, _controls(differences, regions, at), clean]


def _controls(differences: pd.DataFrame, regions: Sequence[str], at: str) -> str:
    """Say how far the last region's networks stand above each control, and of how many they are clear."""
    if differences.empty:
        return "Controls: none to compare a region with."
    check_table("differences cannot be told", differences, _COLUMNS, fix="make them with metrics.compare")
    rows = differences[differences["condition"] == regions[-1]].to_dict("records")
    beside = "; ".join(f"{signed(row['difference'])} to {row['control']}{_interval(row)}" for row in rows)
    return f"Controls: {regions[-1]} {at} differs by {beside}: {_finding(rows)}."


def _interval(row: Mapping[str, float]) -> str:
    if np.isnan(row["ci_low"]):
        return ""
    low, high = signed(row["ci_low"]), signed(row["ci_high"])
    return f" (95 % CI {low} to {high}, {p_text(row['p_holm'])} after Holm)"


def _finding(rows: Sequence[Mapping[str, float]]) -> str:
    """Count the controls that it is clear of, by what `judged` says of each difference."""
    if all(np.isnan(row["p_holm"]) for row in rows):
        return "one network each has no test"
    found = [judged(row["difference"], row["p_holm"], bool(row["equivalent"])) for row in rows]
    words = {"more": "above", "as much": "as robust as", "less": "below", "unclear": "not to be told from"}
    counts = [f"{word} {found.count(kind)}" for kind, word in words.items() if kind in found]
    return f"of {len(rows)} controls it is {', '.join(counts)} (p ≤ {SIGNIFICANT:g} after Holm for all comparisons)"
