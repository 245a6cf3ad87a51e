"""From decisions to robust accuracy. A decision is one answer of one network to one image at one budget ε."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from nbtools.checks import as_names, check_counts, check_once, check_table, plain
from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import ci, percentile_interval, resampled_means

DECISION_COLUMNS: tuple[str, ...] = ("image_id", "label", "epsilon", "prediction", "margin")
# What tells one run's decisions from another's, where a table holds several.
RUN_COLUMNS: tuple[str, ...] = ("condition", "seed", "attack", "subject")


def epsilon_label(epsilon: float) -> str:
    """Show a budget in pixel units as ``"2/255"`` or ``"0.25/255"``; no perturbation is ``"clean"``."""
    return f"{epsilon * 255:.4g}/255" if epsilon > 0 else "clean"


def check_decisions(table: pd.DataFrame, by: Sequence[str] | None = None) -> None:
    """Raise unless the table holds one decision per image and ε in every run.

    Parameters
    ----------
    table : DataFrame
        The decisions: ``image_id`` (str), ``label`` (int), ``epsilon`` (float, pixel units in [0, 1], 0 is
        clean), ``prediction`` (int), ``margin`` (float), and the columns that name the run.
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
    """Fraction of images still classified correctly at each ε, with bootstrap intervals.

    Parameters
    ----------
    decisions : DataFrame
        As `check_decisions` describes.
    by : sequence of str
        Columns to group by. Where the table has a ``seed`` or ``subject`` that is not among them, they are
        averaged and the interval covers images *and* seeds and subjects; otherwise it covers images only.
    level : float
        Coverage of the interval.
    seed : int
        Seed of the bootstrap. The same images are drawn at every ε, so a curve's points move together.

    Returns
    -------
    DataFrame
        One row per group × ε: the ``by`` columns, ``epsilon``, ``accuracy``, ``ci_low``, ``ci_high``
        (fractions), ``n`` (images), ``n_seeds``, ``n_subjects``. At an accuracy of exactly 0 or 1
        a bootstrap interval has no width: read ``n``.

    Raises
    ------
    InputError
        As `check_decisions`, or if a ``by`` column is missing.
    """
    by, decisions = as_names(by), plain(decisions)
    pooled = [column for column in ("subject", "seed") if column in decisions and column not in by]
    check_decisions(decisions, [*by, *pooled])
    parts = []
    for named, group in groups_of(decisions, by):
        epsilons = sorted(group["epsilon"].unique())
        right = _grid(group, "epsilon", epsilons)
        # One seed of the bootstrap for all groups: groups with the same images draw the same ones (paired).
        bounds = ci(percentile_interval(resampled_means(np.moveaxis(right, 0, -1), seed=seed), level))
        _, n, n_subjects, n_seeds = right.shape
        counts = {"n": n, "n_seeds": n_seeds, "n_subjects": n_subjects}
        scores = {"epsilon": epsilons, "accuracy": right.mean(axis=(1, 2, 3)), **bounds, **counts}
        parts.append(pd.DataFrame({**named, **scores}))
    return pd.concat(parts, ignore_index=True)


def correctness(decisions: pd.DataFrame, epsilon: float, conditions: Sequence[str] = HIERARCHY) -> np.ndarray:
    """Lay out one budget's decisions as `stats.trend_over_images` wants them.

    Parameters
    ----------
    decisions : DataFrame
        As `check_decisions` describes, with ``condition`` and, if there are several, ``seed`` and ``subject``.
    epsilon : float
        The budget, pixel units.
    conditions : sequence of str
        The order of the first axis.

    Returns
    -------
    array (n_conditions, n_images, n_subjects, n_seeds)
        1.0 where the network was right; images sorted by id, subjects by name, seeds by number.

    Raises
    ------
    InputError
        As `check_decisions`; if ε or a condition is not in the table; if conditions were not tested on the
        same images, subjects and seeds.
    """
    conditions, decisions = as_names(conditions), plain(decisions)
    check_decisions(decisions, ["condition", *(name for name in ("subject", "seed") if name in decisions)])
    at_epsilon = decisions[np.isclose(decisions["epsilon"], epsilon, rtol=1e-6, atol=1e-9)]
    missing = [name for name in conditions if name not in set(at_epsilon["condition"])]
    if missing:
        raise InputError(
            f"no decision at ε = {epsilon_label(epsilon)} of {', '.join(missing)}",
            expected=f"decisions of {', '.join(conditions)} at that ε",
            got="ε = " + ", ".join(map(epsilon_label, sorted(decisions["epsilon"].unique()))),
            fix="attack those networks at this ε, or ask for the conditions and ε that were run",
        )
    return _grid(at_epsilon, "condition", conditions)


def _grid(decisions: pd.DataFrame, first: str, order: Sequence[Hashable]) -> np.ndarray:
    """Whether decisions are right, 0.0 or 1.0: (n_first, n_images, n_subjects, n_seeds), `first` in this order."""
    table = decisions.assign(
        right=(decisions["prediction"] == decisions["label"]).astype(float),
        subject=decisions.get("subject", 0),
        seed=decisions.get("seed", 0),
    )
    names = [first, "image_id", "subject", "seed"]
    axes = [list(order), *(sorted(set(table[name])) for name in names[1:])]
    grid = table.set_index(names)["right"].reindex(pd.MultiIndex.from_product(axes)).to_numpy()
    shape = tuple(map(len, axes))
    gaps = {f"gaps among {' × '.join(map(str, shape))} decisions": int(np.isnan(grid).sum())}
    check_counts(
        "networks were not tested on the same images",
        gaps,
        expected=f"every {' × '.join(names)}, with {first} in {', '.join(map(str, order))}",
        fix="collect runs of one test set, the same ε and the same seeds, or group by seed",
    )
    return grid.reshape(shape)


def _check_columns(table: pd.DataFrame, by: Sequence[str]) -> None:
    problem, fix = "this is not a table of decisions", "make decisions with nbtools.attacks, or rename your columns"
    check_table(problem, table, (*DECISION_COLUMNS, *by), fix=fix)
    other = [name for name in ("label", "prediction") if not pd.api.types.is_integer_dtype(table[name])]
    if other:
        raise InputError(problem, expected="integer label, prediction", got=f"other {', '.join(other)}", fix=fix)


def _check_values(table: pd.DataFrame, by: Sequence[str]) -> None:
    # An L2 budget adds up over pixels and may pass 1; an L∞ budget is one pixel's.
    euclidean = table["attack"].astype(str).str.startswith("L2") if "attack" in table else False
    wrong = {
        "missing values": int(table[[*DECISION_COLUMNS, *by]].isna().to_numpy().sum()),
        "infinite margins": int(np.isinf(table["margin"].to_numpy(float)).sum()),
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
