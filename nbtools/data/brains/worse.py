"""A region measured worse on purpose: noise planted in its responses, voxels left out; what predictors learn of it."""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np

from nbtools.checks import check_range
from nbtools.data.brains.responses import IntArray, RoiTrials


def plant_noise(trials: RoiTrials, noise: float, shared_ids: IntArray, seed: int = 0) -> RoiTrials:
    """Add Gaussian noise to every training response; those to test images stay as they were measured.

    Parameters
    ----------
    trials : RoiTrials
        Responses (n_trials, n_voxels).
    noise : float
        Its standard deviation, in units of each voxel's own over training trials. 0 plants none.
    shared_ids : (n_shared,) int
        The test images (`Design.shared_ids`).
    seed : int
        With the region's name, of the draw: it is the same at every level, so that levels differ in size alone.

    Returns
    -------
    RoiTrials

    Raises
    ------
    InputError
        If `noise` is no number from 0 on.

    Notes
    -----
    An image's mean over k trials has it 1/√k times. A linear predictor of p weights, fitted to n images by least
    squares, then correlates with the noise-free response by r = r₀ / √(1 + κ noise²), r₀ that without planted noise:
    E‖ŵ − w‖² = p σ² / (n − p − 1), σ² all noise of an image's mean, and r = ‖w‖ / √(‖w‖² + E‖ŵ − w‖²) for features of
    one variance. Hence κ = r₀² · p / (n − p − 1) · (voxel variance / k) / ‖w‖². Noise of the test responses scales r
    at all levels alike.
    """
    check_range("noise", noise, 0)
    if noise == 0:
        return trials
    train = ~np.isin(trials.image_ids, shared_ids)
    seen, responses = trials.responses[train], trials.responses.copy()
    drawn = _generator(trials.roi, seed).standard_normal(seen.shape, dtype=np.float32)
    responses[train] = seen + noise * seen.std(axis=0) * drawn
    return replace(trials, responses=responses)


def some_voxels(trials: RoiTrials, share: float, seed: int = 0) -> RoiTrials:
    """Keep a share of a region's voxels, chosen at random; those of a smaller share are among those of a larger one.

    Parameters
    ----------
    trials : RoiTrials
        Responses (n_trials, n_voxels).
    share : float
        Of the voxels, in (0, 1]; at least two are kept, as a pattern takes.
    seed : int
        With the region's name, of the choice.

    Returns
    -------
    RoiTrials
        The voxels in their order.

    Raises
    ------
    InputError
        If fewer than two voxels, or more than all, would be kept.
    """
    n_voxels = len(trials.voxels)
    check_range("voxels", share, min(2 / n_voxels, 1), 1)
    if share == 1:
        return trials
    kept = np.sort(_generator(trials.roi, seed).permutation(n_voxels)[: round(share * n_voxels)])
    return replace(trials, responses=trials.responses[:, kept], voxels=trials.voxels[kept])


def _generator(roi: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(roi.encode())])
