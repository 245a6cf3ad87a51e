"""Scores of networks, compared: a network is the sample, paired by seed; images are nested in networks.

Every measure comes in as a table of scores, one row per network: ``condition``, ``seed`` (and ``subject``), the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nbtools.checks import as_names, check_counts, check_numbers, check_once, check_table, plain
from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import ROUNDING, chance_orders, holm

_BOUNDS = ["ci_low", "ci_high"]
_FRACTIONS = {"accuracy", "shape_bias", "share"}  # whose intervals end at 0 and 1
SIGNIFICANT = 0.05
MARGINS = {"accuracy": 0.03}  # below these, differences count as none; other scores have the margin a caller gives
FEWEST_ORDERED = 5  # regions: of four, 24 orders, no two-sided p is below .083; of three, six, below .33


@dataclass(frozen=True)
class Effect:
    """A weighted sum of conditions' scores, over networks.

    Attributes
    ----------
    value : float
        Its mean over subjects of the mean over seeds.
    ci_low, ci_high : float
        95 % interval: over subjects where there are several, else over seeds. NaN where there is one of both, or where
        all agree exactly, as networks do of which none stands: how far others would differ, such a sample cannot say.
    p : float
        Two-sided; NaN where the interval is.
    d : float
        Effect size: the mean over the standard deviation of what the interval is over (Cohen's d of pairs).
    n_seeds, n_subjects : int
        Networks a condition of each subject, and subjects.
    p_tost : float
        Of two one-sided tests, that it lies beyond the margin on either side (Schuirmann 1987): at most .05 where the
        90 % interval lies within. NaN where there is no margin or no interval.
    """

    value: float
    ci_low: float
    ci_high: float
    p: float
    d: float
    n_seeds: int
    n_subjects: int
    p_tost: float = np.nan

    @property
    def equivalent(self) -> bool:
        """Whether it is shown to be smaller than the margin."""
        return self.p_tost <= SIGNIFICANT


@dataclass(frozen=True)
class Trend(Effect):
    """A slope along the hierarchy, which is a rise or a fall only if two questions say so.

    Attributes
    ----------
    p_order : float
        Do the regions' means follow this order more than a chance order? Two-sided, exact over all orders of up to
        eight regions. NaN with fewer than `FEWEST_ORDERED` regions, or where `p` is.
    p_page : float
        With fewer regions: do networks (or subjects), one by one, rank them in this order, or its reverse, more than
        networks to which regions are all the same? Two-sided, Page's L; 1 where a step of the means goes the other
        way. NaN with more regions, or where `p` is.
    n_regions : int
        Regions.
    margin : float
        Of `p_tost`, from the first region to the last, in the score's unit; NaN where none was given.
    """

    p_order: float = np.nan
    p_page: float = np.nan
    n_regions: int = 0
    margin: float = np.nan

    @property
    def p_networks(self) -> float:
        """What networks (or subjects) alone say: that of the slope, and that of their ranks where it is asked for."""
        return float(np.fmax(self.p, self.p_page))

    @property
    def p_both(self) -> float:
        """That of networks and that of the order together: the larger one (an intersection–union test)."""
        return float(np.fmax(self.p_networks, self.p_order))


def over_networks(scores: pd.DataFrame, column: str, by: Sequence[str] = ("condition",)) -> pd.DataFrame:
    """Average a score over networks, with the interval of that mean.

    Parameters
    ----------
    scores : DataFrame
        One row per group and network: the `by` columns, ``seed``, ``subject`` if there are several, the score, and its
        ``ci_low``, ``ci_high`` over images.
    column : str
        The score's.
    by : sequence of str
        What to average apart.

    Returns
    -------
    DataFrame
        One row per group: the `by` columns, the score, ``ci_low``, ``ci_high``, ``n_seeds``, ``n_subjects``. The
        interval is Student's over subjects, with one subject over seeds; with one network, or where all agree exactly,
        it is a network's own, over images, and says nothing of another network; missing where the table has none. A
        group with a network that has no score (NaN: who decides for neither cue has no shape bias) has no mean.

    Raises
    ------
    InputError
        As `layout`, or if a column of `by` is missing.
    """
    rows, by = [], as_names(by)
    check_table("networks cannot be averaged", scores, (*by, column), fix="see which columns the table has")
    for named, group in groups_of(plain(scores), by):
        scored = group[column].notna()
        values = layout(group.assign(condition="one", **{column: group[column].where(scored, 0)}), column, ["one"])
        found = asdict(contrast(values, [1.0]))
        if np.isnan(found["ci_low"]):
            found |= group.iloc[0].reindex(_BOUNDS).to_dict()
        kept = {column: found["value"], **{name: found[name] for name in (*_BOUNDS, "n_seeds", "n_subjects")}}
        rows.append({**named, **kept, **({} if scored.all() else dict.fromkeys([column, *_BOUNDS], np.nan))})
    table = pd.DataFrame(rows)
    if column in _FRACTIONS:
        table[_BOUNDS] = table[_BOUNDS].clip(0, 1)
    return table


def slope(scores: pd.DataFrame, column: str, regions: Sequence[str] = HIERARCHY, margin: float | None = None) -> Trend:
    """Measure how a score rises along the hierarchy: its least-squares slope over the regions' ranks.

    Parameters
    ----------
    scores : DataFrame
        One row per network; other conditions than `regions` are left out.
    column : str
        The score's.
    regions : sequence of str
        Early to late, at least three.
    margin : float, optional
        A smaller difference of the two ends, slope × (regions − 1), counts as none; by default that of `MARGINS`.

    Returns
    -------
    Trend
        In the score's unit per region.

    Raises
    ------
    InputError
        As `layout`, or if there are fewer than three regions.
    """
    if len(set(regions)) < max(3, len(regions)):
        got, fix = list(regions), "run further regions"
        raise InputError("too few regions for a slope", expected="three or more, each once", got=got, fix=fix)
    return trend(layout(scores, column, regions), _margin(column, margin))


def compare(
    scores: pd.DataFrame,
    column: str,
    conditions: Sequence[str],
    controls: Sequence[str],
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare each condition with each control, network by network of the same seed.

    Parameters
    ----------
    scores : DataFrame
        One row per network.
    column : str
        The score's.
    conditions, controls : sequence of str
        Every condition is compared with every control.
    margin : float, optional
        A smaller difference counts as none, in the score's unit; by default that of `MARGINS`.

    Returns
    -------
    DataFrame
        One row per condition × control: ``condition``, ``control``, ``difference`` (condition − control), ``ci_low``,
        ``ci_high`` (95 %), ``p`` (two-sided), ``p_holm`` (Holm over the table), ``d``, ``n_seeds``, ``n_subjects``,
        ``p_tost`` (see `Effect`), ``equivalent`` (that, after Holm over the table, is at most .05). With one network
        each, interval and p are missing; without a margin, p_tost.

    Raises
    ------
    InputError
        As `layout`, or if there is nothing to compare.
    """
    conditions, controls = as_names(conditions), as_names(controls)
    names = list(dict.fromkeys([*conditions, *controls]))
    values, margin, rows = layout(scores, column, names), _margin(column, margin), []
    for condition, control in product(conditions, controls):
        weights = [float(name == condition) - float(name == control) for name in names]
        found = asdict(contrast(values, weights, margin))
        rows.append({"condition": condition, "control": control, "difference": found.pop("value"), **found})
    if not rows:
        got = f"{len(conditions)} conditions, {len(controls)} controls"
        raise InputError("nothing to compare", expected="a condition and a control", got=got, fix="name one of each")
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", corrected(table["p"]))
    return table.assign(equivalent=corrected(table["p_tost"]) <= SIGNIFICANT)


def contrast(scores: ArrayLike, weights: ArrayLike, margin: float = np.nan) -> Effect:
    """Test a planned contrast of conditions.

    Parameters
    ----------
    scores : array-like (n_conditions, n_subjects, n_seeds)
        One score a network. Networks of a subject and seed share what the seed decides, and are compared with each
        other alone.
    weights : array-like (n_conditions,)
        Of the conditions: (1, −1) is a difference.
    margin : float, optional
        A smaller value of the contrast counts as none.

    Returns
    -------
    Effect

    Raises
    ------
    InputError
        If shapes do not fit, or a score is not finite.

    Notes
    -----
    Student's t of the contrast's values. With several subjects each subject's mean over seeds is one value, and the
    test speaks of further subjects; with one, each seed is, and it speaks of further networks guided by this subject.
    Exact where values are normal; tests/test_contrasts.py measures coverage and false alarms for accuracies.
    """
    from scipy.stats import t  # imports slowly

    array, weights = np.asarray(scores, dtype=float), np.asarray(weights, dtype=float)
    if array.ndim != 3 or weights.shape != array.shape[:1] or not array.size or not np.isfinite(array).all():
        raise InputError(
            "these scores cannot be contrasted",
            expected="finite scores (n_conditions, n_subjects, n_seeds), and a weight a condition",
            got=f"scores {array.shape}, {int((~np.isfinite(array)).sum())} not finite; weights {weights.shape}",
            fix="give every condition a network of every subject and seed",
        )
    values = np.tensordot(weights, array, axes=1)
    n_subjects, n_seeds = values.shape
    sample = values.mean(axis=1) if n_subjects > 1 else values[0]
    mean, df = float(sample.mean()), len(sample) - 1
    if df == 0 or sample.std(ddof=1) <= ROUNDING * np.abs(array).max():
        return Effect(mean, np.nan, np.nan, np.nan, np.nan, n_seeds, n_subjects)
    spread = float(sample.std(ddof=1))
    error = spread / np.sqrt(len(sample))
    half = float(t.ppf(0.975, df)) * error
    p, p_tost = 2 * float(t.sf(abs(mean) / error, df)), float(t.sf((margin - abs(mean)) / error, df))
    return Effect(mean, mean - half, mean + half, p, mean / spread, n_seeds, n_subjects, p_tost)


def trend(scores: np.ndarray, margin: float = np.nan) -> Trend:
    """Test the slope of scores (n_regions, n_subjects, n_seeds) over the regions' ranks, as `contrast` and by orders.

    Notes
    -----
    `p` speaks of further networks (or subjects) of *these* regions: it is small also where regions differ for reasons
    that have no order, such as their voxels' noise. `p_order` takes the regions for the sample: in which share of all
    their orders do the means, over subjects and seeds, rise or fall as much? Three or four regions have too few orders
    for that: `p_page` then asks each network for the order. It speaks of these regions, as `p` does.
    """
    n_regions = len(scores)
    weights = rank_weights(n_regions)
    found = contrast(scores, weights, margin / (n_regions - 1))
    tested, many = not np.isnan(found.p), n_regions >= FEWEST_ORDERED
    p_order = _order_p(scores.mean(axis=(1, 2)), weights) if tested and many else np.nan
    p_page = _page_p(scores) if tested and not many else np.nan
    return Trend(**asdict(found), p_order=p_order, p_page=p_page, n_regions=n_regions, margin=margin)


def rank_weights(n: int) -> np.ndarray:
    """Weights (n,) with which the scores of n regions, early to late, add up to their least-squares slope."""
    ranks = np.arange(n) - (n - 1) / 2
    return ranks / (ranks**2).sum()


def _order_p(means: np.ndarray, weights: np.ndarray) -> float:
    """Share of the orders of means (n_regions,) whose contrast is as far from 0 as that of the order they have."""
    found = np.abs(weights[chance_orders(len(means))] @ means)
    return float(np.mean(found >= found[0] - ROUNDING * np.abs(means).max()))


def _page_p(scores: np.ndarray) -> float:
    """Two-sided p of Page's L (1963) over what is the sample of scores (n_regions, n_subjects, n_seeds)."""
    from scipy.stats import page_trend_test  # imports slowly

    steps = np.diff(scores.mean(axis=(1, 2)))
    if abs(np.sign(steps).sum()) < len(steps):  # from enough networks on, L is significant in spite of such a step
        return 1.0
    sample = scores.mean(axis=2).T if scores.shape[1] > 1 else scores[:, 0].T
    return float(min(1, 2 * min(page_trend_test(ranked).pvalue for ranked in (sample, sample[:, ::-1]))))


def layout(scores: pd.DataFrame, column: str, conditions: Sequence[str]) -> np.ndarray:
    """Lay a table of scores out for `contrast`.

    Parameters
    ----------
    scores : DataFrame
        One row per network: ``condition``, the score, and where there are several ``seed`` and ``subject``.
    column : str
        The score's.
    conditions : sequence of str
        The order of the first axis; others are left out.

    Returns
    -------
    array (n_conditions, n_subjects, n_seeds)
        Subjects and seeds in their order.

    Raises
    ------
    InputError
        If a column is missing or scores are no numbers, a network stands twice or has no subject or seed, or a
        condition lacks a network of a subject and seed.
    """
    problem, fix = "networks cannot be compared", "give every condition one network of every subject and seed"
    check_table(problem, scores, ("condition", column), fix=fix)
    scores = plain(scores)
    check_numbers(problem, scores, (column,), fix=fix)
    table = scores[scores["condition"].isin(conditions)]
    table = table.assign(subject=table.get("subject", 0), seed=table.get("seed", 0))
    names = ["condition", "subject", "seed"]
    nameless = {"without a subject or seed": int(table[names].isna().any(axis=1).sum())}
    check_counts(problem, nameless, expected="subject and seed of every network", fix=fix)
    check_once(problem, table, names, fix=fix)
    axes = [list(conditions), *(sorted(table[name].unique(), key=_in_order) for name in names[1:])]
    networks = pd.MultiIndex.from_product(axes)
    grid = table.set_index(names)[column].reindex(networks).to_numpy(float)
    absent, size = networks[np.isnan(grid)], " × ".join(str(len(axis)) for axis in axes)
    named = "; ".join(", ".join(map(str, network)) for network in absent[:3])
    missing = {f"of {size} networks without a score: {named}": len(absent)}
    check_counts(problem, missing, expected=f"{column} of every condition × subject × seed", fix=fix)
    return grid.reshape([len(axis) for axis in axes])


def _in_order(name: object) -> tuple[bool, object]:
    """Sort numbers before names, where a table has both."""
    return isinstance(name, str), name


def _margin(column: str, margin: float | None) -> float:
    """The margin that was given, or the score's own; NaN where it has none."""
    return MARGINS.get(column, np.nan) if margin is None else margin


def corrected(p: pd.Series) -> np.ndarray:
    """Correct p (Holm) for how many tests were made; missing stays missing."""
    made, after = p.notna().to_numpy(), np.full(len(p), np.nan)
    if made.any():
        after[made] = holm(p[made])
    return after
