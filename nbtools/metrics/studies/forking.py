"""The garden of forking paths (Gelman and Loken 2014): how easily some of many comparisons comes out at p < .05."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from nbtools.checks import check_enough
from nbtools.metrics.decisions.robustness import robust_accuracy, under_attack
from nbtools.metrics.samples.contrasts import SIGNIFICANT, compare, layout

SHUFFLES = 500


def forking_paths(
    decisions: pd.DataFrame, attacks: Sequence[str], conditions: Sequence[str], controls: Sequence[str]
) -> pd.DataFrame:
    """Compare every condition with every control under every attack at every ε, as if each were the only test.

    Parameters
    ----------
    decisions : DataFrame
        Of notebook 04, networks of several seeds: ``condition``, ``seed``, ``attack`` among its columns.
    attacks : sequence of str
        Attacks, or the worst case of all.
    conditions, controls : sequence of str

    Returns
    -------
    DataFrame
        A row per path: ``attack``, ``epsilon`` (pixel units, clean images left out), ``condition``, ``control``,
        ``difference``, ``p`` (t-test over seeds, uncorrected).

    Raises
    ------
    InputError
        As `compare`.
    """
    parts = []
    for attack in attacks:
        networks = robust_accuracy(under_attack(decisions, attack))
        for epsilon, at in networks[networks["epsilon"] > 0].groupby("epsilon"):
            found = compare(at, "accuracy", conditions, controls)
            parts.append(found[["condition", "control", "difference", "p"]].assign(attack=attack, epsilon=epsilon))
    columns = ["attack", "epsilon", "condition", "control", "difference", "p"]
    return pd.concat(parts, ignore_index=True)[columns]


def luck(
    decisions: pd.DataFrame,
    attacks: Sequence[str],
    conditions: Sequence[str],
    controls: Sequence[str],
    looks: int,
    seed: int = 0,
) -> float:
    """Return how often somebody who takes that many paths meets p < .05 where there is nothing to find.

    Within each seed all names change networks, the same way for all attacks and ε: what is left of a difference is
    luck. Paths are then taken in random order.

    Parameters
    ----------
    decisions, attacks, conditions, controls
        As in `forking_paths`.
    looks : int
        Paths taken, at least one.
    seed : int
        Of the shuffles.

    Returns
    -------
    float
        Share of `SHUFFLES` shuffles.

    Raises
    ------
    InputError
        As `forking_paths`, or if no path is taken.
    """
    check_enough("there is no luck without a look", looks, 1, fix="look at one path at least")
    names = list(dict.fromkeys([*conditions, *controls]))
    scores = _scores(decisions, attacks, names)
    pairs = np.array([(names.index(one), names.index(other)) for one, other in product(conditions, controls)])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    rng, won = np.random.default_rng(seed), 0
    for _ in range(SHUFFLES):
        shuffled = rng.permuted(np.broadcast_to(np.arange(len(names)), (scores.shape[2], len(names))), axis=1)
        mixed = np.take_along_axis(scores, shuffled.T[None], axis=1)
        p = _p(mixed[:, pairs[:, 0]] - mixed[:, pairs[:, 1]]).ravel()
        won += bool((rng.permutation(p)[:looks] < SIGNIFICANT).any())
    return won / SHUFFLES


def _scores(decisions: pd.DataFrame, attacks: Sequence[str], names: Sequence[str]) -> NDArray[np.float64]:
    """Robust accuracy (n_attacks × n_ε, n_conditions, n_seeds)."""
    found = []
    for attack in attacks:
        networks = robust_accuracy(under_attack(decisions, attack))
        for _, at in networks[networks["epsilon"] > 0].groupby("epsilon"):
            found.append(layout(at, "accuracy", names)[:, 0])
    return np.stack(found)


def _p(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p over the last axis; where all agree there is no test, and p is 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p = ttest_1samp(differences, 0, axis=-1).pvalue
    agreeing = np.ptp(differences, axis=-1) < 1e-12
    return np.where(agreeing | np.isnan(p), 1.0, p)
