"""Intervals of shares and over images, and p-values corrected for how many there are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nbtools.checks import check_range
from nbtools.errors import InputError

MAX_REGIONS = 9  # 9! = 362,880 orders are listed in a second; a tenth region would take ten times that
MAX_LISTED = 8  # whose 40,320 orders are listed for a slope; of more, orders are drawn
ROUNDING = 1e-9  # what is equal but for rounding must count as equal, for a test of ranks above all


def bootstrap_ci(
    values: ArrayLike,
    statistic: Callable[..., np.ndarray] = np.mean,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> np.ndarray:
    """Percentile bootstrap interval over the rows.

    Parameters
    ----------
    values : array-like (n,) or (n, k)
        Rows are resampled whole, so columns stay paired.
    statistic : callable
        Takes an array and ``axis``, as NumPy's reductions do.
    n_boot : int
        Resamples.
    level : float
        Coverage, between 0 and 1.
    seed : int
        Seed of the resampling.

    Returns
    -------
    array (2,) or (2, k)
        Lower and upper bound.

    Raises
    ------
    InputError
        If there are fewer than two rows, a value is not finite, or ``level`` is not between 0 and 1.

    Notes
    -----
    Efron & Tibshirani (1993), chapter 13. Agrees with `scipy.stats.bootstrap(method="percentile")`.
    """
    check_range("n_boot", n_boot, 1)
    array = _finite(values, "values", dims=(1, 2))
    rng = np.random.default_rng(seed)
    # In pieces of about 32 MB, so that the resamples never lie in memory all at once.
    piece = max(1, int(4e6 // array.size))
    draws = [
        statistic(array[rng.integers(len(array), size=(min(piece, n_boot - start), len(array)))], axis=1)
        for start in range(0, n_boot, piece)
    ]
    return percentile_interval(np.concatenate(draws), level)


def resampled_means(values: ArrayLike, n_boot: int = 2000, seed: int = 0) -> np.ndarray:
    """Means over images that are drawn with replacement.

    Parameters
    ----------
    values : array-like (n_images, k)
        Scores per image and column; columns stay paired.
    n_boot : int
        Resamples.
    seed : int
        Seed of the resampling; equal image counts get equal draws, so that two calls are paired.

    Returns
    -------
    array (n_boot, k)

    Raises
    ------
    InputError
        If there are fewer than two images or a value is not finite.
    """
    check_range("n_boot", n_boot, 1)
    array = _finite(values, "scores", dims=(2,))
    n = len(array)
    shares = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_boot) / n
    return shares @ array


def holm(p: ArrayLike) -> np.ndarray:
    """Adjust p-values for how many there are.

    Parameters
    ----------
    p : array-like (n,)
        Of all comparisons that were made, not of the promising ones.

    Returns
    -------
    array (n,)
        Adjusted p-values in the same order: rejecting those up to 0.05 keeps the chance of any false rejection
        at 5 %.

    Raises
    ------
    InputError
        If there is none, or one is not between 0 and 1.

    Notes
    -----
    Holm (1979): the k-th smallest of n is multiplied by n − k + 1, and none may fall below the one before.
    """
    values = np.atleast_1d(np.asarray(p, dtype=float))
    if values.ndim != 1 or not values.size or not ((values >= 0) & (values <= 1)).all():
        raise InputError(
            "these are not p-values", expected="numbers from 0 to 1", got=p, fix="correct only tests that were made"
        )
    order = np.argsort(values)
    adjusted = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return adjusted[np.argsort(order)]


def percentile_interval(draws: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the central interval (2, ...) of bootstrap draws (n_boot, ...); raise unless 0 < level < 1.

    A draw that is missing (NaN) is left out: a resample in which a score does not exist, such as one without any image
    that counts, says nothing. The interval is missing where all draws are.
    """
    if not 0 < level < 1:
        raise InputError("not a coverage", expected="0 < level < 1", got=level, fix="for 95 % give 0.95")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice|Mean of empty slice", RuntimeWarning)
        return np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)


