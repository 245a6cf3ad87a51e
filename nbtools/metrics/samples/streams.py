"""Two hierarchies side by side, the ventral and the dorsal one: does a score rise more along one of them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from nbtools.errors import InputError
from nbtools.metrics.samples.contrasts import SIGNIFICANT, Trend, contrast, corrected, layout, rank_weights, slope
from nbtools.metrics.samples.measures import along, by_measure
from nbtools.metrics.samples.verdicts import no_sample, p_text, sample_words, signed
from nbtools.metrics.stats import ROUNDING, chance_orders

_FEWEST = 40  # pairs of orders: of fewer, no two-sided p is below .05


def slope_difference(scores: pd.DataFrame, column: str, ventral: Sequence[str], dorsal: Sequence[str]) -> Trend:
    """Measure how much more a score rises along one hierarchy than along a second one.

    Parameters
    ----------
    scores : DataFrame
        One row per network; other conditions than these regions are left out.
    column : str
        The score's.
    ventral, dorsal : sequence of str
        The regions of each, early to late: three or more, none in both.

    Returns
    -------
    Trend
        The first slope minus the second, in the score's unit per region.

    Raises
    ------
    InputError
        As `layout`, or if the regions are too few or not different.

    Notes
    -----
    Networks of one seed are compared with each other (`contrast`), so that `p` speaks of further networks of *these*
    regions. `p_order` takes the regions for the sample: in which share of all pairs of orders, each hierarchy's regions
    shuffled among themselves, are the means' slopes as far apart? NaN with fewer than 40 pairs, or where `p` is.
    """
    regions = [*ventral, *dorsal]
    if min(len(ventral), len(dorsal)) < 3 or len(set(regions)) < len(regions):
        raise InputError(
            "these two hierarchies have no slopes to compare",
            expected="three different regions or more in each, none in both",
            got=f"{', '.join(ventral) or 'none'}; {', '.join(dorsal) or 'none'}",
            fix="run further regions, or leave those of both out of one",
        )
    values = layout(scores, column, regions)
    weights = rank_weights(len(ventral)), -rank_weights(len(dorsal))
    found = contrast(values, np.concatenate(weights))
    means = np.split(values.mean(axis=(1, 2)), [len(ventral)])
    slopes = [of[chance_orders(len(of))] @ part for of, part in zip(weights, means, strict=True)]
    tested = len(slopes[0]) * len(slopes[1]) >= _FEWEST and not np.isnan(found.p)
    p_order = _pairs_as_far(slopes[0], slopes[1], ROUNDING * np.abs(values).max()) if tested else np.nan
    return Trend(**asdict(found), p_order=p_order, n_regions=len(regions))


def _pairs_as_far(one: np.ndarray, other: np.ndarray, tolerance: float) -> float:
    """Share of all pairs whose sum is as far from 0 as that of the first of each: counted on sorted sums."""
    found, ordered = abs(one[0] + other[0]) - tolerance, np.sort(other)
    above = len(other) - np.searchsorted(ordered, found - one, side="left")
    below = np.searchsorted(ordered, -found - one, side="right")
    return float(np.minimum(above + below, len(other)).mean() / len(other))


def streams(scores: pd.DataFrame, ventral: Sequence[str], dorsal: Sequence[str]) -> pd.DataFrame:
    """Measure the slopes of many measures along both hierarchies, and their difference.

    Parameters
    ----------
    scores : DataFrame
        As `metrics.claims` takes it.
    ventral, dorsal : sequence of str
        As in `slope_difference`.

    Returns
    -------
    DataFrame
        Three rows per measure: ``measure``, ``along`` ("ventral", "dorsal", "ventral − dorsal"), ``slope`` (in standard
        deviations of all these regions' networks, per region; positive where it goes the paper's way), ``ci_low``,
        ``ci_high``, ``p``, ``p_order``, ``p_page``, ``p_holm`` (of the largest; Holm over the measures), ``d``,
        ``n_seeds``, ``n_subjects``. A measure that a network of the regions has no score of (NaN) has no slope, and no
        test.

    Raises
    ------
    InputError
        As `slope_difference` and `claims`.
    """
    rows = []
    for measure, _, networks in by_measure(scores, [*ventral, *dorsal]):
        found = {
            "ventral": slope(networks, "score", ventral),
            "dorsal": slope(networks, "score", dorsal),
            "ventral − dorsal": slope_difference(networks, "score", ventral, dorsal),
        }
        rows += [{"measure": measure, "along": name, **along(networks, trend)} for name, trend in found.items()]
    table = pd.DataFrame(rows)
    p_holm = table.groupby("along")["p_both"].transform(corrected)
    table.insert(table.columns.get_loc("p_order") + 1, "p_holm", p_holm)
    return table.drop(columns="p_both")


def streams_verdict(scores: pd.DataFrame, column: str, ventral: Sequence[str], dorsal: Sequence[str]) -> str:
    """Say whether a score rises more along one hierarchy than along the other, and how sure that is.

    Parameters
    ----------
    scores, column, ventral, dorsal
        As in `slope_difference`.

    Raises
    ------
    InputError
        As `slope_difference`.
    """
    each = [slope(scores, column, regions).value for regions in (ventral, dorsal)]
    found = slope_difference(scores, column, ventral, dorsal)
    words = f"ventral {signed(each[0])}, dorsal {signed(each[1])} per region"
    if np.isnan(found.p):
        return f"{words} in these networks; {no_sample(found)}: no test"
    low, high = signed(found.ci_low), signed(found.ci_high)
    words += f", difference {signed(found.value)} (95 % CI {low} to {high}; {sample_words(found)}), {p_text(found.p)}, "
    words += "their orders untested" if np.isnan(found.p_order) else f"of their orders {p_text(found.p_order)}"
    if found.p_both > SIGNIFICANT:
        return f"{words}: whether they differ cannot be told"
    return f"{words}: steeper along the {'ventral' if found.value > 0 else 'dorsal'} hierarchy"
