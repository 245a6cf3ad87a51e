"""How well predicted responses match measured ones: per image, per voxel, and by chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nbtools.checks import check_enough
from nbtools.errors import InputError
from nbtools.metrics.inputs import check_features


def pattern_r(predicted: ArrayLike, measured: ArrayLike) -> np.ndarray:
    """Correlate the predicted and the measured pattern of each image.

    Parameters
    ----------
    predicted, measured : array-like or CPU tensor (n_images, n_dims)
        Response patterns (principal-component scores or voxels), rows in the same order of images.

    Returns
    -------
    array (n_images,)
        Pearson r over the dimensions. Compare it with a shuffled null (`shuffled_pattern_r`), never with a
        voxel's noise ceiling.

    Raises
    ------
    InputError
        If shapes differ, a value is not finite, or a pattern is constant (its r does not exist).

    Notes
    -----
    The paper's score of a neural predictor (arXiv 2405.02564, Methods): the mean of this over test images.
    """
    predicted, measured = _pair(predicted, measured)
    return _rows_r(_unit_rows(predicted, "predicted", "image"), _unit_rows(measured, "measured", "image"))


def voxel_r(predicted: ArrayLike, measured: ArrayLike) -> np.ndarray:
    """Correlate the predicted and the measured response of each voxel over images.

    Parameters
    ----------
    predicted, measured : array-like or CPU tensor (n_images, n_voxels)
        Responses of the same voxels to the same images, rows in the same order.

    Returns
    -------
    array (n_voxels,)
        Pearson r over images; a voxel's own ceiling is sqrt(noise ceiling / 100).

    Raises
    ------
    InputError
        If shapes differ, a value is not finite, or a voxel is constant over images.
    """
    predicted, measured = _pair(predicted, measured)
    return _rows_r(_unit_rows(predicted.T, "predicted", "voxel"), _unit_rows(measured.T, "measured", "voxel"))


def shuffled_pattern_r(predicted: ArrayLike, measured: ArrayLike, n: int = 200, seed: int = 0) -> np.ndarray:
    """Mean pattern r when images are paired at random: what a predictor that ignores the image would reach.

    Parameters
    ----------
    predicted, measured : array-like or CPU tensor (n_images, n_dims)
        As for `pattern_r`.
    n : int
        Random pairings.
    seed : int
        Seed of the pairings.

    Returns
    -------
    array (n,)
        Mean over images of the pattern r under each pairing; not centred on 0 where patterns share a mean.

    Raises
    ------
    InputError
        As `pattern_r`, and if ``n`` is below 1.
    """
    check_enough("no pairing was asked for", n, 1, fix="ask for 200 pairings or so")
    predicted, measured = _pair(predicted, measured)
    p, m = _unit_rows(predicted, "predicted", "image"), _unit_rows(measured, "measured", "image")
    rng = np.random.default_rng(seed)
    return np.array([np.vdot(p, m[rng.permutation(len(m))]) / len(m) for _ in range(n)])


def _pair(predicted: ArrayLike, measured: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float arrays (n, d) of one shape; their precision is kept for `_unit_rows`."""
    arrays = []
    for name, values in (("predicted", predicted), ("measured", measured)):
        array = np.asarray(values)
        array = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)
        check_features(f"{name} responses", array, n_rows=2, n_columns=2)
        arrays.append(array)
    if arrays[0].shape != arrays[1].shape:
        raise InputError(
            "predicted and measured responses differ in shape",
            expected=f"predicted {arrays[1].shape}, as measured",
            got=f"predicted {arrays[0].shape}",
            fix="join them by image id and use the same components or voxels",
        )
    return arrays[0], arrays[1]


def _unit_rows(values: np.ndarray, name: str, row: str) -> np.ndarray:
    """Centre each row and scale it to length 1, so that the product of two rows is their Pearson r."""
    precise = values.astype(np.float64)
    centred = precise - precise.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    # A constant row computed in float32 differs from itself by rounding: that is no variance.
    rounding = 8 * np.finfo(values.dtype).eps * np.sqrt(values.shape[1]) * np.abs(precise).max(1, keepdims=True)
    constant = np.flatnonzero(length <= rounding)
    if constant.size:
        some = ", ".join(map(str, constant[:5])) + (" …" if constant.size > 5 else "")
        raise InputError(
            f"{constant.size} of {len(values)} {name} {row}s are constant: their correlation does not exist",
            expected=f"every {row} to vary",
            got=f"no variance in {row}s {some}",
            fix="drop dead voxels when loading; a predictor that gives one answer has not been trained",
        )
    return centred / length


def _rows_r(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.clip(np.einsum("ij,ij->i", a, b), -1, 1)
