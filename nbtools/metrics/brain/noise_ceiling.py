"""The noise ceiling of each voxel: the share of its variance that any model of the image could explain."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from nbtools.checks import check_counts, check_enough
from nbtools.errors import InputError
from nbtools.metrics.inputs import check_rows

_UNIT_VARIANCE = (0.5, 2.0)  # of the median voxel: a subset of trials strays from 1, another unit by far more

# Mean and standard deviation over the voxels of NSD's subject 1, percent of variance (paper).
PUBLISHED_CEILINGS: dict[str, tuple[float, float]] = {
    "V1": (31.1, 24.0),
    "V2": (29.9, 23.9),
    "V4": (31.8, 18.8),
    "VO": (31.6, 15.6),
    "PHC": (30.0, 17.2),
    "LO": (29.3, 14.9),
    "TO": (43.0, 20.4),
}


def ncsnr(responses: NDArray[np.floating], image_ids: NDArray[np.integer]) -> NDArray:
    r"""Signal-to-noise ratio of each voxel, from the spread over repeats of an image.

    .. math:: \sigma_n^2 = \frac{\sum_i \sum_r (y_{ir} - \bar y_i)^2}{\sum_i (n_i - 1)}, \quad
              \sigma_s^2 = \max(1 - \sigma_n^2, 0), \quad \mathrm{ncsnr} = \sigma_s / \sigma_n

    the variance within images, pooled over all images i of two trials or more: each counts by its n_i − 1 degrees of
    freedom, and one of a single trial by none. With equally many repeats it is the mean of the images' variances, as
    in Allen et al. 2022, *Functional data (NSD): noise ceiling estimation*; docs/methods.md derives it.

    Parameters
    ----------
    responses : (n_trials, n_voxels) float
        Z-scored within session: the formula takes the total variance to be 1.
    image_ids : (n_trials,) int
        Which image each trial showed; images may have unequal numbers of trials.

    Returns
    -------
    (n_voxels,) float64
        From 0 (noise only) to infinity (repeats agree to the last bit).

    Raises
    ------
    InputError
        If every image has one trial, a response is not finite, a voxel is constant, or responses are not z-scored.
    """
    responses, image_ids = np.asarray(responses), np.asarray(image_ids)
    _check(responses, image_ids)
    order = np.argsort(image_ids, kind="stable")
    _, first, counts = np.unique(image_ids[order], return_index=True, return_counts=True)
    degrees = len(order) - len(counts)
    fix = "take sessions in which images come again"
    check_enough("no image was shown twice, to estimate noise from", degrees, 1, fix=fix)
    deviations = responses[order].astype(np.float64)
    deviations -= np.repeat(np.add.reduceat(deviations, first) / counts[:, None], counts, axis=0)
    noise_variance = np.einsum("ij,ij->j", deviations, deviations) / degrees
    with np.errstate(divide="ignore"):
        return np.sqrt(np.maximum(1 - noise_variance, 0) / noise_variance)


def noise_ceiling(snr: NDArray[np.floating], n: int | NDArray[np.integer] = 3) -> NDArray:
    r"""Noise ceiling of each voxel in percent of the variance of responses averaged over `n` repeats.

    .. math:: \mathrm{NC} = 100 \cdot \frac{\mathrm{ncsnr}^2}{\mathrm{ncsnr}^2 + \langle 1 / n_i \rangle_i}

    For A, B and C images with 3, 2 and 1 repeats the mean of 1/n is (A/3 + B/2 + C/1) / (A + B + C).
    Source: Allen et al. 2022; the NSD data manual gives the form for unequal repeats.

    Parameters
    ----------
    snr : (n_voxels,) float
        From `ncsnr`.
    n : int or (n_images,) int
        Repeats averaged: one number for all images, or one for each (`RoiResponses.n_repeats`).

    Returns
    -------
    (n_voxels,) float64
        0 to 100. The ceiling of a correlation is ``sqrt(noise_ceiling / 100)``.

    Raises
    ------
    InputError
        If `snr` is negative or NaN, or a number of repeats is below 1.
    """
    snr, n = np.asarray(snr, np.float64), np.asarray(n)
    wrong = int((~(snr >= 0)).sum())
    if wrong or not n.size or not np.all(n >= 1):
        raise InputError(
            "no noise ceiling can be computed",
            expected="ratios of at least 0 and numbers of repeats of at least 1",
            got=f"{wrong} of {snr.size} ratios negative or NaN; repeats {n}",
            fix="take the ratios from ncsnr(), the numbers from RoiResponses.n_repeats",
        )
    with np.errstate(divide="ignore"):
        return 100 / (1 + np.mean(1 / n) / snr**2)  # in this form 0 and infinity give 0 and 100


def _check(responses: NDArray[np.floating], image_ids: NDArray[np.integer]) -> None:
    check_rows("responses", responses, image_ids)
    variance = responses.var(axis=0, dtype=np.float64)
    bad = ~np.isfinite(variance) | (responses.max(axis=0) == responses.min(axis=0))
    check_counts(
        "voxels are constant or not finite",
        {f"of {len(bad)} voxels": int(bad.sum())},
        expected="finite responses that vary over trials",
        fix="drop them; load_trials does so",
    )
    if not _UNIT_VARIANCE[0] < np.median(variance) < _UNIT_VARIANCE[1]:
        raise InputError(
            "the responses are not z-scored",
            expected="a variance over trials of about 1",
            got=f"{np.median(variance):.3g} in the median voxel",
            fix="load them with load_trials(..., zscore=True)",
        )


def voxel_ceilings(responses: ArrayLike, image_ids: ArrayLike, **repeats: int | NDArray[np.integer]) -> pd.DataFrame:
    """Return the noise ceiling of every voxel.

    Parameters
    ----------
    responses : array-like (n_trials, n_voxels)
        Single trials.
    image_ids : array-like (n_trials,)
        Which image each trial showed.
    **repeats : int or (n_images,) int
        Columns, and the ceiling of a mean over how many repeats each holds: ``noise_ceiling=3, n1=1``; of images with
        unequal repeats, the number of each.

    Returns
    -------
    DataFrame
        One row per voxel: ``voxel`` (from 0), then these columns, in percent of variance; missing where no image was
        shown twice: nothing tells noise from signal then.

    Raises
    ------
    InputError
        As `ncsnr`, `noise_ceiling`.
    """
    values, ids = np.asarray(responses), np.asarray(image_ids)
    check_rows("responses", values, ids)
    if len(np.unique(ids)) == len(ids):
        return pd.DataFrame({"voxel": range(values.shape[1]), **dict.fromkeys(repeats, np.nan)})
    snr = ncsnr(values, ids)
    return pd.DataFrame({"voxel": range(len(snr)), **{name: noise_ceiling(snr, n=n) for name, n in repeats.items()}})