def jackknife_interval(value: float, left_out: ArrayLike) -> np.ndarray:
    """Return the 95 % interval (2,) of a score of several units together: Student's t on Tukey's pseudo-values.

    Parameters
    ----------
    value : float
        The score of all units.
    left_out : array-like (n_units,)
        The score without each of them. With fewer than two, or where one is missing, the interval is missing.
    """
    from scipy.stats import t  # imports slowly

    without, n = np.asarray(left_out, dtype=float), np.size(left_out)
    pseudo = n * value - (n - 1) * without
    if n < 2 or not np.isfinite(pseudo).all():
        return np.full(2, np.nan)
    half = t.ppf(0.975, n - 1) * pseudo.std(ddof=1) / np.sqrt(n)
    return pseudo.mean() + half * np.array([-1, 1])


def clopper_pearson(n: ArrayLike, of: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Bound the probability of what happened so often: from below and from above, each at its own level α.

    Parameters
    ----------
    n : array-like (...)
        How often.
    of : int
        Of so many independent trials.
    alpha : float
        Chance that the lower bound is above the probability, at most; likewise the upper one below it.

    Returns
    -------
    (array (...), array (...))
        Together an interval of coverage 1 − 2 α.

    Notes
    -----
    Clopper & Pearson (1934): exact. Agrees with ``scipy.stats.binomtest(n, of).proportion_ci(1 - 2 * alpha)``.
    """
    from scipy.special import betaincinv  # imports slowly

    yes, no = np.asarray(n), of - np.asarray(n)
    low = np.where(yes > 0, betaincinv(yes, no + 1, alpha), 0.0)
    return low, np.where(no > 0, betaincinv(yes + 1, no, 1 - alpha), 1.0)


def exact_at_ends(interval: np.ndarray, means: ArrayLike, n: int, level: float = 0.95) -> np.ndarray:
    """Return an interval (2, …) of shares of n images, exact (`clopper_pearson`) where all or none of them count.

    There every resample is like the sample, and a bootstrap interval has no width.
    """
    exact = np.stack(clopper_pearson(np.asarray(means) * n, n, (1 - level) / 2))
    return np.where(np.isin(means, (0, 1)), exact, interval)


def share(n: float, of: int, independent: int) -> tuple[float, float, float]:
    """Return a share with the bounds of its 95 % interval (`clopper_pearson`).

    Parameters
    ----------
    n, of : int
        So many of so many.
    independent : int
        To how many independent ones these amount: the interval is as wide as theirs.
    """
    value = n / of
    low, high = clopper_pearson(value * independent, independent, 0.025)
    return value, float(low), float(high)


def ci(interval: np.ndarray) -> dict[str, Any]:
    """Name the bounds (2, ...) of an interval as all tables name them: ``ci_low``, ``ci_high``."""
    return dict(zip(("ci_low", "ci_high"), interval.tolist(), strict=True))


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Divide; missing where there is nothing to divide by."""
    return np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 1e-12)


def orders(n: int) -> np.ndarray:
    """Return all orders (n!, n) of n, the first of them 0, 1, …; for an exact test of at most `MAX_REGIONS`."""
    return np.array(list(permutations(range(n))))


@cache
def chance_orders(n: int) -> np.ndarray:
    """Return orders (n_orders, n) of n: all of them up to `MAX_LISTED`, beyond 10,000 drawn ones after 0, 1, ….

    As the first is the order observed, the share of those that reach its statistic is the exact p, or that of a Monte
    Carlo test, (1 + how many reach it) / (1 + how many were drawn).
    """
    if n <= MAX_LISTED:
        return orders(n)
    drawn = np.random.default_rng(0).permuted(np.tile(np.arange(n), (10_000, 1)), axis=1)
    return np.vstack([np.arange(n), drawn])


def _finite(values: ArrayLike, name: str, dims: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim not in dims or len(array) < 2 or array.size == 0 or not np.isfinite(array).all():
        raise InputError(
            f"the {name} cannot be resampled",
            expected=f"finite numbers, {' or '.join(map(str, dims))} dimensions, at least 2 rows",
            got=f"shape {array.shape}, {np.count_nonzero(~np.isfinite(array))} not finite",
            fix="one row per image (or region); find out where missing values come from, do not fill them",
        )
    return array
