"""Error consistency: do two networks fail on the same images, beyond what their accuracies make happen by chance?"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nbtools.checks import check_counts, check_once, check_table, plain
from nbtools.errors import InputError
from nbtools.metrics.inputs import check_answers
from nbtools.metrics.stats import ci, percentile_interval, ratio, resampled_means


def error_consistency(a: ArrayLike, b: ArrayLike, seed: int = 0) -> dict[str, float]:
    """Cohen's κ of the correctness of two networks on the same images.

    Parameters
    ----------
    a, b : array-like (n_images,) of bool
        Whether each network was right about each image.
    seed : int
        Of the bootstrap over images.

    Returns
    -------
    dict
        ``kappa`` with ``ci_low``, ``ci_high`` (95 %), ``observed`` (share of images both get right or both wrong),
        ``expected`` (that share for independent networks of these accuracies), ``n``. Where both are always right
        or always wrong, chance explains everything and κ is undefined: missing.

    Raises
    ------
    InputError
        If the two differ in length, have fewer than two images, or are not true or false.

    Notes
    -----
    Geirhos, Meding & Wichmann (2020), eq. 1–2: κ = (observed − expected) / (1 − expected), expected = p·q +
    (1 − p)(1 − q). The same number as `sklearn.metrics.cohen_kappa_score`.
    """
    first, second = (np.asarray(values) for values in (a, b))
    paired = first.shape == second.shape and first.ndim == 1 and len(first) > 1
    if not paired or {first.dtype, second.dtype} != {np.dtype(bool)}:
        raise InputError(
            "two networks' errors cannot be compared",
            expected="right or wrong (bool) for the same images, two or more",
            got=f"{first.shape} {first.dtype} and {second.shape} {second.dtype}",
            fix="join the decisions by image id",
        )
    columns = np.stack([first == second, first, second], axis=1).astype(float)
    means = columns.mean(axis=0, keepdims=True)
    draws = _kappa(resampled_means(columns, seed=seed))
    return {
        "kappa": float(_kappa(means)[0]),
        **ci(percentile_interval(draws)),
        "observed": float(means[0, 0]),
        "expected": float(_expected(means)[0]),
        "n": len(first),
    }


def consistency_matrix(decisions: pd.DataFrame, label: str = "label", seed: int = 0) -> pd.DataFrame:
    """Error consistency of every pair of networks.

    Parameters
    ----------
    decisions : DataFrame
        One row per condition × image: ``condition``, ``image_id``, ``prediction``, and the right answer.
    label : str
        The column of the right answer.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row per ordered pair, a network with itself included (κ = 1): ``a``, ``b``, and what `error_consistency`
        gives.

    Raises
    ------
    InputError
        If a column or an answer is missing, answers are of two kinds, or networks were not tested on the same
        images, each once.
    """
    problem, fix = "networks' errors cannot be compared", "collect decisions of one seed on one test set"
    decisions = plain(decisions)
    check_table(problem, decisions, ("condition", "image_id", "prediction", label), fix=fix)
    check_answers(problem, decisions, ("prediction", label), fix=fix)
    check_once(problem, decisions, ("condition", "image_id"), fix=fix)
    decided = decisions.assign(right=decisions["prediction"] == decisions[label])
    right = decided.pivot(index="image_id", columns="condition", values="right")[decided["condition"].unique()]
    gaps = {"images decided by some networks only": int(right.isna().any(axis=1).sum())}
    check_counts(problem, gaps, expected="every network on every image", fix=fix)
    rows = []
    for a, b in combinations_with_replacement(right.columns, 2):
        found = error_consistency(right[a].to_numpy(bool), right[b].to_numpy(bool), seed)
        rows += [{"a": a, "b": b, **found}] + ([{"a": b, "b": a, **found}] if a != b else [])
    return pd.DataFrame(rows)


def _expected(means: np.ndarray) -> np.ndarray:
    p, q = means[:, 1], means[:, 2]
    return p * q + (1 - p) * (1 - q)


def _kappa(means: np.ndarray) -> np.ndarray:
    """κ (m,) from observed agreement and the two accuracies (m, 3); NaN where chance explains everything."""
    expected = _expected(means)
    return ratio(means[:, 0] - expected, 1 - expected)
