"""How many dimensions points fill: of the manifold they lie on (two nearest neighbours), of their variance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from nbtools.checks import check_counts, check_enough, check_range, reading
from nbtools.metrics.inputs import check_features
from nbtools.metrics.stats import ROUNDING, ci, jackknife_interval

_FEWEST = 3  # points that have a first and a second neighbour


def two_nn(points: ArrayLike) -> float:
    """Estimate the dimension of the manifold that points lie on from their two nearest neighbours.

    Parameters
    ----------
    points : array-like or CPU tensor (n_points, n_features)
        Responses or activations; neither unit nor rotation has any influence.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If the shape is another, a value is not finite, there are fewer than three points, two are the same, or of all
        of them the second neighbour is as near as the first (a grid, one-hot rows).

    Notes
    -----
    Facco, d'Errico, Rodriguez & Laio (2017), Sci. Rep. 7, 12140: where density hardly changes from a point to its
    second neighbour, the ratio μ of its distances to the second and the first is Pareto distributed, P(μ) = d μ⁻ᵈ⁻¹.
    Here by maximum likelihood, without its bias: d = (n − 1) / Σ log μ (Denti et al. 2022, Sci. Rep. 12, 20005), where
    they fit a line without the largest tenth. Noise counts as dimensions where it is as large as distances are, and of
    a manifold of many dimensions a few hundred points give fewer than it has: compare clouds of equally many points.
    """
    return _two_nn(_distances(points))


def participation_ratio(points: ArrayLike) -> float:
    """Return how many directions share the variance of points: (Σ λ)² / Σ λ², λ the eigenvalues of their covariance.

    Parameters
    ----------
    points : array-like or CPU tensor (n_points, n_features)
        Responses or activations; neither unit nor rotation has any influence.

    Returns
    -------
    float
        From 1 to the number of features; below the number of points: compare clouds of equally many.

    Raises
    ------
    InputError
        If the shape is another, a value is not finite, there are fewer than two points, or none differ.

    Notes
    -----
    Gao et al. (2017), bioRxiv 214262. A curved line has a ratio above 1: it counts directions, not degrees of freedom.
    """
    x = _checked(points, 2)
    variance = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    still = {"points, all alike": 0 if np.ptp(x, axis=0).any() else len(x)}
    check_counts("points have no variance", still, expected="points that differ", fix="look for a dead layer")
    return float(variance.sum() ** 2 / (variance**2).sum())


def dimensions(points: ArrayLike, n_draws: int = 50, seed: int = 0) -> pd.DataFrame:
    """Estimate both dimensions of a cloud of points, with intervals for other points of the same manifold.

    Parameters
    ----------
    points : array-like or CPU tensor (n_points, n_features)
        Responses or activations, six points or more.
    n_draws, seed : int
        Random halves of the points, two or more, from whose spread the interval comes.

    Returns
    -------
    DataFrame
        ``measure`` (``"two-NN"``, ``"participation ratio"``), ``value``, ``ci_low``, ``ci_high`` (95 %), ``n_points``.

    Raises
    ------
    InputError
        As `two_nn` and `participation_ratio`, or if there are too few points or draws.

    Notes
    -----
    The variance over halves without replacement is that over samples of all points (the delete-d jackknife, Shao & Wu
    1989): a bootstrap would give points themselves for neighbours. Neighbours change from half to half, which makes the
    interval of two-NN about a fifth too wide (coverage 98 %, `test_dimension.py`).
    """
    x = _checked(points, 2 * _FEWEST)
    check_range("n_draws", n_draws, 2, whole=True)
    distances, rng = _distances(x), np.random.default_rng(seed)
    halves = [rng.permutation(len(x))[: len(x) // 2] for _ in range(n_draws)]
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "two-NN": lambda kept: _two_nn(distances[np.ix_(kept, kept)]),
        "participation ratio": lambda kept: participation_ratio(x[kept]),
    }
    rows = []
    for measure, of in measures.items():
        value, spread = of(np.arange(len(x))), np.std([of(half) for half in halves], ddof=1)
        rows.append({"measure": measure, "value": value, **ci(value + 1.96 * spread * np.array([-1, 1]))})
    return pd.DataFrame(rows).assign(n_points=len(x))


def category_dimensions(points: ArrayLike, categories: ArrayLike, seed: int = 0) -> pd.DataFrame:
    """Estimate both dimensions of every category's cloud, and average them, with intervals for other categories.

    Parameters
    ----------
    points : array-like or CPU tensor (n_points, n_features)
        Responses or activations.
    categories : array-like (n_points,)
        Two categories or more, each of three points or more.
    seed : int
        Of the choice of points: as many of each category as the smallest has.

    Returns
    -------
    DataFrame
        ``measure`` (as `dimensions`), ``value`` (the mean over categories), ``ci_low``, ``ci_high`` (95 %, Student's t
        over categories), ``n_points`` (of each category), ``n_categories``.

    Raises
    ------
    InputError
        As `two_nn` and `participation_ratio`, or if categories do not fit, are missing, of several kinds or too few.
    """
    x, of = _checked(points), np.asarray(categories)
    check_features("points", x, of)
    kinds, fix = "numbers alone, or text alone", "give all categories by name, or all by number"
    with reading("categories are of several kinds", TypeError, expected=kinds, fix=fix):
        names, counts = np.unique(of, return_counts=True)
    check_enough("one category has no interval", len(names), 2, fix="take images of more categories")
    fewest, rng = int(counts.min()), np.random.default_rng(seed)
    clouds = [x[rng.permutation(np.flatnonzero(of == name))[:fewest]] for name in names]
    rows = []
    for measure, of_cloud in (("two-NN", two_nn), ("participation ratio", participation_ratio)):
        values = [of_cloud(cloud) for cloud in clouds]
        without = (np.sum(values) - values) / (len(values) - 1)  # of a mean, the jackknife is Student's t
        mean = float(np.mean(values))
        rows.append({"measure": measure, "value": mean, **ci(jackknife_interval(mean, without))})
    return pd.DataFrame(rows).assign(n_points=fewest, n_categories=len(names))


def _checked(points: ArrayLike, fewest: int = 1) -> np.ndarray:
    x = np.asarray(points, dtype=np.float64)
    check_features("points", x, n_rows=fewest)
    # No unit matters: in this one squares are finite and above 0. A power of two changes no digit.
    return np.ldexp(x, -np.frexp(np.abs(x).max())[1])


def _distances(points: ArrayLike) -> np.ndarray:
    """Distances (n, n) of points (n, n_features), infinite to themselves; none is there twice."""
    x = _checked(points, _FEWEST)
    distances = cdist(x, x)
    np.fill_diagonal(distances, np.inf)
    double = {f"of {len(x)} points lie on another": int((distances == 0).any(axis=1).sum())}
    fix = "leave copies out: an image that was shown twice, features that are all 0"
    check_counts("points have no distance to their neighbours", double, expected="points that differ", fix=fix)
    return distances


def _two_nn(distances: np.ndarray) -> float:
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    growth = np.log(second / first).sum()
    even = {"points, all of them as far from a second neighbour": len(first) if growth < ROUNDING * len(first) else 0}
    fix = "take points at random: those of a grid, or one-hot ones, have no such dimension"
    check_counts("points lie evenly", even, expected="second neighbours that are farther than first ones", fix=fix)
    return float((len(distances) - 1) / growth)
