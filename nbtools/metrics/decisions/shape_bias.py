"""Shape bias: does a network go by an object's shape or by its texture?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nbtools.checks import as_names, check_counts, check_once, check_table, plain
from nbtools.metrics.inputs import check_answers, groups_of
from nbtools.metrics.stats import ci, percentile_interval, ratio, resampled_means

COLUMNS = ("image_id", "shape", "texture", "prediction")


def shape_bias(decisions: pd.DataFrame, by: Sequence[str] = ("condition",), seed: int = 0) -> pd.DataFrame:
    """Score each network's decisions on cue-conflict images.

    Parameters
    ----------
    decisions : DataFrame
        One row per network × image: ``image_id``, ``shape``, ``texture``, ``prediction`` (category names), and the
        `by` columns.
    by : sequence of str
        Columns that tell networks apart, ``seed`` where there are several; with ``"shape"`` among them, every shape
        class has its own bias.
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
    by, decisions = as_names(by), plain(decisions)
    _check(decisions, by)
    trials = decisions[decisions["shape"] != decisions["texture"]]
    trials = trials.assign(
        for_shape=(trials["prediction"] == trials["shape"]).astype(float),
        for_texture=(trials["prediction"] == trials["texture"]).astype(float),
    )
    return pd.DataFrame([named | _bias(group, seed) for named, group in groups_of(trials, by)])


def _bias(trials: pd.DataFrame, seed: int) -> dict[str, float]:
    per_image = trials.groupby("image_id")[["for_shape", "for_texture"]].sum().to_numpy()
    shape, texture = per_image.sum(axis=0)
    decided, n = shape + texture, len(trials)
    row = {"shape_bias": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    if decided and len(per_image) > 1:
        draws = resampled_means(per_image, seed=seed)
        interval = percentile_interval(ratio(draws[:, 0], draws.sum(axis=1)))
        row = {"shape_bias": shape / decided, **ci(interval)}
    return row | {"shape_accuracy": shape / n, "texture_accuracy": texture / n, "n": n, "n_decided": int(decided)}


def _check(decisions: pd.DataFrame, by: Sequence[str]) -> None:
    problem = "this is not a table of decisions on cue-conflict images"
    fix = "decide every image once per network, with nbtools.metrics.decide_category"
    check_table(problem, decisions, (*COLUMNS, *by), fix=fix)
    check_answers(problem, decisions, COLUMNS[1:], fix=fix)
    n_conflicts = int((decisions["shape"] != decisions["texture"]).sum())
    wrong = {
        "missing values": int(decisions[["image_id", *by]].isna().to_numpy().sum()),
        "rows, none with a conflict": 0 if n_conflicts else len(decisions),
    }
    check_counts(problem, wrong, expected="no missing value, and shapes that conflict with textures", fix=fix)
    check_once(problem, decisions, [*by, "image_id"], fix="name in `by` what tells the networks apart, such as seed")
