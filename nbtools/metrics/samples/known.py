"""Comparisons of scores that not every network has."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nbtools.metrics.samples.contrasts import compare

_TESTED = ("difference", "ci_low", "ci_high", "p", "p_holm", "d", "p_tost")


def compare_known(
    scores: pd.DataFrame, column: str, condition: str, control: str, margin: float | None = None
) -> pd.DataFrame:
    """Compare a condition with a control, as `compare`; where one of their networks has no score, there is no test.

    Parameters
    ----------
    scores : DataFrame
        One row per network; NaN where it has no score. A mean over those that have one would be of the lucky ones.
    column : str
        The score's.
    condition, control : str
        Others are left out.
    margin : float, optional
        As in `compare`.

    Returns
    -------
    DataFrame
        The row that `compare` gives.

    Raises
    ------
    InputError
        As `layout`.
    """
    pair = scores[scores["condition"].isin([condition, control])]
    found = compare(pair.fillna({column: 0.0}), column, [condition], [control], margin)
    known = pair[column].notna().all()
    return found if known else found.assign(**dict.fromkeys(_TESTED, np.nan), equivalent=False)
