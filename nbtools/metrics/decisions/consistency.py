"""Error consistency: do two networks fail on the same images, beyond what their accuracies make happen by chance?"""

from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nbtools.checks import check_counts, check_once, check_table, plain
from nbtools.errors import InputError
from nbtools.metrics.inputs import check_answers
from nbtools.metrics.stats import ci, jackknife_interval, percentile_interval, ratio

_OUTCOMES = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])  # first right, second right, the two agree
_N_BOOT = 2000


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
    (1 − p)(1 − q). The same number as `sklearn.metrics.cohen_kappa_score`. Interval: percentiles over resampled images,
    after half an image was added to each of the four outcomes (Jeffreys' prior): near ceiling few images are failed by
    both networks, and where there is none, no resample has one.
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
    counts = np.array([np.sum((first == was) & (second == did)) for was, did, *_ in _OUTCOMES])
    n = len(first)
    means = counts[None] / n @ _OUTCOMES
    kappa = _kappa(means)
    draws = np.random.default_rng(seed).multinomial(n, (counts + 0.5) / (n + 2), size=_N_BOOT) / n
    return {
        "kappa": float(kappa[0]),
        **ci(percentile_interval(_kappa(draws @ _OUTCOMES) + 0 * kappa)),  # none where κ is undefined
        "observed": float(means[0, 2]),
        "expected": float(_expected(means)[0]),
        "n": n,
    }


def consistency_matrix(decisions: pd.DataFrame, label: str = "label", seed: int = 0) -> pd.DataFrame:
    """Error consistency of every pair of conditions, between networks of different seeds where there are several.

    Networks of one seed began alike, and fail on the same images for that alone.

    Parameters
    ----------
    decisions : DataFrame
        One row per network × image: ``condition``, ``seed`` where there are several, ``image_id``, ``prediction``, and
        the right answer.
    label : str
        The column of the right answer.
    seed : int
        Of the bootstrap over images.

    Returns
    -------
    DataFrame
        One row per ordered pair, a condition with itself included: ``a``, ``b``, what `error_consistency` gives, and
        ``n_seeds``. With several seeds κ is the mean over all pairs of different seeds, its interval Student's on the
        jackknife's pseudo-values over seeds (missing of two); with one seed it is over images, and a network's own κ 1.

    Raises
    ------
    InputError
        If a column or an answer is missing, answers are of two kinds, or networks were not tested on the same
        images, each once.
    """
    problem, fix = "networks' errors cannot be compared", "collect decisions of the same seeds on one test set"
    decisions = plain(decisions)
    check_table(problem, decisions, ("condition", "image_id", "prediction", label), fix=fix)
    check_answers(problem, decisions, ("prediction", label), fix=fix)
    decided = decisions.assign(right=decisions["prediction"] == decisions[label], seed=decisions.get("seed", 0))
    check_once(problem, decided, ("condition", "seed", "image_id"), fix=fix)
    names, seeds = decided["condition"].unique(), decided["seed"].unique()
    right = decided.pivot(index="image_id", columns=["condition", "seed"], values="right")
    right = right.reindex(columns=pd.MultiIndex.from_product([names, seeds]))
    gaps = {"images decided by some networks only": int(right.isna().any(axis=1).sum())}
    check_counts(problem, gaps, expected="every network on every image", fix=fix)
    rows = []
    for a, b in combinations_with_replacement(names, 2):
        first, second = (right[name].to_numpy(bool) for name in (a, b))
        alone = error_consistency(first[:, 0], second[:, 0], seed) if len(seeds) == 1 else _across(first, second)
        found = {**alone, "n_seeds": len(seeds)}
        rows += [{"a": a, "b": b, **found}] + ([{"a": b, "b": a, **found}] if a != b else [])
    return pd.DataFrame(rows)


def on_same_images(decisions: pd.DataFrame) -> pd.DataFrame:
    """Keep the networks that decided on the images that most networks decided on, for `consistency_matrix`.

    Parameters
    ----------
    decisions : DataFrame
        One row per network × image: ``condition``, ``seed``, ``image_id``.

    Returns
    -------
    DataFrame
        Their rows; of two sets that as many networks decided on, that of the first network.
    """
    network = ["condition", "seed"]
    met = decisions.groupby(network, sort=False)["image_id"].agg(frozenset)
    ((common, _),) = Counter(met).most_common(1)
    kept = met.index[met.map(common.__eq__)]
    return decisions[pd.MultiIndex.from_frame(decisions[network]).isin(kept)]


def _across(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Return κ between networks of different seeds, right or wrong in (n_images, n_seeds) each."""
    agree = (first[:, :, None] == second[:, None, :]).mean(axis=0)
    p, q = np.broadcast_arrays(first.mean(axis=0)[:, None], second.mean(axis=0)[None])
    means = np.stack([p, q, agree], axis=-1)
    seeds = np.arange(len(agree))
    other = seeds[:, None] != seeds
    kappa = _kappa(means.reshape(-1, 3)).reshape(agree.shape)
    value = float(kappa[other].mean())
    without = [other & (seeds != seed)[:, None] & (seeds != seed) for seed in seeds]
    left_out = [kappa[kept].mean() for kept in without if kept.any()]
    return {
        "kappa": value,
        **ci(jackknife_interval(value, left_out)),
        "observed": float(agree[other].mean()),
        "expected": float(_expected(means[other]).mean()),
        "n": len(first),
    }


def _expected(means: np.ndarray) -> np.ndarray:
    p, q = means[:, 0], means[:, 1]
    return p * q + (1 - p) * (1 - q)


def _kappa(means: np.ndarray) -> np.ndarray:
    """κ (m,) from the two accuracies and observed agreement (m, 3); NaN where chance explains everything."""
    expected = _expected(means)
    return ratio(means[:, 2] - expected, 1 - expected)
