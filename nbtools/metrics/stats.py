"""Bootstrap intervals, and a test of the hierarchy: do later regions make more robust networks?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError

MAX_REGIONS = 9  # 9! = 362,880 orders are listed in a second; a tenth region would take ten times that
ROUNDING = 1e-9  # what is equal but for rounding must count as equal, for a test of ranks above all


@dataclass(frozen=True)
class TrendTest:
    """A test of rising scores along the hierarchy.

    Attributes
    ----------
    regions : tuple of str
        Early to late.
    scores : tuple of float
        One per region.
    rho : float
        Spearman correlation of hierarchy rank and score; 0 if all scores are equal.
    p_greater, p_two_sided : float
        Exact permutation p-values: the share of all orders of the regions whose rho is at least as high
        (late > early), or at least as far from 0.
    ci_low, ci_high : float or None
        Percentile bootstrap interval (95 %) of rho, where per-image data were given.
    n_images, n_seeds, n_subjects : int or None
        What the interval and `p_page` rest on.
    p_page : float or None
        Page's test (late > early) with subjects as blocks, or with seeds where there is one subject.
    """

    regions: tuple[str, ...]
    scores: tuple[float, ...]
    rho: float
    p_greater: float
    p_two_sided: float
    ci_low: float | None = None
    ci_high: float | None = None
    n_images: int | None = None
    n_seeds: int | None = None
    n_subjects: int | None = None
    p_page: float | None = None


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
    """Means over images, subjects and seeds, with all of them resampled.

    Parameters
    ----------
    values : array-like (n_images, n_seeds, k) or (n_images, n_subjects, n_seeds, k)
        Scores per image, subject, seed and column. Images, subjects, and within each drawn subject its seeds, are
        drawn with replacement; columns stay paired.
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

    Notes
    -----
    With few seeds this understates their variance (by 1 − 1/n_seeds); with one seed it has none of it. The same
    holds for subjects.
    """
    array = _finite(values, "scores", dims=(3, 4))
    array = array[:, None] if array.ndim == 3 else array
    n_images, n_subjects, n_seeds, _ = array.shape
    rng = np.random.default_rng(seed)
    images = _shares(rng, n_images, (n_boot,))
    seeds = _shares(rng, n_seeds, (n_boot, n_subjects))
    subjects = _shares(rng, n_subjects, (n_boot,))
    per_network = (images @ array.reshape(n_images, -1)).reshape(n_boot, *array.shape[1:])
    return np.einsum("bu,bus,busk->bk", subjects, seeds, per_network)


def _shares(rng: np.random.Generator, n: int, size: tuple[int, ...]) -> np.ndarray:
    """Return how often each of n is drawn with replacement in n draws, as a share: (*size, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=size) / n


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


