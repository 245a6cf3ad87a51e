"""Scores of many measures at once along the hierarchy, each in standard deviations of the regions' networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from nbtools.checks import check_counts, check_numbers, check_table, plain
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.samples.contrasts import Trend, corrected, slope

_TOLD = ("ci_low", "ci_high", "p", "p_order", "p_page", "p_both", "d", "n_seeds", "n_subjects")
_PROBLEM, _FIX = "these scores cannot be tested along the hierarchy", "run the analyses for all compared regions"


def claims(scores: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """Measure the slope along the hierarchy of many measures at once.

    Parameters
    ----------
    scores : DataFrame
        One row per measure × network: ``measure`` (words), ``condition``, ``seed``, ``score``, ``direction`` (1 where
        the paper says that it rises from early to late regions, −1 where it falls).
    regions : sequence of str
        Early to late; other conditions are left out.

    Returns
    -------
    DataFrame
        One row per measure, in the order they come: ``measure``, ``direction``, ``slope`` (positive where it goes the
        paper's way; in standard deviations of the regions' networks, so that measures can be set side by side),
        ``ci_low``, ``ci_high``, ``p`` (two-sided, over networks), ``p_order`` (over orders of the regions, see
        `Trend`), ``p_page`` (of fewer than five regions, see `Trend`), ``p_holm`` (of the largest, Holm over the
        table), ``d``, ``n_seeds``, ``n_subjects``. A measure that a network of the regions has no score of (NaN) has no
        slope, and no test.

    Raises
    ------
    InputError
        As `layout` and `slope`, or if a measure has two directions, or one that is neither 1 nor −1.
    """
    rows = []
    for measure, direction, group in by_measure(scores, regions):
        rows.append({"measure": measure, "direction": direction, **along(group, slope(group, "score", regions))})
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p_order") + 1, "p_holm", corrected(table.pop("p_both")))
    return table


def by_measure(scores: pd.DataFrame, regions: Sequence[str]) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Yield each measure, its direction and its networks, their ``score`` positive the paper's way and in SD of all.

    A missing score is 0, and not ``known``: `along` blanks what comes of it.
    """
    check_table(_PROBLEM, scores, ("measure", "condition", "score", "direction"), fix=_FIX)
    scores = plain(scores)
    check_numbers(_PROBLEM, scores, ("score", "direction"), fix=_FIX)
    for named, group in groups_of(scores, ["measure"]):
        measure, directions = named["measure"], set(group["direction"])
        two = {f"directions of {measure}: {sorted(directions)}": 0 if directions in ({1}, {-1}) else len(directions)}
        check_counts(_PROBLEM, two, expected="1 or −1, the same for all networks", fix=_FIX)
        of = group[group["condition"].isin(regions)]
        spread = of["score"].std() or 1.0  # all equal: a slope of 0
        score = of["score"].fillna(0) * of["direction"] / spread
        yield measure, directions.pop(), of.assign(score=score, known=of["score"].notna())


def along(networks: pd.DataFrame, trend: Trend) -> dict[str, float]:
    """Return what a table says of a measure's trend: nothing where one of its networks has no score."""
    told = {"slope": trend.value, **{name: getattr(trend, name) for name in _TOLD}}
    return told | ({} if networks["known"].all() else dict.fromkeys(told.keys() - {"n_seeds", "n_subjects"}, np.nan))
