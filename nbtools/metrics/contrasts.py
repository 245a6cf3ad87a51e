"""Planned contrasts of networks: a network is the sample, paired by seed; images are nested in networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nbtools.errors import InputError
from nbtools.metrics.robustness import correctness
from nbtools.metrics.stats import holm


@dataclass(frozen=True)
class Effect:
    """A weighted sum of conditions' scores, over networks.

    Attributes
    ----------
    value : float
        Its mean over subjects of the mean over seeds.
    ci_low, ci_high : float
        95 % interval: over subjects where there are several, else over seeds. NaN where there is one of both.
    p : float
        Two-sided; NaN where the interval is.
    d : float
        Effect size: the mean over the standard deviation of what the interval is over (Cohen's d of pairs).
    n_seeds, n_subjects : int
        Networks a condition, and brains.
    """

    value: float
    ci_low: float
    ci_high: float
    p: float
    d: float
    n_seeds: int
    n_subjects: int


def contrast(scores: ArrayLike, weights: ArrayLike, level: float = 0.95) -> Effect:
    """Test a planned contrast of conditions.

    Parameters
    ----------
    scores : array-like (n_conditions, n_subjects, n_seeds)
        One score a network. Networks of a subject and seed share what the seed decides, and are compared with each
        other alone.
    weights : array-like (n_conditions,)
        Of the conditions; they sum to 0: (1, −1) is a difference.
    level : float
        Coverage of the interval.

    Returns
    -------
    Effect

    Raises
    ------
    InputError
        If shapes do not fit, a score is not finite, or weights do not sum to 0.

    Notes
    -----
    Student's t of the contrast's values. With several subjects each subject's mean over seeds is one value, and the
    test speaks of further subjects; with one, each seed is, and it speaks of further networks guided by this subject.
    Exact where values are normal; tests/test_contrasts.py measures coverage and false alarms for accuracies.
    """
    from scipy.stats import t  # imports slowly

    array, weights = np.asarray(scores, dtype=float), np.asarray(weights, dtype=float)
    if array.ndim != 3 or weights.shape != array.shape[:1] or not np.isfinite(array).all() or abs(weights.sum()) > 1e-9:
        raise InputError(
            "these scores cannot be contrasted",
            expected="finite scores (n_conditions, n_subjects, n_seeds), and a weight a condition, 0 in sum",
            got=f"scores {array.shape}, {int((~np.isfinite(array)).sum())} not finite; weights {weights.tolist()}",
            fix="give every condition a network of every subject and seed",
        )
    values = np.tensordot(weights, array, axes=1)
    n_subjects, n_seeds = values.shape
    sample = values.mean(axis=1) if n_subjects > 1 else values[0]
    mean, df = float(sample.mean()), len(sample) - 1
    if df == 0:
        return Effect(mean, np.nan, np.nan, np.nan, np.nan, n_seeds, n_subjects)
    spread = float(sample.std(ddof=1))
    error = spread / np.sqrt(len(sample))
    half = float(t.ppf((1 + level) / 2, df)) * error
    with np.errstate(divide="ignore", invalid="ignore"):  # values that do not differ at all
        p, d = 2 * t.sf(np.abs(np.divide(mean, error)), df), np.divide(mean, spread)
    return Effect(mean, mean - half, mean + half, float(p), float(d), n_seeds, n_subjects)


def slope(decisions: pd.DataFrame, epsilon: float, regions: Sequence[str]) -> Effect:
    """Test whether robust accuracy rises along the hierarchy.

    Parameters
    ----------
    decisions : DataFrame
        As `robustness.check_decisions` describes, with ``condition``.
    epsilon : float
        Budget, pixel units, among those attacked.
    regions : sequence of str
        Early to late, at least three.

    Returns
    -------
    Effect
        Of the least-squares slope over ranks: accuracy (a fraction) per region.

    Raises
    ------
    InputError
        As `robustness.correctness`, or if there are fewer than three regions.

    Notes
    -----
    Speaks of further networks (or subjects, see `contrast`) of *these* regions, on these test images. Regions that
    differ in any order at all have some slope: whether the order is the hierarchy's is asked by `stats.trend_test`.
    """
    if len(regions) < 3:
        raise InputError("too few regions for a slope", expected="three", got=list(regions), fix="run further regions")
    ranks = np.arange(len(regions)) - (len(regions) - 1) / 2
    return contrast(accuracies(decisions, epsilon, regions), ranks / (ranks**2).sum())


def compare(
    decisions: pd.DataFrame, epsilon: float, conditions: Sequence[str], controls: Sequence[str]
) -> pd.DataFrame:
    """Compare each condition's robust accuracy with each control's, network by network of the same seed.

    Parameters
    ----------
    decisions : DataFrame
        As `robustness.check_decisions` describes, with ``condition``.
    epsilon : float
        Budget, pixel units.
    conditions, controls : sequence of str
        Every condition is compared with every control.

    Returns
    -------
    DataFrame
        One row per condition × control: ``condition``, ``control``, ``difference`` (condition − control, a fraction),
        ``ci_low``, ``ci_high`` (95 %), ``p`` (two-sided), ``d``, ``p_holm`` (Holm over the table), ``n_seeds``,
        ``n_subjects``. With one network each, interval and p are missing.

    Raises
    ------
    InputError
        As `robustness.correctness`, or if there is nothing to compare.
    """
    names = list(dict.fromkeys([*conditions, *controls]))
    scores = accuracies(decisions, epsilon, names)
    rows = []
    for condition, control in product(conditions, controls):
        weights = [float(name == condition) - float(name == control) for name in names]
        found = contrast(scores, weights)
        rows.append({"condition": condition, "control": control, "difference": found.value, **_columns(found)})
    if not rows:
        got = f"{len(conditions)} conditions, {len(controls)} controls"
        raise InputError("nothing to compare", expected="a condition and a control", got=got, fix="name one of each")
    table = pd.DataFrame(rows)
    corrected = holm(table["p"]) if table["p"].notna().all() else np.nan
    return table.assign(p_holm=corrected)


def accuracies(decisions: pd.DataFrame, epsilon: float, conditions: Sequence[str]) -> np.ndarray:
    """Return each network's accuracy at one ε: (n_conditions, n_subjects, n_seeds); raises as `correctness`."""
    return correctness(decisions, epsilon, conditions).mean(axis=1)


def _columns(effect: Effect) -> dict[str, float]:
    return {name: value for name, value in vars(effect).items() if name != "value"}
