"""Which images drive a region most and least, and how much of that is luck of the draw."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nbtools.checks import check_enough
from nbtools.errors import InputError

RELIABLE = 10.0  # noise ceiling in percent above which a voxel counts
N_REPEATS = 3


def drive(
    responses: NDArray[np.floating],
    image_ids: NDArray[np.integer],
    repeats: NDArray[np.integer],
    ceilings: NDArray[np.floating],
) -> pd.DataFrame:
    """Average each trial's response over a region's reliable voxels.

    Parameters
    ----------
    responses : (n_trials, n_voxels) float
        Z-scored within session.
    image_ids, repeats : (n_trials,) int
        Which image each trial showed, for the how-manieth time (from 1).
    ceilings : (n_voxels,) float
        Noise ceilings in percent; voxels above `RELIABLE` count.

    Returns
    -------
    DataFrame
        One row per trial of an image that was seen `N_REPEATS` times: ``image_id``, ``repeat``, ``response``
        (standard deviations of a voxel).

    Raises
    ------
    InputError
        If lengths disagree, or no voxel or no image is left.
    """
    n_trials, n_voxels = responses.shape
    reliable = np.asarray(ceilings) > RELIABLE
    if not len(image_ids) == len(repeats) == n_trials or len(reliable) != n_voxels or not reliable.any():
        raise InputError(
            "there is no mean response of the region",
            expected=f"ids and repeats of {n_trials} trials, ceilings of {n_voxels} voxels, some above {RELIABLE:g} %",
            got=f"{len(image_ids)} ids, {len(repeats)} repeats, {len(reliable)} ceilings, {reliable.sum()} above",
            fix="give the arrays of one RoiTrials, with its own ceilings",
        )
    mean = responses[:, reliable].mean(axis=1, dtype=np.float64)
    table = pd.DataFrame({"image_id": image_ids, "repeat": repeats, "response": mean})
    table = table[table.groupby("image_id")["repeat"].transform("size") == N_REPEATS]
    check_enough(f"no image was seen {N_REPEATS} times", len(table), 1, fix="take sessions in which images come again")
    return table.sort_values(["image_id", "repeat"], ignore_index=True)


def extremes(table: pd.DataFrame, k: int = 6) -> pd.DataFrame:
    r"""Choose the images with the highest and the lowest mean response.

    Parameters
    ----------
    table : DataFrame
        From `drive`.
    k : int
        Images at either end.

    Returns
    -------
    DataFrame
        ``k`` rows with ``end`` = ``"most"``, strongest first, and ``k`` with ``"least"``, weakest first:
        ``image_id``, ``response`` (mean over repeats), ``held_out``. The last is one number per end: images are
        chosen anew without one repeat, and that repeat of theirs is averaged; so for each repeat, then averaged.

    Raises
    ------
    InputError
        If there are fewer than ``2 k`` images, or repeats are missing.

    Notes
    -----
    The chosen images' own mean overstates their drive, since noise helped to choose them (regression to the
    mean); ``held_out`` does not, as the noise of different trials is independent.
    """
    wide = table.pivot(index="image_id", columns="repeat", values="response")
    if not 1 <= k <= len(wide) // 2 or wide.shape[1] < 2 or wide.isna().any(axis=None):
        raise InputError(
            "extremes cannot be chosen",
            expected=f"{max(2 * k, 2)} images or more, each with the same two or more repeats",
            got=f"{len(wide)} images, {wide.shape[1]} repeats, {int(wide.isna().sum().sum())} responses missing",
            fix="ask for fewer images, or take more sessions in which images come again",
        )
    ends = []
    for end, sign in (("most", -1), ("least", 1)):
        mean = wide.mean(axis=1)
        chosen = mean.iloc[np.argsort(sign * mean.to_numpy(), kind="stable")[:k]]
        held_out = []
        for repeat in wide:
            others = wide.drop(columns=repeat).mean(axis=1).to_numpy()
            held_out.append(wide[repeat].to_numpy()[np.argsort(sign * others, kind="stable")[:k]].mean())
        rows = {"end": end, "image_id": chosen.index, "response": chosen.to_numpy(), "held_out": np.mean(held_out)}
        ends.append(pd.DataFrame(rows))
    return pd.concat(ends, ignore_index=True)
