"""From decisions to robust accuracy. A decision is one answer of one network to one image at one budget ε."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nbtools.checks import as_names, check_choice, check_counts, check_numbers, check_once, check_table, plain
from nbtools.errors import InputError
from nbtools.metrics.inputs import check_answers, groups_of
from nbtools.metrics.stats import ci, exact_at_ends, percentile_interval, resampled_means
from nbtools.processes import Bar

DECISION_COLUMNS: tuple[str, ...] = ("image_id", "label", "epsilon", "prediction")
# What tells one run's decisions from another's, where a table holds several.
RUN_COLUMNS: tuple[str, ...] = ("condition", "seed", "attack", "subject")
WORST_CASE = "worst case"  # in the column `attack`


def epsilon_label(epsilon: float) -> str:
    """Show a budget in pixel units as ``"2/255"`` or ``"0.25/255"``; no perturbation is ``"clean"``."""
    return f"{epsilon * 255:.4g}/255" if epsilon > 0 else "clean"


def accuracy_at(epsilon: float) -> str:
    """Name accuracy at a budget in pixel units as a measure, in claims and endpoints: ``"accuracy at 4/255"``."""
    return f"accuracy at {epsilon_label(epsilon)}"


def at_epsilon(table: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """Return the rows at one ε (pixel units), which may have been rounded; none where there is no such ε."""
    return table[np.isclose(table["epsilon"], epsilon, rtol=1e-6, atol=1e-9)]


def too_low(accuracy: pd.DataFrame, least: float) -> pd.DataFrame:
    """Return the networks whose accuracy on clean images is below the least: their rows at ε = 0."""
    return accuracy[(accuracy["epsilon"] == 0) & (accuracy["accuracy"] < least)]


def check_decisions(table: pd.DataFrame, by: Sequence[str] | None = None) -> None:
    """Raise unless the table holds one decision per image and ε in every run.

    Parameters
    ----------
    table : DataFrame
        The decisions: ``image_id`` (str), ``label`` (int), ``epsilon`` (float, pixel units in [0, 1], 0 is
        clean), ``prediction`` (int), and the columns that name the run; where there are ``margin`` (float) and
        ``converged`` (bool), these too. Classes may have names in place of numbers, in both columns.
    by : sequence of str, optional
        The columns that name a run; by default those of `RUN_COLUMNS` that the table has.

    Raises
    ------
    InputError
        If a column is missing or of another type, a value is missing or not finite, ε is outside [0, 1], an
        image has two labels, an image × ε occurs twice in a run, or an image lacks an ε that its run has.
    """
    table = plain(table)
    by = [column for column in RUN_COLUMNS if column in table] if by is None else as_names(by)
    _check_columns(table, by)
    _check_values(table, by)
    _check_grid(table, by)


def robust_accuracy(
    decisions: pd.DataFrame, by: Sequence[str] = ("condition", "seed"), level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Fraction of images that each network still classifies correctly at each ε, with intervals over images.

    Parameters
    ----------
    decisions : DataFrame
        As `check_decisions` describes.
    by : sequence of str
        Columns that tell networks apart; `contrasts.over_networks` averages over them. Where the table has
        ``converged`` (`attacks.sweep`), it says which decisions are answers of the attack.
    level : float
        Coverage of the interval.
    seed : int
        Seed of the bootstrap. The same images are drawn at every ε, so a curve's points move together.

    Returns
    -------
    DataFrame
        One row per network × ε: the `by` columns, ``epsilon``, ``accuracy``, ``ci_low``, ``ci_high`` (fractions; of
        this network on other images), ``n`` (images), ``unconverged`` (the fraction that stands because the attack did
        not converge: by so much the accuracy may be too high). Intervals are bootstrapped; at 0 and 1 they are exact.

    Raises
    ------
    InputError
        As `check_decisions`, if a ``by`` column is missing, or networks were not tested on the same images.
    """
    by, decisions = as_names(by), plain(decisions)
    check_decisions(decisions, by)
    _check_same_images(decisions, by)
    right = (decisions["prediction"] == decisions["label"]).astype(float)
    decisions = decisions.assign(right=right, converged=decisions.get("converged", True))
    parts = []
    for named, group in Bar(list(groups_of(decisions, by)), "resampling", unit="network", leave=False):
        table = group.pivot(index="image_id", columns="epsilon", values="right")
        # One seed of the bootstrap for all networks: those with the same images draw the same ones (paired).
        interval = percentile_interval(resampled_means(table, seed=seed), level)
        bounds = ci(exact_at_ends(interval, table.mean(), len(table), level))
        missed = 1 - group.groupby("epsilon")["converged"].mean().to_numpy()
        counts = {"n": len(table), "unconverged": missed}
        scores = {"epsilon": table.columns, "accuracy": table.mean().to_numpy(), **bounds, **counts}
        parts.append(pd.DataFrame({**named, **scores}))
    return pd.concat(parts, ignore_index=True)


