"""How often tests are right (their operating characteristics): what they say of many sets of networks of one world.

In a simulated world whose answer is known that is a test's power, or how often it raises a false alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from math import comb, factorial

import numpy as np
import pandas as pd

from nbtools.checks import check_enough, check_range, check_table
from nbtools.metrics.decisions.robustness import accuracy_at, epsilon_label
from nbtools.metrics.samples.contrasts import SIGNIFICANT, compare
from nbtools.metrics.samples.measures import claims
from nbtools.metrics.samples.tables import as_scores
from nbtools.metrics.samples.verdicts import in_order, verdicts
from nbtools.processes import Bar

FINDINGS = ("rises", "falls", "none", "unclear")
# How the sentences of `verdicts` say it; any other cannot tell.
_SAID = {"rises along": "rises", "falls along": "falls", "no rise or fall as large": "none"}
_PROBLEM, _FIX = "there are too few networks to take sets of", "train and attack networks of further seeds or subjects"


@dataclass(frozen=True)
class Size:
    """How many networks a study has of each condition.

    Attributes
    ----------
    n_seeds, n_subjects : int
        Of each subject, and how many subjects.
    """

    n_seeds: int
    n_subjects: int = 1


@dataclass(frozen=True)
class Draw:
    """A set of networks, as a study might have had it.

    Attributes
    ----------
    subjects, seeds : tuple
        Whose networks, and which.
    orders : tuple of tuple of str
        For each subject, the regions whose networks stand at the ranks of the hierarchy.
    """

    subjects: tuple
    seeds: tuple
    orders: tuple[tuple[str, ...], ...]

    def of(self, table: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
        """Return the set's rows of a table, its regions named by the ranks at which they stand."""
        parts = []
        for subject, order in zip(self.subjects, self.orders, strict=True):
            rows = table[(table["subject"] == subject) & table["seed"].isin(self.seeds)]
            parts.append(rows.assign(condition=rows["condition"].replace(dict(zip(order, regions, strict=True)))))
        return pd.concat(parts, ignore_index=True)


def findings(networks: pd.DataFrame, order: Sequence[str], others: pd.DataFrame | None = None) -> dict[str, str]:
    """Ask the package's tests what they say of one set of networks, as notebook 10 asks them.

    Parameters
    ----------
    networks : DataFrame
        Robust accuracy, a row per network × ε: ``condition``, ``subject``, ``seed``, ``epsilon``, ``accuracy``.
    order : sequence of str
        Regions, early to late; the other conditions are controls.
    others : DataFrame, optional
        Scores of other measures of these networks, in the form that `claims` tests.

    Returns
    -------
    dict of str to str
        One of `FINDINGS` by claim. Claims are the slope of accuracy at each ε (`verdicts`), each region minus each
        control at each ε above 0, corrected for all of that ε (`compare`), and the slope of each measure, the paper's
        way, corrected for all of them (`claims`).

    Raises
    ------
    InputError
        As these do.
    """
    present = list(networks["condition"].unique())
    regions = in_order(present, order)
    controls = [name for name in present if name not in regions]
    found, scores = {}, [] if others is None else [others]
    for epsilon, sentence in verdicts(networks, order).items():
        measure, rows = accuracy_at(epsilon), networks[networks["epsilon"] == epsilon]
        found[measure] = next((what for words, what in _SAID.items() if words in sentence), "unclear")
        if epsilon > 0:
            scores.append(as_scores(rows, "accuracy", measure))
        if epsilon > 0 and controls:
            table = compare(rows, "accuracy", regions, controls)
            pairs = table["condition"] + " − " + table["control"] + f" at {epsilon_label(epsilon)}"
            found |= _corrected(pairs, table, "difference")
    if scores and len(regions) > 2:
        table = claims(pd.concat(scores), regions)
        found |= _corrected(table["measure"] + f", one of {len(table)} measures", table, "slope")
    return found


def _corrected(names: pd.Series, table: pd.DataFrame, column: str) -> dict[str, str]:
    """Read off each row of `compare` or `claims` what it finds."""
    sign = np.where(table[column] > 0, "rises", "falls")
    none = np.where(table.get("equivalent", False), "none", "unclear")
    return dict(zip(names, np.where(table["p_holm"] <= SIGNIFICANT, sign, none).tolist(), strict=True))


