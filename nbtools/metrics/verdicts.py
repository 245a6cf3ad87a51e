"""Trends along the hierarchy in words, also where there are too few regions for one, or too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nbtools.conditions import HIERARCHY
from nbtools.metrics.robustness import correctness, epsilon_label
from nbtools.metrics.stats import MAX_REGIONS, TrendTest, describe, trend_over_images, trend_test

NO_TREND = f"no trend: its exact test takes three to {MAX_REGIONS} regions"


def in_order(conditions: Sequence[str], order: Sequence[str] = HIERARCHY) -> list[str]:
    """Return the regions among these conditions, from early to late."""
    return [roi for roi in order if roi in conditions]


def verdict(scores: Mapping[str, float] | Any, order: Sequence[str] = HIERARCHY) -> str:
    """Test whether scores rise along the hierarchy, and say what was found.

    Parameters
    ----------
    scores : mapping (a dict or a pandas Series) of condition → score
        Controls are left out.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.

    Raises
    ------
    InputError
        If a score is not finite.
    """
    regions = in_order(list(scores.keys()), order)
    if not 3 <= len(regions) <= MAX_REGIONS:
        return NO_TREND
    return describe(trend_test({roi: scores[roi] for roi in regions}, regions))


def trends(
    decisions: pd.DataFrame, epsilons: Sequence[float], order: Sequence[str] = HIERARCHY
) -> dict[float, TrendTest]:
    """Test at each ε whether regions' robust accuracy rises along the hierarchy: none with too few or too many.

    Parameters
    ----------
    decisions : DataFrame
        As `robustness.check_decisions` describes, with ``condition``.
    epsilons : sequence of float
        Budgets in pixel units, among those attacked; 0 is the clean image.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.

    Raises
    ------
    InputError
        As `correctness`, `trend_over_images`.
    """
    regions = in_order(list(decisions["condition"].unique()), order)
    tested = epsilons if 3 <= len(regions) <= MAX_REGIONS else []
    return {e: trend_over_images(correctness(decisions, e, regions), regions) for e in tested}


def verdicts(trends: Mapping[float, TrendTest]) -> str:
    """Put the trends at several ε into one line each, or say that there is none."""
    return "\n".join(f"{epsilon_label(e):>8}: {describe(trend)}" for e, trend in trends.items()) or NO_TREND
