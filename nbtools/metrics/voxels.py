"""Tables of a region's voxels: their noise ceilings, and those that were published."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nbtools.metrics.noise_ceiling import ncsnr, noise_ceiling

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


def voxel_ceilings(responses: ArrayLike, image_ids: ArrayLike, **repeats: int) -> pd.DataFrame:
    """Return the noise ceiling of every voxel.

    Parameters
    ----------
    responses : array-like (n_trials, n_voxels)
        Single trials.
    image_ids : array-like (n_trials,)
        Which image each trial showed.
    **repeats : int
        Columns, and the ceiling of a mean over how many repeats each holds: ``noise_ceiling=3, n1=1``.

    Returns
    -------
    DataFrame
        One row per voxel: ``voxel`` (from 0), then these columns, in percent of variance.

    Raises
    ------
    InputError
        As `ncsnr`, `noise_ceiling`.
    """
    snr = ncsnr(np.asarray(responses), np.asarray(image_ids))
    return pd.DataFrame({"voxel": range(len(snr)), **{name: noise_ceiling(snr, n=n) for name, n in repeats.items()}})
