"""Fronts of clean against robust accuracy: guidance beside other ways to buy robustness, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

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
from nbtools.conditions import BLUR, parse_condition
from nbtools.errors import InputError
from nbtools.guides import MODIFIERS, TRAININGS, Number
from nbtools.metrics.samples.contrasts import SIGNIFICANT, corrected
from nbtools.metrics.samples.known import compare_known
from nbtools.metrics.studies.frontier import frontier_area

_PROBLEM, _FIX = "there are no fronts", "attack none, and networks of each front at two doses or more, seed by seed"


class _Place(NamedTuple):
    """Where a network lies: on which front, how far along it, that in words, and the condition that was trained."""

    front: str
    dose: float
    said: str
    network: str


def front_of(condition: str, alpha: float = np.nan) -> tuple[str, float]:
    """Return the front a condition's networks lie on, and how far along it they are.

    ``"TO"`` and α; ``"none-at"`` and its ε, ``"TO-trades"`` and its ε, ``"none-beta"`` and its β, ``"none-gauss"`` and
    its σ; ``"decay"`` and the weight decay; ``"TO blur"``, ``"none-lowpass"`` and 1 / the cut in cycles/image;
    ``"none-channel"`` and NaN: octaves are in no order away from all of an image. ``none`` is where fronts start.
    """
    return _place(condition, alpha)[:2]


def _place(condition: str, alpha: float) -> _Place:
    network, _, cut = condition.partition(f"{BLUR} ")
    parsed = parse_condition(network)
    if cut:
        return _Place(network + BLUR, 1 / float(cut), f"below {cut} cycles/image", network)
    if parsed.hardened:
        word, number = parsed.hardened
        front = condition[: condition.rindex(f"-{word}-")] + f"-{word}"
        return _Place(front, dose_of(f"{word}-{number}"), _number(word).dose.format(number), network)
    if parsed.kind == "decay":
        return _Place("decay", parsed.weight_decay, f"weight decay {parsed.weight_decay:g}", network)
    return _Place(condition, alpha, f"α = {alpha:g}", network)


def dose_of(training: str) -> float:
    """Return how far from plain training it is to train this way (``at-4``); NaN where that is in no order."""
    word, _, number = training.partition("-")
    return {1: float(number), -1: 1 / float(number), 0: np.nan}[_number(word).order]


def _number(word: str) -> Number:
    number = MODIFIERS[word].number
    assert number  # every word of training has one
    return number


def named_fronts(accuracy: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Name the fronts that networks lie on: those of guides, and those without a guide.

    Parameters
    ----------
    accuracy : DataFrame
        As for `fronts`. A guide of one α lies on none over α, and ``none-channel-8`` on none at all.

    Returns
    -------
    guides, controls
        Fronts, as `front_of` names them, in the order in which they come.
    """
    check_table(_PROBLEM, accuracy, ("condition", "alpha"), fix=_FIX)
    each = plain(accuracy)[["condition", "alpha"]].drop_duplicates()
    of: dict[str, list[str]] = {}
    for condition, alpha in each.itertuples(index=False):
        if _start(front := front_of(condition, alpha)[0]) is not None:
            of.setdefault(front, []).append(condition)
    several = [name for name, networks in of.items() if name not in networks or len(networks) > 1]
    guided = [name for name in several if parse_condition(_place(of[name][0], np.nan).network).parts]
    return guided, [name for name in several if name not in guided]


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
        how far along it (0: where it starts, ``none``, or of ``TO-at`` and ``TO blur`` the guide itself, of their α),
        ``said`` the same in words, with its unit, ``network`` the condition that was trained.

    Raises
    ------
    InputError
        If a column is missing, or a front has no networks, no start or no order.
    """
    names = as_names(names)
    check_enough(f"{_PROBLEM}: names", len(names), 1, fix="name those that networks lie on, such as TO and none-at")
    check_table(_PROBLEM, accuracy, ("condition", "alpha"), fix=_FIX)
    accuracy = plain(accuracy)
    places = [_place(*pair) for pair in zip(accuracy["condition"], accuracy["alpha"], strict=True)]
    rows = accuracy.assign(**pd.DataFrame(places, columns=_Place._fields, index=accuracy.index))
    for name in names:
        check_choice(f"{_PROBLEM} such as {name}", name, rows["front"].unique(), fix=_FIX)
    return pd.concat([_along(rows, name) for name in names], ignore_index=True).drop(columns="front")


def _along(rows: pd.DataFrame, front: str) -> pd.DataFrame:
    """Return the networks of one front, those that have dose 0 first."""
    along, base = rows[rows["front"] == front], _start(front)
    if base is None:
        raise InputError(
            f"{front} is no front",
            expected="networks of which one is farther from plain training than another",
            got="octaves around several frequencies, which are in no such order",
            fix="leave it out, and compare its networks one by one (metrics.compare)",
        )
    alike = rows["alpha"].isin(along["alpha"]) | (base == "none")
    start = rows[(rows["condition"] == base) & alike].assign(dose=0.0, said="start")
    check_enough(f"{_PROBLEM} such as {front}: networks of {base} at its start", len(start), 1, fix=_FIX)
    return pd.concat([start, along]).assign(condition=front)


def _start(front: str) -> str | None:
    """Name the condition whose networks have dose 0 on a front; None if it is none, for want of an order."""
    if front.endswith(BLUR):
        return front.removesuffix(BLUR)
    base, _, word = front.rpartition("-")
    if word not in TRAININGS:
        return "none"
    return base if _number(word).order else None


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