def draws(
    subjects: Sequence, seeds: Sequence, size: Size, regions: Sequence[str], exchangeable: bool, n: int, seed: int = 0
) -> tuple[list[Draw], list[Draw]]:
    """Draw sets of networks.

    Parameters
    ----------
    subjects, seeds : sequence
        Whose networks there are, and which.
    size : Size
        Of a set.
    regions : sequence of str
        Early to late.
    exchangeable : bool
        Whether all regions are alike in this world: their networks in any order are then a set, too.
    n : int
        The most sets: beyond these, a sample of all.
    seed : int
        Of that sample.

    Returns
    -------
    all : list of Draw
        All sets, or n of them at random.
    apart : list of Draw
        Sets that have no network in common, regions in their order: as many as there can be.

    Raises
    ------
    InputError
        If there are fewer subjects or seeds than a set has.
    """
    check_enough(_PROBLEM, len(subjects), size.n_subjects, fix=_FIX)
    check_enough(_PROBLEM, len(seeds), size.n_seeds, fix=_FIX)
    check_range("n", n, 1, whole=True)
    own, rng = tuple(regions), np.random.default_rng(seed)
    apart = [
        Draw(who, which, (own,) * size.n_subjects)
        for who, which in product(_pieces(subjects, size.n_subjects), _pieces(seeds, size.n_seeds))
    ]
    n_orders = factorial(len(own)) if exchangeable else 1
    if comb(len(subjects), size.n_subjects) * comb(len(seeds), size.n_seeds) * n_orders**size.n_subjects <= n:
        all_orders = product(permutations(own) if exchangeable else [own], repeat=size.n_subjects)
        every = product(combinations(subjects, size.n_subjects), combinations(seeds, size.n_seeds), all_orders)
        return [Draw(*one) for one in every], apart
    found: dict[Draw, None] = {}
    while len(found) < n:
        orders = tuple(tuple(rng.permutation(own).tolist()) if exchangeable else own for _ in range(size.n_subjects))
        found[Draw(_some(subjects, size.n_subjects, rng), _some(seeds, size.n_seeds, rng), orders)] = None
    return list(found), apart


def _pieces(values: Sequence, n: int) -> list[tuple]:
    """Cut values into tuples of n; what is left over is left out."""
    return [tuple(values[start : start + n]) for start in range(0, len(values) - n + 1, n)]


def _some(values: Sequence, n: int, rng: np.random.Generator) -> tuple:
    """Choose n at random, in their order."""
    return tuple(values[i] for i in sorted(rng.choice(len(values), n, replace=False)))


def rates(
    networks: pd.DataFrame,
    order: Sequence[str],
    size: Size,
    *,
    others: pd.DataFrame | None = None,
    exchangeable: bool = False,
    n: int = 300,
) -> pd.DataFrame:
    """Count what the tests say of the sets of networks that there are.

    Parameters
    ----------
    networks, order, others
        As for `findings`, of all networks.
    size, exchangeable, n
        As for `draws`.

    Returns
    -------
    DataFrame
        One row per claim, of ``sets`` "all", then of ``sets`` "apart", those without a common network: ``claim``,
        ``sets``, how many said ``rises``, ``falls``, ``none``, ``unclear``, of ``n_sets``; ``n_apart`` (int):
        to how many independent sets that amounts, for an interval (`share`).

    Raises
    ------
    InputError
        As `draws`, or if a column is missing.

    Notes
    -----
    Sets share networks. Independent are those that have none in common; where regions are exchangeable, of each of
    these as many slopes as there are orthogonal contrasts of the regions, one fewer than regions.
    """
    check_table(_PROBLEM, networks, ("condition", "subject", "seed", "epsilon", "accuracy"), fix=_FIX)
    subjects, seeds = (sorted(networks[name].unique().tolist()) for name in ("subject", "seed"))
    regions = in_order(list(networks["condition"].unique()), order)
    every, apart = draws(subjects, seeds, size, regions, exchangeable, n)
    independent = {"all": len(apart) * (len(regions) - 1 if exchangeable else 1), "apart": len(apart)}
    parts = []
    for name, sets in {"all": every, "apart": apart}.items():
        said = pd.DataFrame(
            findings(one.of(networks, regions), order, others if others is None else one.of(others, regions))
            for one in Bar(sets, f"sets, {name}", unit="set", leave=False)
        )
        counts = pd.DataFrame({finding: (said == finding).sum() for finding in FINDINGS}).rename_axis("claim")
        parts.append(counts.reset_index().assign(sets=name, n_sets=len(sets), n_apart=independent[name]))
    return pd.concat(parts, ignore_index=True)