def worst_case(decisions: pd.DataFrame, by: Sequence[str] = ("condition", "seed")) -> pd.DataFrame:
    """Return, for each network, image and ε, the decision under the attack that did worst to it: accuracy of record.

    Parameters
    ----------
    decisions : DataFrame
        As `check_decisions` describes, with the column ``attack``.
    by : sequence of str
        Columns that tell networks apart.

    Returns
    -------
    DataFrame
        The same columns, one row per network × image × ε, ``attack`` = "worst case". An image is right at an ε if it
        stood every attack up to that ε; the row is of the attack that fooled the network there or, by the same point,
        at a smaller ε, otherwise of the one that left the smallest margin. ``converged``: whether any attack's answer
        counts.

    Raises
    ------
    InputError
        As `check_decisions`, if there is no column ``attack``, attacks did not all meet the same networks, images and
        ε, or they are of several norms, whose ε are not alike.

    Notes
    -----
    Carlini et al. (2019, arXiv 1902.06705): every attack gives an upper bound, their minimum per image the sharpest.
    """
    by, decisions = as_names(by), plain(decisions)
    check_table("there is no worst case", decisions, ("attack",), fix="name each row's attack")
    check_decisions(decisions, [*by, "attack"])
    _check_same_attacks(decisions, by)
    image = [*by, "image_id"]
    rows = decisions.assign(
        right=decisions["prediction"] == decisions["label"], converged=decisions.get("converged", True)
    )
    rows["converged"] = rows.groupby([*image, "epsilon"], dropna=False)["converged"].transform("any")
    harm = [name for name in ("right", "margin", "attack") if name in rows]
    worst = rows.sort_values([*image, "epsilon", *harm]).drop_duplicates([*image, "epsilon"], ignore_index=True)
    fell = worst.index.to_series().mask(worst["right"])  # the row itself, and then the last one before it that fell
    origin = fell.groupby([worst[name] for name in image], dropna=False).ffill().fillna(worst.index.to_series())
    told = [name for name in ("prediction", "margin", "distance", "converged") if name in decisions]
    return worst.assign(**worst.loc[origin, told].set_axis(worst.index), attack=WORST_CASE)[list(decisions.columns)]


def under_attack(
    decisions: pd.DataFrame, attack: str = WORST_CASE, by: Sequence[str] = ("condition", "seed")
) -> pd.DataFrame:
    """Return the decisions under one attack, by its name, or as `worst_case` over all that were run.

    Raises
    ------
    InputError
        As `worst_case`, or if the attack was not run.
    """
    if attack == WORST_CASE:
        return worst_case(decisions, by)
    check_choice("no decision is under this attack", attack, [WORST_CASE, *decisions["attack"].unique()])
    return decisions[decisions["attack"] == attack]


def _check_same_attacks(table: pd.DataFrame, by: Sequence[str]) -> None:
    """A worst case over more attacks is a lower one, and ε of different norms are different sizes."""
    attacks = table["attack"].astype(str)
    met = table.groupby([*by, "image_id", "epsilon"], dropna=False)["attack"].nunique()
    wrong = {
        "images × ε that some attacks lack": int((met < attacks.nunique()).sum()),
        "of the norms too many": attacks.str.startswith("L2").nunique() - 1,
    }
    check_counts(
        "these attacks have no common worst case",
        wrong,
        expected="attacks of one norm, each on the same networks, images and ε",
        fix=f"choose one of {', '.join(attacks.unique())}, or attack all alike",
    )


def _check_same_images(table: pd.DataFrame, by: Sequence[str]) -> None:
    """Accuracies on different images cannot be compared."""
    seen = {frozenset(group["image_id"]) for _, group in groups_of(table, by)}
    gaps = len(frozenset.union(*seen)) - len(frozenset.intersection(*seen))
    check_counts(
        "networks were not tested on the same images",
        {"images that some networks lack": gaps},
        expected=f"the same images for every {' × '.join(by)}",
        fix="collect runs of one test set, or score those of another one apart",
    )


def _check_columns(table: pd.DataFrame, by: Sequence[str]) -> None:
    problem, fix = "this is not a table of decisions", "make decisions with nbtools.attacks, or rename your columns"
    check_table(problem, table, (*DECISION_COLUMNS, *by), fix=fix)
    check_answers(problem, table, ("label", "prediction"), fix=fix)
    check_numbers(problem, table, [name for name in ("epsilon", "margin") if name in table], fix=fix)
    if "converged" in table and not pd.api.types.is_bool_dtype(table["converged"]):
        raise InputError(problem, expected="converged: True or False", got=str(table["converged"].dtype), fix=fix)


def _check_values(table: pd.DataFrame, by: Sequence[str]) -> None:
    # An L2 budget adds up over pixels and may pass 1; an L∞ budget is one pixel's.
    euclidean = table["attack"].astype(str).str.startswith(("L2", WORST_CASE)) if "attack" in table else False
    needed = [*DECISION_COLUMNS, *by, *table.columns.intersection(["converged"])]
    wrong = {
        "missing values": int(table[needed].isna().to_numpy().sum()),
        "margins that are not finite": int((~np.isfinite(np.asarray(table.get("margin", []), float))).sum()),
        "ε outside [0, 1]": int((~table["epsilon"].between(0, np.where(euclidean, np.inf, 1))).sum()),
        "images with two labels": int((table.groupby("image_id")["label"].nunique() > 1).sum()),
    }
    check_counts(
        "the decisions hold impossible values",
        wrong,
        expected="finite margins, ε in pixel units within [0, 1], one label per image",
        fix="give ε as k/255, keep one label per image id, and look for a diverged network",
    )


def _check_grid(table: pd.DataFrame, by: Sequence[str]) -> None:
    """Every image of a run at every ε of that run, once."""
    fix = "group by the column that tells the runs apart, or drop what was collected twice"
    check_once("an image was decided twice at one ε of one run", table, [*by, "image_id", "epsilon"], fix=fix)
    for named, run in groups_of(table, by):
        n_images, n_epsilons = run["image_id"].nunique(), run["epsilon"].nunique()
        if len(run) != n_images * n_epsilons:
            name = ", ".join(map(str, named.values()))
            raise InputError(
                f"images lack some ε in {f'run {name}' if name else 'this run'}",
                expected=f"{n_images} images × {n_epsilons} ε",
                got=f"{len(run)} decisions",
                fix="attack every image at every ε: a curve over changing images has no meaning",
            )
