"""From decisions to robust accuracy. A decision is one answer of one network to one image at one budget ε."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.metrics.stats import percentile_interval, resampled_means

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
    by = [column for column in RUN_COLUMNS if column in table] if by is None else list(by)
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
    pooled = [column for column in ("subject", "seed") if column in decisions and column not in by]
    check_decisions(decisions, [*by, *pooled])
    groups = decisions.groupby(list(by), sort=False) if by else [((), decisions)]
    rows = [_accuracy_rows(group, level, seed).assign(**dict(zip(by, key, strict=True))) for key, group in groups]
    columns = [*by, "epsilon", "accuracy", "ci_low", "ci_high", "n", "n_seeds", "n_subjects"]
    return pd.concat(rows, ignore_index=True)[columns]


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
    at_epsilon = _complete(at_epsilon)
    cells = at_epsilon.set_index(["condition", "image_id", "subject", "seed"])["right"]
    images, subjects, seeds = (sorted(set(at_epsilon[name])) for name in ("image_id", "subject", "seed"))
    grid = cells.reindex(pd.MultiIndex.from_product([conditions, images, subjects, seeds])).to_numpy()
    if np.isnan(grid).any():
        raise InputError(
            "conditions were not tested on the same images and seeds",
            expected=f"{len(images)} images × {len(subjects)} subjects × {len(seeds)} seeds for each of "
            f"{', '.join(conditions)}",
            got=f"{np.count_nonzero(np.isnan(grid))} of {grid.size} decisions missing",
            fix="collect runs of one test set and the same seeds",
        )
    return grid.reshape(len(conditions), len(images), len(subjects), len(seeds))


def _accuracy_rows(group: pd.DataFrame, level: float, seed: int) -> pd.DataFrame:
    """One run group's accuracy at each ε (several subjects and seeds are pooled)."""
    group = _complete(group)
    wide = group.pivot(index="image_id", columns=["subject", "seed", "epsilon"], values="right").sort_index(axis=1)
    n_subjects, n_seeds = group["subject"].nunique(), group["seed"].nunique()
    epsilons = np.sort(group["epsilon"].unique())
    if wide.isna().any(axis=None) or wide.shape[1] != n_subjects * n_seeds * len(epsilons):
        raise InputError(
            "seeds of one group were not tested on the same images and ε",
            expected="every seed of every subject on every image at every ε",
            got=f"{len(wide)} images, {n_subjects} subjects, {n_seeds} seeds, {len(epsilons)} ε, with gaps",
            fix="collect runs of one sweep, or group by seed",
        )
    right = wide.to_numpy().reshape(len(wide), n_subjects, n_seeds, len(epsilons))
    # One seed of the bootstrap for all groups: groups with the same images draw the same ones (paired).
    low, high = percentile_interval(resampled_means(right, seed=seed), level)
    means = right.mean(axis=(0, 1, 2))
    return pd.DataFrame(
        {
            "epsilon": epsilons,
            "accuracy": means,
            "ci_low": low,
            "ci_high": high,
            "n": len(wide),
            "n_seeds": n_seeds,
            "n_subjects": n_subjects,
        }
    )


def _complete(decisions: pd.DataFrame) -> pd.DataFrame:
    """Add whether each decision was right, and a subject and a seed where there is but one of them."""
    defaults = {name: decisions.get(name, 0) for name in ("subject", "seed")}
    return decisions.assign(right=_right(decisions), **defaults)


def _right(decisions: pd.DataFrame) -> pd.Series:
    return (decisions["prediction"] == decisions["label"]).astype(float)


def _check_columns(table: pd.DataFrame, by: Sequence[Hashable]) -> None:
    missing = [str(column) for column in (*DECISION_COLUMNS, *by) if column not in table]
    integers = [c for c in ("label", "prediction") if c in table and not pd.api.types.is_integer_dtype(table[c])]
    if missing or integers or not len(table):
        raise InputError(
            "this is not a table of decisions",
            expected=f"rows with {', '.join(map(str, (*DECISION_COLUMNS, *by)))}; integer label, prediction",
            got=f"{len(table)} rows"
            + (f", without {', '.join(missing)}" if missing else "")
            + (f", {', '.join(integers)} not integer" if integers else ""),
            fix="make decisions with nbtools.attacks, or rename your columns",
        )


def _check_values(table: pd.DataFrame, by: Sequence[str]) -> None:
    used = table[[*DECISION_COLUMNS, *by]]
    # An L2 budget adds up over pixels and may pass 1; an L∞ budget is one pixel's.
    euclidean = table["attack"].astype(str).str.startswith("L2") if "attack" in table else False
    bad = {
        "missing values": int(used.isna().to_numpy().sum()),
        "infinite margins": int(np.isinf(table["margin"].to_numpy(float)).sum()),
        "ε outside [0, 1]": int((~table["epsilon"].between(0, np.where(euclidean, np.inf, 1))).sum()),
        "images with two labels": int((table.groupby("image_id")["label"].nunique() > 1).sum()),
    }
    found = [f"{count} {what}" for what, count in bad.items() if count]
    if found:
        raise InputError(
            "the decisions hold impossible values",
            expected="finite margins, ε in pixel units within [0, 1], one label per image",
            got="; ".join(found),
            fix="give ε as k/255, keep one label per image id, and look for a diverged network",
        )


def _check_grid(table: pd.DataFrame, by: Sequence[str]) -> None:
    """Every image of a run at every ε of that run, once."""
    doubled = int(table.duplicated([*by, "image_id", "epsilon"]).sum())
    if doubled:
        raise InputError(
            "an image was decided twice at one ε of one run",
            expected=f"one row per {' × '.join([*by, 'image_id', 'epsilon'])}",
            got=f"{doubled} repeated rows",
            fix="group by the column that tells the runs apart, or drop what was collected twice",
        )
    runs = table.groupby(list(by)) if by else [((), table)]
    for key, run in runs:
        if len(run) != run["image_id"].nunique() * run["epsilon"].nunique():
            raise InputError(
                f"images lack some ε{' in run ' + ', '.join(map(str, key)) if key else ''}",
                expected=f"{run['image_id'].nunique()} images × {run['epsilon'].nunique()} ε",
                got=f"{len(run)} decisions",
                fix="attack every image at every ε: a curve over changing images has no meaning",
            )