def ci(interval: np.ndarray) -> dict[str, Any]:
    """Name the bounds (2, ...) of an interval as all tables name them: ``ci_low``, ``ci_high``."""
    return dict(zip(("ci_low", "ci_high"), interval.tolist(), strict=True))


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Divide; missing where there is nothing to divide by."""
    return np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom > 1e-12)


def orders(n: int) -> np.ndarray:
    """Return all orders (n!, n) of n, the first of them 0, 1, …; for an exact test of at most `MAX_REGIONS`."""
    return np.array(list(permutations(range(n))))


def trend_test(scores: Mapping[str, float], order: Sequence[str] = HIERARCHY) -> TrendTest:
    """Test whether scores rise along the hierarchy, exactly.

    Parameters
    ----------
    scores : mapping (a dict or a pandas Series) of region → score
        Names that are not in ``order`` (baselines) are left out.
    order : sequence of str
        The hierarchy, early to late.

    Returns
    -------
    TrendTest
        Without interval: see `trend_over_images`.

    Raises
    ------
    InputError
        If fewer than 3 or more than 9 regions have scores, or a score is not finite.

    Notes
    -----
    Spearman's rho of rank and score, against all n! orders of the regions (ties get mean ranks). The regions
    are the sample: seven of them, however many images were shown.
    """
    regions = tuple(name for name in order if name in scores)
    if not 3 <= len(regions) <= MAX_REGIONS:
        raise InputError(
            "a trend needs scores of several regions",
            expected=f"3 to {MAX_REGIONS} of {', '.join(order)}",
            got=", ".join(map(str, scores.keys())) or "no score",
            fix="finish the runs of more regions, or test the longer hierarchy in parts",
        )
    values = _finite([scores[name] for name in regions], "scores", dims=(1,))
    null = _rank_correlations(values[orders(len(values))])
    rho = float(null[0])  # the first order is the one observed
    return TrendTest(
        regions=regions,
        scores=tuple(map(float, values)),
        rho=rho,
        p_greater=float(np.mean(null >= rho - ROUNDING)),
        p_two_sided=float(np.mean(np.abs(null) >= abs(rho) - ROUNDING)),
    )


def trend_over_images(
    correct: ArrayLike,
    regions: Sequence[str] = HIERARCHY,
    n_boot: int = 2000,
    seed: int = 0,
) -> TrendTest:
    """Test the trend of mean scores and put an interval on rho from images and seeds.

    Parameters
    ----------
    correct : array-like (n_regions, n_images[[, n_subjects], n_seeds])
        Each network's score of each image, 0 or 1 for accuracy (`robustness.correctness` makes it). All
        regions share images, subjects and seeds: they are resampled together.
    regions : sequence of str (n_regions,)
        Names of the rows, early to late.
    n_boot, seed : int
        Resamples of the bootstrap, and their seed.

    Returns
    -------
    TrendTest
        The exact test of `trend_test` on the means, an interval of rho, and with several subjects or seeds Page's
        test.

    Raises
    ------
    InputError
        If names and rows differ in number, a score is not finite, or as `trend_test`.

    Notes
    -----
    The interval says how far rho moves with other images and other seeds, for these regions and predictors.
    Resampling adds noise, which pulls rho towards 0: where regions score alike the interval is wide, and where it would
    end short of rho itself it is made to reach it.
    Page (1963), `scipy.stats.page_trend_test`. With subjects as blocks its p speaks of new brains; with one
    subject seeds are the blocks, and it speaks of new seeds of the same networks only.
    """
    from scipy.stats import page_trend_test  # imports slowly, and a figure needs no test

    array = _finite(correct, "scores", dims=(2, 3, 4))
    array = array[..., None] if array.ndim == 2 else array
    array = array[:, :, None] if array.ndim == 3 else array
    if len(regions) != len(array):
        raise InputError(
            "regions and rows differ in number",
            expected=f"{len(array)} names, one per row",
            got=f"{len(regions)}: {', '.join(regions)}",
            fix="give correct as (n_regions, n_images, n_subjects, n_seeds) and its regions in the same order",
        )
    test = trend_test(dict(zip(regions, array.mean(axis=(1, 2, 3)), strict=True)), order=regions)
    draws = _rank_correlations(resampled_means(np.moveaxis(array, 0, -1), n_boot, seed))
    n_images, n_subjects, n_seeds = array.shape[1:]
    networks = array.mean(axis=1)  # (n_regions, n_subjects, n_seeds)
    blocks = (networks.mean(axis=2) if n_subjects > 1 else networks[:, 0]).T
    page = float(page_trend_test(blocks).pvalue) if len(blocks) > 1 else None
    low, high = percentile_interval(draws)
    low, high = float(min(low, test.rho)), float(max(high, test.rho))  # draws of a steep rise may all fall short of it
    counts = {"n_images": n_images, "n_seeds": n_seeds, "n_subjects": n_subjects}
    return replace(test, ci_low=low, ci_high=high, **counts, p_page=page)


def describe(trend: TrendTest, alpha: float = 0.05) -> str:
    """Put a trend test into one honest sentence.

    Parameters
    ----------
    trend : TrendTest
        What was found.
    alpha : float
        Significance level of the directed test (late > early), which the hypothesis fixed beforehand.

    Returns
    -------
    str
        As ``"ρ = 0.61 (95 % CI −0.11 to 0.86; 200 images, 3 seeds), p = 0.084 one-sided: no significant
        trend"``.
    """
    interval, several = "", (trend.n_subjects or 1) > 1
    if trend.ci_low is not None and trend.ci_high is not None:
        networks = f"{trend.n_subjects} subjects, " if several else ""
        networks += f"{trend.n_seeds} seed{'s' if trend.n_seeds != 1 else ''}"
        bounds = f"{_signed(trend.ci_low)} to {_signed(trend.ci_high)}"
        interval = f" (95 % CI {bounds}; {trend.n_images} images, {networks})"
    found = f"ρ = {_signed(trend.rho)}{interval}, {_p_text(trend.p_greater)} one-sided"
    if trend.p_page is not None:
        found += f" (Page's test over {'subjects' if several else 'seeds'}: {_p_text(trend.p_page)})"
    # such as .2 to .9 beside p = .06: not a slip, but two questions
    beside = "; the interval asks about other images, p about the order of these regions"
    return f"{found}: {_verdict(trend, alpha)}" + beside * ((trend.ci_low or 0) > 0 and trend.p_greater > alpha)


def _verdict(trend: TrendTest, alpha: float) -> str:
    best = 1 / math.factorial(len(trend.regions))
    if len(set(trend.scores)) == 1:
        return "all regions score the same, no trend"
    if best > alpha:
        return f"{len(trend.regions)} regions are too few for a test (p cannot fall below {best:.2g})"
    if trend.p_greater <= alpha:
        return "scores rise along the hierarchy"
    if trend.p_two_sided <= alpha:
        return f"no rise; scores fall along the hierarchy ({_p_text(trend.p_two_sided)} two-sided)"
    return "no significant trend"


def _p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _rank_correlations(scores: np.ndarray) -> np.ndarray:
    """Spearman's rho (m,) of each row (m, n) with 1 … n; 0 for a constant row, which has no trend."""
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    ladder = np.arange(scores.shape[1]) - (scores.shape[1] - 1) / 2
    scale = np.linalg.norm(ranks, axis=1) * np.linalg.norm(ladder)
    return np.divide(ranks @ ladder, scale, out=np.zeros(len(ranks)), where=scale > 0)


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
