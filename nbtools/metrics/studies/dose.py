"""Conditions compared at equal something: a dose is varied, and curves are read where all of them have been."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nbtools.checks import check_enough, check_numbers, check_once, check_table, plain
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import ROUNDING

N_LEVELS = 201  # at which the mean over a range is taken

Curve = tuple[np.ndarray, np.ndarray]  # what is to be equal, and the score: (n_doses,) each, in the order of the doses


def at_equal(networks: pd.DataFrame, score: str, match: str, dose: str) -> pd.DataFrame:
    """Average a score over a range of another quantity that all conditions reach when a dose is varied.

    Parameters
    ----------
    networks : DataFrame
        One row per network: ``condition``, ``seed`` (and ``subject``) where there are several, and the columns below.
    score : str
        What is compared, such as robust accuracy.
    match : str
        What is to be equal: clean accuracy, or the r of the guides (`explained_r`).
    dose : str
        What moves it, and the score with it: α, or how much worse the guide was made (noise planted in the responses
        that its predictor learnt from, the share of images or of voxels).

    Returns
    -------
    DataFrame
        One row per condition, subject and seed, in the order they come, for `contrasts` and `verdicts`: its names,
        `score` (mean over the range; missing where conditions of that seed have no range in common), ``low``, ``high``
        (the range of `match`).

    Raises
    ------
    InputError
        If a column is missing or holds no numbers, a dose stands twice, or there is but one for a condition and seed.

    Notes
    -----
    Of each network's seed apart, `score` and `match` are made monotone in the dose by isotonic regression, either way,
    and joined by lines. The range is what all conditions of a subject and seed reach, so that those that are paired are
    compared at equal values; nothing is extrapolated.
    """
    problem, fix = "there are no curves", "run every condition and seed at the same doses, two or more"
    check_table(problem, networks, ("condition", score, match, dose), fix=fix)
    networks = plain(networks)
    check_numbers(problem, networks, (score, match, dose), fix=fix)
    block = [name for name in ("subject", "seed") if name in networks]
    check_once(problem, networks, ["condition", *block, dose], fix=fix)
    rows = []
    for shared, group in groups_of(networks, block):
        curves = {
            of["condition"]: monotone(*part[[dose, match, score]].to_numpy(float).T)
            for of, part in groups_of(group, ["condition"])
        }
        check_enough(f"{problem}: doses of a condition", min(len(x) for x, _ in curves.values()), 2, fix=fix)
        low, high = max(x.min() for x, _ in curves.values()), min(x.max() for x, _ in curves.values())
        levels = np.linspace(low, high, N_LEVELS) if high - low > ROUNDING else np.array([np.nan])
        scores = {condition: read_off(curve, levels).mean() for condition, curve in curves.items()}
        rows += [
            {"condition": name, **shared, score: value, "low": low, "high": high} for name, value in scores.items()
        ]
    return pd.DataFrame(rows)


def monotone(doses: np.ndarray, x: np.ndarray, y: np.ndarray) -> Curve:
    """Return a curve for `read_off`: the closest rising or falling values of x and of y (n,) along the doses (n,)."""
    from scipy.optimize import isotonic_regression  # imports slowly

    def closest(values: np.ndarray) -> np.ndarray:
        fits = [isotonic_regression(values, increasing=up).x for up in (True, False)]
        return min(fits, key=lambda fit: float(((fit - values) ** 2).sum()))

    order = np.argsort(doses)
    return closest(x[order]), closest(y[order])


def read_off(curve: Curve, levels: np.ndarray) -> np.ndarray:
    """Return the scores where a curve passes these levels (n,) of what is to be equal; NaN beyond its ends.

    A curve sorted by its own noisy values would be too low between its points: it is followed along its doses, from
    either end alike. Where doses share a value, as isotonic regression makes them, it stands upright there, and at that
    very level the score is half way between its lower and its upper end.
    """
    x, y = curve
    rising = 1 if x[0] <= x[-1] else -1
    x, levels = rising * x, rising * levels
    # np.interp takes the last of equal ones, of a mirrored curve the first
    ends = [np.interp(way * levels, way * x[::way], y[::way], left=np.nan, right=np.nan) for way in (1, -1)]
    return np.mean(ends, axis=0)


def explained_r(voxels: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Measure how well predictors know their regions, whatever the noise of the recordings.

    Parameters
    ----------
    voxels : DataFrame
        One row per voxel: ``r`` (of prediction and measured mean over repeats) and ``noise_ceiling`` (percent, of that
        mean), from notebook 02; and the `by` columns.
    by : sequence of str
        Which predictor a voxel is of.

    Returns
    -------
    DataFrame
        One row per predictor: the `by` columns, and ``r`` = Σ r / Σ √(noise ceiling / 100) over voxels: the share of
        the reachable r; luck can take it above 1.

    Raises
    ------
    InputError
        If a column is missing or holds no numbers, or a predictor has no voxel with a ceiling above 0.

    Notes
    -----
    Not the measured r itself: of two predictors of equal r, that of the noisier region knows its region better.
    """
    problem, fix = "predictors cannot be set side by side", "take the table voxels of notebook 02"
    check_table(problem, voxels, ("r", "noise_ceiling", *by), fix=fix)
    voxels, rows = plain(voxels), []
    check_numbers(problem, voxels, ("r", "noise_ceiling"), fix=fix)
    for named, group in groups_of(voxels, by):
        check_enough(f"{problem}: voxels with a ceiling", int((group["noise_ceiling"] > 0).sum()), 1, fix=fix)
        rows.append({**named, "r": group["r"].sum() / np.sqrt(group["noise_ceiling"] / 100).sum()})
    return pd.DataFrame(rows)
