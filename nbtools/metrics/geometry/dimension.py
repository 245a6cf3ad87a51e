"""How many dimensions points fill: of the manifold they lie on (two nearest neighbours), of their variance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from nbtools.checks import check_counts, check_enough
from nbtools.metrics.inputs import check_features
from nbtools.metrics.stats import ci, jackknife_interval

_PARTS = 20  # of the points, left out in turn
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
        If the shape is another, a value is not finite, there are fewer than three points, or two are the same.

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
    x = _checked(points)
    still = {"of them, all alike": 0 if np.ptp(x, axis=0).any() else len(x)}
    check_counts("points have no variance", still, expected="points that differ", fix="look for a dead layer")
    return _participation_ratio(x)


def dimensions(points: ArrayLike, categories: ArrayLike | None = None, seed: int = 0) -> pd.DataFrame:
    """Estimate both dimensions of a cloud of points, with jackknife intervals.

    Parameters
    ----------
    points : array-like or CPU tensor (n_points, n_features)
        Responses or activations.
    categories : array-like (n_points,), optional
        Whole categories are left out in turn, three or more: the interval speaks of other categories. Without them it
        is parts of the points, chosen at random, and the interval speaks of other points.
    seed : int
        Of the parts.

    Returns
    -------
    DataFrame
        ``measure`` (``"two-NN"``, ``"participation ratio"``), ``value``, ``ci_low``, ``ci_high`` (95 %), ``n_points``,
        ``n_parts``.

    Raises
    ------
    InputError
        As `two_nn` and `participation_ratio`, or if categories do not fit, are fewer than three, or leave fewer than
        three points.

    Notes
    -----
    Student's t on the pseudo-values of parts left out (Tukey 1958): a bootstrap would give points themselves for
    neighbours. Of all points as they are: one category's dimensions are those of its rows alone.
    """
    x = _checked(points)
    distances = _distances(x)
    part = np.random.default_rng(seed).permutation(len(x)) % _PARTS if categories is None else np.asarray(categories)
    check_features("points", x, part)
    names = pd.unique(part)
    check_enough("too few parts can be left out", len(names), 3, fix="take more categories, or leave them out")
    check_enough(
        "too few points are left", len(x) - int(max((part == name).sum() for name in names)), _FEWEST, fix="add points"
    )
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "two-NN": lambda kept: _two_nn(distances[np.ix_(kept, kept)]),
        "participation ratio": lambda kept: _participation_ratio(x[kept]),
    }
    rows = []
    for measure, of in measures.items():
        value = of(np.arange(len(x)))
        left_out = [of(np.flatnonzero(part != name)) for name in names]
        rows.append({"measure": measure, "value": value, **ci(jackknife_interval(value, left_out))})
    return pd.DataFrame(rows).assign(n_points=len(x), n_parts=len(names))


def _checked(points: ArrayLike) -> np.ndarray:
    x = np.asarray(points, dtype=np.float64)
    check_features("points", x, n_rows=2)
    return x


def _distances(points: ArrayLike) -> np.ndarray:
    """Distances (n, n) of points (n, d), none of which is there twice."""
    x = _checked(points)
    check_enough("points have no second neighbour", len(x), _FEWEST, fix="add points")
    distances = cdist(x, x)
    np.fill_diagonal(distances, np.inf)
    double = {f"of {len(x)} points lie on another": int((distances == 0).any(axis=1).sum())}
    fix = "leave copies out: an image that was shown twice, features that are all 0"
    check_counts("points have no distance to their neighbours", double, expected="points that differ", fix=fix)
    return distances


def _two_nn(distances: np.ndarray) -> float:
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    return float((len(distances) - 1) / np.log(second / first).sum())


def _participation_ratio(x: np.ndarray) -> float:
    variance = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    return float(variance.sum() ** 2 / (variance**2).sum())
