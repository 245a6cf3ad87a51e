"""How sharply paths of points bend: angles between successive steps, and between tangents by local PCA."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nbtools.checks import check_counts, check_enough, check_numbers, check_once, check_range, check_table
from nbtools.errors import InputError
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import ci, jackknife_interval

_OF_AN_IMAGE = ("condition", "seed", "transformation", "readout", "measure", "image_id")
_STILL = 1e-6  # of a point's length: float32 has seven digits


def step_angles(paths: ArrayLike) -> np.ndarray:
    """Measure the angle between each step of a path and the next.

    Parameters
    ----------
    paths : array-like (..., n_points, n_features)
        Points along each path, three or more.

    Returns
    -------
    array (..., n_points − 2)
        Degrees: 0 on a straight line, on a circle of radius r that of steps of length s, 2 arcsin(s / 2r); about 120
        where points are independent noise. Neither unit nor rotation has any influence.

    Raises
    ------
    InputError
        If the shape is another, a value is not finite, there are too few points, or a step has no length: less than a
        millionth of the farthest point's distance from 0, which is rounding in float32.

    Notes
    -----
    Hénaff, Goris & Simoncelli (2019), Nat. Neurosci. 22, 984: the discrete curvature of a sequence of frames. A path is
    *straightened* by as much as its angles are smaller than those of its pixels.
    """
    steps = np.diff(_checked(paths, 3), axis=-2)
    directions = steps / np.linalg.norm(steps, axis=-1, keepdims=True)
    return _angles(directions[..., :-1, :], directions[..., 1:, :])


def tangent_angles(paths: ArrayLike, reach: int = 1) -> np.ndarray:
    """Measure the angle between a path's tangent at each point and the next, tangents by local PCA.

    Parameters
    ----------
    paths : array-like (..., n_points, n_features)
        Points along each path, two more than `reach` takes on both sides.
    reach : int
        Points on either side that a tangent is estimated from: the first principal component of 2 · reach + 1.

    Returns
    -------
    array (..., n_points − 2 reach − 1)
        Degrees, from 0 to 90: tangents are lines, without a direction. On an evenly sampled circle they are those of
        `step_angles`; noise of a single point counts less.

    Raises
    ------
    InputError
        As `step_angles`.

    Notes
    -----
    Tangent spaces of a manifold by local PCA: Zhang & Zha (2004), SIAM J. Sci. Comput. 26, 313; here of one dimension,
    that along the path.
    """
    check_range("reach", reach, 1, whole=True)
    x = _checked(paths, 2 * reach + 2)
    windows = np.moveaxis(np.lib.stride_tricks.sliding_window_view(x, 2 * reach + 1, axis=-2), -1, -2)
    tangents = np.linalg.svd(windows - windows.mean(axis=-2, keepdims=True), full_matrices=False)[2][..., 0, :]
    angles = _angles(tangents[..., :-1, :], tangents[..., 1:, :])
    return np.minimum(angles, 180 - angles)


def mean_curvature(curvature: pd.DataFrame) -> pd.DataFrame:
    """Average images' curvature over the categories of each network, with intervals for other categories.

    Parameters
    ----------
    curvature : DataFrame
        From `probes.measure_curvature`: ``condition``, ``seed``, ``transformation``, ``readout``, ``measure``,
        ``image_id``, ``label``, ``value`` (degrees).

    Returns
    -------
    DataFrame
        One row per condition × seed × transformation × read-out × measure: ``value`` (the mean over categories of
        their images' mean, degrees), ``ci_low``, ``ci_high`` (95 %, Student's t over categories), ``n_categories``.

    Raises
    ------
    InputError
        If a column, a label or a value is missing, an image stands there twice, or there is one category alone.
    """
    problem, fix = "curvature cannot be averaged", "make the table with probes.measure_curvature"
    check_table(problem, curvature, (*_OF_AN_IMAGE, "label", "value"), fix=fix)
    check_numbers(problem, curvature, ("value",), fix=fix)
    missing = {f"images without a {name}": int(curvature[name].isna().sum()) for name in ("label", "value")}
    check_counts(problem, missing, expected="every image's label and curvature", fix=fix)
    check_once(problem, curvature, _OF_AN_IMAGE, fix=fix)
    fewest = int(curvature.groupby(list(_OF_AN_IMAGE[:-1]))["label"].nunique().min())
    check_enough("one category has no interval", fewest, 2, fix="take images of more categories")
    rows = []
    for named, group in groups_of(curvature, _OF_AN_IMAGE[:-1]):
        each = group.groupby("label")["value"].mean().to_numpy()
        without = (each.sum() - each) / (len(each) - 1)  # of a mean, the jackknife is Student's t
        interval = ci(jackknife_interval(float(each.mean()), without))
        rows.append({**named, "value": each.mean(), **interval, "n_categories": len(each)})
    return pd.DataFrame(rows)


def _checked(paths: ArrayLike, fewest: int) -> np.ndarray:
    """Return paths as their points' coordinates in as few dimensions as they span."""
    x = np.asarray(paths, dtype=np.float64)
    if x.ndim < 2 or x.shape[-2] < fewest or not x.size or not np.isfinite(x).all():
        raise InputError(
            "these are no paths",
            expected=f"finite numbers (..., n_points, n_features), {fewest} points or more",
            got=f"shape {x.shape}, {np.count_nonzero(~np.isfinite(x))} not finite",
            fix="give the points along each path in their order; look for a diverged network",
        )
    # Only the span of its own points matters to a path's angles: QR gives their coordinates in it.
    x = np.swapaxes(np.linalg.qr(np.swapaxes(x, -1, -2), mode="r"), -1, -2)
    lengths = np.linalg.norm(np.diff(x, axis=-2), axis=-1)
    farthest = np.linalg.norm(x, axis=-1).max(axis=-1, keepdims=True)
    still = {f"of {lengths.size} steps have no length": int((lengths <= _STILL * farthest).sum())}
    fix = "leave out images that the transformation does not change; look for a dead layer"
    check_counts("a path stands still", still, expected="points that differ from those before them", fix=fix)
    return x


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles of unit vectors (..., n_features) in degrees; exact near 0, where arccos is not (Kahan 2006)."""
    return np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))
