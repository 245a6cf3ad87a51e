"""Robust accuracy at one clean accuracy for all, read off each condition's curve over α."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nbtools.checks import check_numbers, check_once, check_table, plain
from nbtools.errors import InputError
from nbtools.metrics.contrasts import contrast
from nbtools.metrics.inputs import groups_of

COLUMNS = ("condition", "seed", "alpha", "epsilon", "accuracy")


def robust_at_clean(accuracy: pd.DataFrame, epsilon: float, clean: float) -> pd.DataFrame:
    """Read each condition's robust accuracy off its α curve, at one clean accuracy for all.

    Parameters
    ----------
    accuracy : DataFrame
        One row per network × ε (``robust_accuracy(decisions, by=("condition", "alpha", "seed"))``), ε = 0 and the
        chosen one among them. A row of α = 0 stands for no guidance and may be shared by hand.
    epsilon : float
        Budget, pixel units.
    clean : float
        Clean accuracy to compare at, in (0, 1).

    Returns
    -------
    DataFrame
        One row per condition: ``condition``, ``reached`` (whether its curve crosses that clean accuracy),
        ``accuracy``, ``ci_low``, ``ci_high`` (95 %, over seeds; missing where not reached, and with one seed),
        ``n_alphas``, ``n_seeds``.

    Raises
    ------
    InputError
        If a column is missing, a network stands twice or lacks an α, or `clean` is not a fraction.

    Notes
    -----
    Clean and robust accuracy are averaged over seeds, then made monotone in α by isotonic regression, either way;
    linear between the α that were trained, never beyond them. A curve sorted by its own noisy clean accuracy would be
    too low between its points. Interval: jackknife over seeds (Tukey's pseudo-values, Student's t).
    """
    if not 0 < clean < 1:
        raise InputError("not an accuracy", expected="0 < clean < 1", got=clean, fix="for 85 % give 0.85")
    problem, fix = "there is no α curve", "attack networks of several α, each with the same seeds"
    check_table(problem, accuracy, COLUMNS, fix=fix)
    accuracy = plain(accuracy)
    check_numbers(problem, accuracy, ("alpha", "epsilon", "accuracy"), fix=fix)
    check_once(problem, accuracy, COLUMNS[:4], fix=fix)
    rows = []
    for named, group in groups_of(accuracy, ["condition"]):
        before, after = (_curve(group, e, problem, fix) for e in (0.0, epsilon))
        rows.append({**named, **_read_off(before, after, clean)})
    return pd.DataFrame(rows)


def _curve(group: pd.DataFrame, epsilon: float, problem: str, fix: str) -> pd.DataFrame:
    """Return the accuracy at one ε: a row an α, a column a seed."""
    rows = group[np.isclose(group["epsilon"], epsilon, rtol=1e-6, atol=1e-9)]
    table = rows.pivot(index="alpha", columns="seed", values="accuracy")
    if table.empty or table.isna().any(axis=None):
        expected = f"an accuracy of every α × seed at ε = {epsilon * 255:g}/255"
        raise InputError(problem, expected=expected, got=f"{len(rows)} networks", fix=fix)
    return table


def _read_off(clean: pd.DataFrame, robust: pd.DataFrame, level: float) -> dict[str, object]:
    n_alphas, n_seeds = clean.shape
    value = _crossing(clean, robust, level)
    left_out = [_crossing(clean.drop(columns=seed), robust.drop(columns=seed), level) for seed in clean if n_seeds > 1]
    pseudo = n_seeds * value - (n_seeds - 1) * np.array(left_out)
    found = contrast(pseudo[None, None], [1.0]) if n_seeds > 1 and np.isfinite(pseudo).all() else None
    bounds = (found.ci_low, found.ci_high) if found else (np.nan, np.nan)
    kept = {"reached": not np.isnan(value), "accuracy": value, "ci_low": bounds[0], "ci_high": bounds[1]}
    return {**kept, "n_alphas": n_alphas, "n_seeds": n_seeds}


def _crossing(clean: pd.DataFrame, robust: pd.DataFrame, level: float) -> float:
    """Robust accuracy where the mean clean accuracy is the level; NaN where the curve does not pass it."""
    alphas = clean.index.to_numpy(float)
    x, y = (_monotone(alphas, table.mean(axis=1).to_numpy()) for table in (clean, robust))
    order = np.argsort(x, kind="stable")
    alpha = np.interp(level, x[order], alphas[order], left=np.nan, right=np.nan)
    return float(np.interp(alpha, alphas, y)) if alpha == alpha else np.nan  # NumPy takes NaN for a single point


def _monotone(alphas: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the closest rising or falling values: whichever is closer."""
    from sklearn.isotonic import IsotonicRegression

    fits = [IsotonicRegression(increasing=up).fit_transform(alphas, values) for up in (True, False)]
    return min(fits, key=lambda fit: float(((fit - values) ** 2).sum()))
