"""What a planned study can find, before it is run: power of the t tests of `contrasts` over networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, product

import numpy as np
import pandas as pd

from nbtools.checks import check_once, check_range, check_table, plain
from nbtools.metrics.samples.contrasts import SIGNIFICANT, rank_weights

USUAL = 0.8  # power, as studies are usually planned


@dataclass(frozen=True)
class Spread:
    """How much contrasts differ from network to network: standard deviations over `n` seeds, or subjects.

    Attributes
    ----------
    slope, difference : float
        Of the slope per region (NaN with fewer than three regions); of region − control, root mean square over all
        pairs. In the score's unit.
    n : int
        Of how many seeds, or subjects, this is known.
    """

    slope: float
    difference: float
    n: int


def spread(
    scores: pd.DataFrame, column: str, regions: Sequence[str], controls: Sequence[str], over: str = "seed"
) -> Spread | None:
    """Measure how much contrasts differ between the seeds, or subjects, that have run.

    Parameters
    ----------
    scores : DataFrame
        One row per network: ``condition``, ``seed``, ``subject``, the score.
    column : str
        The score's.
    regions, controls : sequence of str
        Regions early to late, and what each is compared with; at least one of both.
    over : {"seed", "subject"}
        What the planned study's sample is of; the other one is averaged.

    Returns
    -------
    Spread or None
        None where fewer than two have a network of every condition.

    Raises
    ------
    InputError
        If a column is missing or a network stands twice.
    """
    problem, names = "networks' spread cannot be measured", ["condition", "subject", "seed"]
    check_table(problem, scores, (*names, column), fix="see which columns the table has")
    check_once(problem, scores, names, fix="give every network one score")
    wanted, scores = [*regions, *controls], plain(scores)
    networks = scores.pivot(index=names[1:], columns="condition", values=column).reindex(columns=wanted)
    grid = networks.dropna().groupby(over).mean()
    if len(grid) < 2:
        return None
    variances = [(grid[region] - grid[control]).var() for region, control in product(regions, controls)]
    slopes = grid[list(regions)] @ rank_weights(len(regions))
    return Spread(float(slopes.std()) if len(regions) > 2 else np.nan, float(np.sqrt(np.mean(variances))), len(grid))


def power(effect: float, spread: float, n: int, level: float = SIGNIFICANT) -> float:
    """Chance that a contrast of this size is significant, two-sided.

    Parameters
    ----------
    effect : float
        True mean of the contrast.
    spread : float
        Its standard deviation over seeds (or subjects), in the same unit; above 0.
    n : int
        Seeds, or subjects; at least 2.
    level : float
        Of significance; a share of it where Holm's correction asks for that: the smallest of m p must be ≤ level / m.

    Raises
    ------
    InputError
        If a value is out of its range.

    Notes
    -----
    Noncentral t with n − 1 degrees of freedom and noncentrality √n · effect / spread; two-sided, so its square's F.
    """
    from scipy.stats import ncf, t  # imports slowly

    for name, value, least in (("spread", spread, 1e-12), ("n", n, 2)):
        check_range(name, value, least)
    check_range("level", level, 0, 1)
    noncentrality = max(n * (effect / spread) ** 2, 1e-12)  # at 0, SciPy 1.17's is negative
    return float(ncf.sf(t.isf(level / 2, n - 1) ** 2, 1, n - 1, noncentrality))


def smallest_effect(spread: float, n: int, level: float = SIGNIFICANT) -> float:
    """Return the smallest effect that `n` seeds (or subjects) find with the `USUAL` power; see `power`."""
    from scipy.optimize import brentq
    from scipy.stats import t

    check_range("level", level, 0, USUAL)
    check_range("n", n, 2)
    most = spread * 10 * (1 + t.isf(level / 2, n - 1))  # whose power is 1, but for a thousandth
    return float(brentq(lambda effect: power(effect, spread, n, level) - USUAL, 0, most))


def sample_needed(effect: float, spread: float, level: float = SIGNIFICANT) -> int:
    """Return how many seeds (or subjects) find an effect with the `USUAL` power; see `power`."""
    check_range("effect", abs(effect), spread / 100)  # of smaller ones, no study has enough
    return next(n for n in count(2) if power(effect, spread, n, level) >= USUAL)
