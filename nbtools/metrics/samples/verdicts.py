"""Slopes along the hierarchy in words, also where there is no sample or are too few regions for one."""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial
from typing import Literal

import numpy as np
import pandas as pd

from nbtools.checks import check_table
from nbtools.conditions import HIERARCHY
from nbtools.metrics.samples.contrasts import FEWEST_ORDERED, SIGNIFICANT, Effect, Trend, slope

Judgement = Literal["more", "less", "as much", "unclear"]
TOO_FEW = "no trend: that takes three regions"
UNSCORED = "no trend: a network of these regions has no score"


def in_order(conditions: Sequence[str], order: Sequence[str] = HIERARCHY) -> list[str]:
    """Return the regions among these conditions, from early to late."""
    return [roi for roi in order if roi in conditions]


def verdict(scores: pd.DataFrame, column: str, order: Sequence[str] = HIERARCHY, margin: float | None = None) -> str:
    """Say whether a score rises along the hierarchy, and how sure that is (`describe`).

    Parameters
    ----------
    scores : DataFrame
        One row per network: ``condition``, ``seed`` (and ``subject``), the score; controls are left out.
    column : str
        The score's.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    margin : float, optional
        As for `contrasts.slope`.

    Raises
    ------
    InputError
        As `contrasts.slope`.
    """
    check_table("networks cannot be compared", scores, ("condition", column), fix="see which columns the table has")
    regions = in_order(list(scores["condition"].unique()), order)
    if scores.loc[scores["condition"].isin(regions), column].isna().any():
        return UNSCORED
    return describe(slope(scores, column, regions, margin)) if len(regions) > 2 else TOO_FEW


def verdicts(accuracy: pd.DataFrame, order: Sequence[str] = HIERARCHY) -> dict[float, str]:
    """Say of each ε whether robust accuracy rises along the hierarchy.

    Parameters
    ----------
    accuracy : DataFrame
        One row per network × ε, from `robust_accuracy`.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.

    Raises
    ------
    InputError
        As `contrasts.slope`.
    """
    check_table("there are no accuracies", accuracy, ("epsilon", "accuracy"), fix="make them with robust_accuracy")
    return {epsilon: verdict(rows, "accuracy", order) for epsilon, rows in accuracy.groupby("epsilon")}


def describe(slope: Trend) -> str:
    """Put a slope into one sentence, such as ``"+0.014 per region (95 % CI +0.006 to +0.022; 3 seeds), p = 0.017, of
    the order p = 0.02: rises along the hierarchy"``.

    A rise is said only where networks (or subjects) and the regions' order both have p ≤ .05. Fewer than five regions
    have too few orders: there slope and ranks (Page's L) of the networks must agree, and the verdict, of these regions
    alone, says what it cannot show. Else it says which of the two cannot tell, or, where the slope is within its
    margin, that it is. One network of each region is no sample, and has no test.
    """
    value, low, high = map(signed, (slope.value, slope.ci_low, slope.ci_high))
    if np.isnan(slope.p):
        return f"{value} per region in these networks; {no_sample(slope)}: no test"
    few = slope.n_regions < FEWEST_ORDERED
    of_order = f"Page's L {p_text(slope.p_page)}" if few else f"of the order {p_text(slope.p_order)}"
    found = f"{value} per region (95 % CI {low} to {high}; {sample_words(slope)}), {p_text(slope.p)}, {of_order}"
    if slope.p_both <= SIGNIFICANT:
        return f"{found}: {'rises' if slope.value > 0 else 'falls'} {_along(slope.n_regions)}"
    if slope.equivalent:
        return f"{found}: no rise or fall as large as {slope.margin:g} from the first region to the last"
    return f"{found}: whether it rises, {_unsure(slope)} cannot tell"


def _along(n_regions: int) -> str:
    """Say of what a rise is one: of the hierarchy, or of regions too few to say that their order is the reason."""
    if n_regions >= FEWEST_ORDERED:
        return "along the hierarchy"
    orders = factorial(n_regions)
    return (
        f"along these {n_regions} regions; whether for their order, so few cannot show: any that differ stand in it, "
        f"or in its reverse, with p = {2 / orders:.2g} ({orders} orders)"
    )


def judged(value: float, p: float, equivalent: bool) -> Judgement:
    """Judge a difference: within its margin for sure, however sure that it is one; else what p ≤ .05 says of its sign.

    Parameters
    ----------
    value, p : float
        The difference and its p, after correction; NaN: no test.
    equivalent : bool
        Whether it is within its margin for sure.
    """
    if equivalent:
        return "as much"
    if not p <= SIGNIFICANT:
        return "unclear"
    return "more" if value > 0 else "less"


def no_sample(effect: Effect) -> str:
    """Say why networks are no sample that tells how far others would differ."""
    return "one seed is no sample" if max(effect.n_seeds, effect.n_subjects) == 1 else "all of them are alike"


def sample_words(slope: Trend) -> str:
    """Say how many networks, and brains, a slope is over."""
    seeds = f"{slope.n_seeds} seed{'s' * (slope.n_seeds != 1)}"
    return f"{slope.n_subjects} subjects, {seeds}" if slope.n_subjects > 1 else seeds


def _unsure(slope: Trend) -> str:
    """Which of the two questions has no answer."""
    of = {
        "these subjects" if slope.n_subjects > 1 else "these networks": slope.p_networks,
        "the regions' order": slope.p_order,
    }
    return " and ".join(name for name, p in of.items() if p > SIGNIFICANT)


def p_text(p: float) -> str:
    """Write a p-value; a missing one is no test."""
    return "no test" if np.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def signed(value: float) -> str:
    """Write a slope with its sign."""
    return f"{value:+.3f}".replace("-", "−")
