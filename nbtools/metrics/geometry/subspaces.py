"""Subspaces of a feature space: those a head reads, and random ones of the same size or of the same variance."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from nbtools.checks import check_counts, check_range
from nbtools.metrics.inputs import check_features

_FLATTEST, _STEEPEST = -2.0, 4.0  # of t in `matched_directions`: beyond, trailing or leading components alone are left
_FLOOR = 1e-9  # of the largest eigenvalue: what a dead unit has


def leading_directions(weights: np.ndarray, covariance: np.ndarray, k: int) -> np.ndarray:
    """Return the directions by which a linear head reads most of what varies in its answers.

    Parameters
    ----------
    weights : array (n_outputs, n_features)
        Of the head.
    covariance : array (n_features, n_features)
        Of the features.
    k : int
        How many, up to the rank of the weights.

    Returns
    -------
    array (n_features, k)
        An orthonormal basis of the span of Wᵀu₁ … Wᵀu_k, u the leading eigenvectors of W Σ Wᵀ: what the answers'
        principal components are read from. All of them together span the row space of the weights.

    Raises
    ------
    InputError
        If k is below 1 or above the rank, weights are not finite, or as `variance_share`.

    Notes
    -----
    By weights alone the order would be another: a head that was hardly trained has directions of large weight, left
    from its start, in which no feature varies.
    """
    check_features("a head's weights", weights)
    _check(covariance)
    check_range("k", k, 1, np.linalg.matrix_rank(weights), whole=True)
    answers = np.linalg.eigh(weights @ covariance @ weights.T)[1][:, ::-1]
    return np.linalg.qr(weights.T @ answers[:, :k])[0]


def random_directions(n_features: int, k: int, seed: int) -> np.ndarray:
    """Draw a subspace of k dimensions, all equally likely: an orthonormal basis (n_features, k)."""
    check_range("k", k, 1, n_features, whole=True)
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n_features, k)))[0]


def matched_directions(covariance: np.ndarray, k: int, share: float, seed: int) -> np.ndarray:
    """Draw a subspace that holds a given share of the features' variance.

    Parameters
    ----------
    covariance : array (n_features, n_features)
        Of the features.
    k : int
        Of how many dimensions.
    share : float
        Of the variance, as `variance_share` measures it.
    seed : int
        Of the draw.

    Returns
    -------
    array (n_features, k)
        An orthonormal basis of Σᵗ G, G Gaussian, t such that it holds the share: t = 0 is `random_directions`. Where no
        t of −2 to 4 does, the nearest.

    Raises
    ------
    InputError
        If k is below 1 or above the number of features, the share not between 0 and 1, or as `variance_share`.
    """
    _check(covariance)
    check_range("k", k, 1, len(covariance), whole=True)
    check_range("share", share, 0, 1)
    values, vectors = np.linalg.eigh(covariance)
    relative = np.maximum(values / values[-1], _FLOOR)[:, None]
    drawn = np.random.default_rng(seed).standard_normal((len(values), k))

    def basis(t: float) -> np.ndarray:
        return np.linalg.qr(relative**t * drawn)[0]

    def held(t: float) -> float:
        return variance_share(basis(t), np.diag(values))

    wanted = np.clip(share, held(_FLATTEST), held(_STEEPEST))
    return vectors @ basis(brentq(lambda t: held(t) - wanted, _FLATTEST, _STEEPEST, xtol=1e-6))


def strongest_units(weights: np.ndarray, k: int) -> np.ndarray:
    """Return the k units of largest weight in a linear head (n_outputs, n_features): coordinates (n_features, k)."""
    check_range("k", k, 1, weights.shape[1], whole=True)
    return np.eye(weights.shape[1])[:, np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")[:k]]


def random_units(n_features: int, k: int, seed: int) -> np.ndarray:
    """Draw k units, all equally likely: coordinates (n_features, k)."""
    check_range("k", k, 1, n_features, whole=True)
    return np.eye(n_features)[:, np.random.default_rng(seed).permutation(n_features)[:k]]


def variance_share(basis: np.ndarray, covariance: np.ndarray) -> float:
    """Return the share of the variance (n_features, n_features) within an orthonormal basis (n_features, k).

    Raises
    ------
    InputError
        If there is no variance, or it is not finite.
    """
    _check(covariance)
    return float(np.einsum("ik,ij,jk->", basis, covariance, basis, optimize=True) / np.trace(covariance))


def _check(covariance: np.ndarray) -> None:
    check_features("covariances", covariance)
    still = {"features that do not vary": 0 if np.trace(covariance) > 0 else len(covariance)}
    fix = "take several images, and look for a dead layer"
    check_counts("there is no variance", still, expected="features that vary over images", fix=fix)
