"""Shape bias: does a network go by an object's shape or by its texture?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nbtools.errors import InputError
from nbtools.metrics.stats import percentile_interval, resampled_means

COLUMNS = ("image_id", "shape", "texture", "prediction")


def shape_bias(decisions: pd.DataFrame, by: Sequence[str] = ("condition",), seed: int = 0) -> pd.DataFrame:
    """Score decisions on cue-conflict images.

    Parameters
    ----------
    decisions : DataFrame
        One row per network × image: ``image_id``, ``shape``, ``texture``, ``prediction`` (category names), and the
        `by` columns. A ``seed`` or ``subject`` that is not among them is averaged over.
    by : sequence of str
        What to score apart; with ``"shape"`` among them, every shape class has its own bias.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row per group: ``shape_bias`` with ``ci_low``, ``ci_high`` (95 %, over images), ``shape_accuracy``,
        ``texture_accuracy`` (fractions of all conflict trials), ``n`` (conflict trials), ``n_decided`` (decisions for
        shape or texture, on which the bias rests). A network that never decides for either has no bias: missing.

    Raises
    ------
    InputError
        If a column or value is missing, no image holds a conflict, or an image was decided twice by one network.

    Notes
    -----
    Geirhos et al. (2019): among trials whose shape and texture classes differ, correct-shape / (correct-shape +
    correct-texture) decisions. Decisions for a third class do not count.
    """
    _check(decisions, by)
    trials = decisions[decisions["shape"] != decisions["texture"]]
    trials = trials.assign(
        for_shape=(trials["prediction"] == trials["shape"]).astype(float),
        for_texture=(trials["prediction"] == trials["texture"]).astype(float),
    )
    groups = trials.groupby(list(by), sort=False) if by else [((), trials)]
    rows = [{**dict(zip(by, key, strict=True)), **_bias(group, seed)} for key, group in groups]
    return pd.DataFrame(rows)


def _bias(trials: pd.DataFrame, seed: int) -> dict[str, float]:
    per_image = trials.groupby("image_id")[["for_shape", "for_texture"]].sum().to_numpy()
    shape, texture = per_image.sum(axis=0)
    decided, n = shape + texture, len(trials)
    row = {"shape_bias": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    if decided and len(per_image) > 1:
        draws = resampled_means(per_image[:, None, :], seed=seed)
        draws = draws[draws.sum(axis=1) > 0]
        low, high = percentile_interval(draws[:, 0] / draws.sum(axis=1))
        row = {"shape_bias": shape / decided, "ci_low": float(low), "ci_high": float(high)}
    return row | {"shape_accuracy": shape / n, "texture_accuracy": texture / n, "n": n, "n_decided": int(decided)}


def _check(decisions: pd.DataFrame, by: Sequence[str]) -> None:
    missing = [name for name in (*COLUMNS, *by) if name not in decisions]
    empty = 0 if missing else int(decisions[[*COLUMNS, *by]].isna().to_numpy().sum())
    networks = [name for name in ("condition", "seed", "subject") if name in decisions]
    doubled = 0 if missing else int(decisions.duplicated([*networks, "image_id"]).sum())
    conflicts = 0 if missing else int((decisions["shape"] != decisions["texture"]).sum())
    if missing or empty or doubled or not conflicts:
        raise InputError(
            "this is not a table of decisions on cue-conflict images",
            expected=f"rows with {', '.join((*COLUMNS, *by))}, one per network and image, some with a conflict",
            got=f"{len(decisions)} rows"
            + (f", without {', '.join(missing)}" if missing else f", {conflicts} with a conflict")
            + (f", {empty} missing values" if empty else "")
            + (f", {doubled} decided twice" if doubled else ""),
            fix="decide every image once per network, with nbtools.metrics.sixteen.decide_category",
        )
