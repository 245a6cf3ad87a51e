"""Fronts of clean against robust accuracy: guidance beside other ways to buy robustness, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from nbtools.checks import (
    as_names,
    check_choice,
    check_counts,
    check_enough,
    check_numbers,
    check_once,
    check_table,
    plain,
)
from nbtools.conditions import parse_condition
from nbtools.guides import MODIFIERS
from nbtools.metrics.samples.contrasts import SIGNIFICANT, corrected
from nbtools.metrics.samples.known import compare_known
from nbtools.metrics.studies.frontier import frontier_area

_PROBLEM, _FIX = "there are no fronts", "attack none, and networks of each front at two doses or more, seed by seed"


def front_of(condition: str, alpha: float = np.nan) -> tuple[str, float]:
    """Return the front a condition's networks lie on, and how far along it they are.

    ``"TO"`` and α; ``"none-at"`` and its ε, ``"TO-trades"`` and its ε, ``"none-gauss"`` and its σ; ``"decay"`` and the
    weight decay. ``none`` is where fronts start.
    """
    parsed = parse_condition(condition)
    if parsed.hardened:
        word, number = parsed.hardened
        return condition[: condition.rindex(f"-{word}-")] + f"-{word}", number
    return ("decay", parsed.weight_decay) if parsed.kind == "decay" else (condition, alpha)


def fronts(accuracy: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Lay networks out by the fronts they lie on.

    Parameters
    ----------
    accuracy : DataFrame
        One row per network × ε: ``condition``, ``seed`` (and ``subject``), ``alpha``, ``epsilon``, ``accuracy``.
    names : sequence of str
        Fronts, as `front_of` names them.

    Returns
    -------
    DataFrame
        The rows of these, for `frontier_area` along ``dose`` and for figures: ``condition`` is the front, ``dose`` is
        how far along it (0: where it starts, ``none``, or the guide itself for ``TO-at``), ``network`` is the
        condition that was trained.

    Raises
    ------
    InputError
        If a column is missing, or a front has no networks or no start.
    """
    names = as_names(names)
    check_enough(f"{_PROBLEM}: names", len(names), 1, fix="name those that networks lie on, such as TO and none-at")
    check_table(_PROBLEM, accuracy, ("condition", "alpha"), fix=_FIX)
    accuracy = plain(accuracy)
    placed = [front_of(*pair) for pair in zip(accuracy["condition"], accuracy["alpha"], strict=True)]
    rows = accuracy.assign(network=accuracy["condition"], front=[front for front, _ in placed])
    rows["dose"] = [dose for _, dose in placed]
    for name in names:
        for needed in (name, _start(name)):
            check_choice(f"{_PROBLEM} such as {name}", needed, rows["front"].unique(), fix=_FIX)
    starts = {name: rows[rows["front"] == _start(name)].assign(dose=0.0) for name in names}
    parts = [pd.concat([starts[name], rows[rows["front"] == name]]).assign(condition=name) for name in names]
    return pd.concat(parts, ignore_index=True).drop(columns="front")


def _start(front: str) -> str:
    """Name the front whose networks have dose 0 on another one."""
    base, _, word = front.rpartition("-")
    return base if word in MODIFIERS and MODIFIERS[word].sets == "training" else "none"


def compare_fronts(
    accuracy: pd.DataFrame, epsilon: float, guides: Sequence[str], controls: Sequence[str]
) -> pd.DataFrame:
    """Compare each guide's front with each other one: its mean height above it, where both have networks.

    Parameters
    ----------
    accuracy : DataFrame
        As for `fronts`.
    epsilon : float
        Budget, pixel units.
    guides, controls : sequence of str
        Fronts, as `front_of` names them.

    Returns
    -------
    DataFrame
        One row per guide × control, as `compare` has them, of the mean robust accuracy over the clean accuracies that
        both fronts of a seed reach (`frontier_area`); ``low``, ``high``: the means of that range. Where a seed's
        fronts have no range in common there is no test.

    Raises
    ------
    InputError
        As `fronts` and `frontier_area`.
    """
    pairs, rows = list(product(as_names(guides), as_names(controls))), []
    check_enough(f"{_PROBLEM}: pairs of them", len(pairs), 1, fix="name a guide's front and a control's")
    for guide, control in pairs:
        area = frontier_area(fronts(accuracy, [guide, control]), epsilon, "dose")
        tested = compare_known(area, "accuracy", guide, control)
        rows.append(tested.assign(low=area["low"].mean(), high=area["high"].mean()))
    table = pd.concat(rows, ignore_index=True)
    return table.assign(p_holm=corrected(table["p"]), equivalent=corrected(table["p_tost"]) <= SIGNIFICANT)


def training_costs(seconds: pd.DataFrame) -> pd.DataFrame:
    """Measure what training costs over plain training: how many times as long it takes.

    Parameters
    ----------
    seconds : DataFrame
        One row per network: ``condition``, ``seed`` (and ``subject``), ``seconds`` that its training took in all, each
        on the same kind of machine; ``none`` among the conditions.

    Returns
    -------
    DataFrame
        One row per front (`front_of`), subject and seed, for `over_networks`: ``condition``, its names, and ``cost``,
        the mean over that front's networks of their seconds over those of ``none`` of the same seed.

    Raises
    ------
    InputError
        If a column is missing, a time is not above 0, there is no ``none`` of a seed, or more than one.
    """
    check_table(_PROBLEM, seconds, ("condition", "seed", "seconds"), fix=_FIX)
    seconds = plain(seconds)
    check_numbers(_PROBLEM, seconds, ("seconds",), fix=_FIX)
    wrong = {"networks without such a time": int((~seconds["seconds"].between(0, np.inf, inclusive="neither")).sum())}
    check_counts(_PROBLEM, wrong, expected="seconds above 0, finite", fix="leave out what was not timed")
    block = [name for name in ("subject", "seed") if name in seconds]
    plainly = seconds[seconds["condition"] == "none"]
    check_once(_PROBLEM, plainly, block, fix=_FIX)
    both = seconds.merge(plainly[[*block, "seconds"]], on=block, how="left", suffixes=("", "_none"))
    alone = {"networks without a none of their seed": int(both["seconds_none"].isna().sum())}
    check_counts(_PROBLEM, alone, expected="none of every seed", fix=_FIX)
    both["condition"] = [front_of(name)[0] for name in both["condition"]]
    both["cost"] = both["seconds"] / both["seconds_none"]
    return both.groupby(["condition", *block], sort=False, as_index=False)["cost"].mean()
