"""Does a property of networks go with what guidance gained them?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from nbtools.checks import as_names, check_counts, check_table
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import ci, holm

_MIN_NETWORKS = 4  # the interval of a correlation divides by n − 3


def correlate_with_gain(table: pd.DataFrame, by: Sequence[str] = ("measure",), seed: int = 0) -> pd.DataFrame:
    """Correlate a property with what guidance gained, over networks.

    Parameters
    ----------
    table : DataFrame
        One row per group × network: the `by` columns, ``value`` (of the property), ``gain`` (in robust accuracy).
    by : sequence of str
        What to correlate within.
    seed : int
        Of the permutations.

    Returns
    -------
    DataFrame
        One row per group: the `by` columns, ``rho`` (Spearman), ``ci_low``, ``ci_high`` (95 %), ``p`` (two-sided,
        permutation; all of them up to 7 networks, 10,000 random ones beyond), ``p_holm`` (Holm over the table), ``n``.

    Raises
    ------
    InputError
        If a column is missing, a group has fewer than 4 networks, or its values or gains are all equal or not finite.

    Notes
    -----
    Interval: Fisher's z with the variance (1 + ρ²/2) / (n − 3) of Bonett & Wright (2000). The networks are the
    sample, and there are few: a wide interval is the rule, and ρ = ±1 has one of no width.
    """
    by = as_names(by)
    problem, fix = "values and gains cannot be correlated", "attack more networks, or leave that measure out"
    check_table(problem, table, (*by, "value", "gain"), fix=fix)
    groups = list(groups_of(table, by))
    expected = f"{_MIN_NETWORKS} networks or more in each group, values and gains finite and not all equal"
    poor = sum(not _varies(group) for _, group in groups)
    check_counts(problem, {f"of {len(groups)} groups otherwise": poor}, expected=expected, fix=fix)
    found = pd.DataFrame([named | _spearman(group, seed) for named, group in groups])
    found.insert(found.columns.get_loc("n"), "p_holm", holm(found["p"]))
    return found


def _varies(group: pd.DataFrame) -> bool:
    pair = group[["value", "gain"]]
    return bool(len(pair) >= _MIN_NETWORKS and np.isfinite(pair).all(axis=None) and (pair.nunique() > 1).all())


def _spearman(group: pd.DataFrame, seed: int) -> dict[str, float]:
    value, gain = (stats.zscore(stats.rankdata(group[name])) for name in ("value", "gain"))
    n = len(value)
    rho = float(np.clip(value @ gain / n, -1, 1))
    test = stats.permutation_test(
        (value,),
        lambda shuffled, axis: np.sum(shuffled * gain, axis=axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=10_000,
        rng=np.random.default_rng(seed),
    )
    half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    with np.errstate(divide="ignore"):  # ρ = ±1 is infinity and comes back as ±1
        interval = np.tanh(np.arctanh(rho) + half * np.array([-1, 1]))
    return {"rho": rho, **ci(interval), "p": float(test.pvalue), "n": n}
