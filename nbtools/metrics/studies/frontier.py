"""Robust accuracy at equal clean accuracy, read off each condition's curve over α; and an α each, chosen beforehand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nbtools.checks import check_counts, check_numbers, check_once, check_range, check_table, plain
from nbtools.errors import InputError
from nbtools.metrics.decisions.robustness import at_epsilon
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import ROUNDING, ci, jackknife_interval
from nbtools.metrics.studies.dose import at_equal, monotone, read_off

_PROBLEM, _FIX = "there is no curve", "attack networks of several α or levels, each with the same seeds"


def robust_at_clean(accuracy: pd.DataFrame, epsilon: float, clean: float) -> pd.DataFrame:
    """Read each condition's robust accuracy off its α curve, at one clean accuracy for all.

    Parameters
    ----------
    accuracy : DataFrame
        One row per network × ε (``robust_accuracy(decisions, by=("condition", "alpha", "seed"))``), ε = 0 and the
        chosen one among them. A row of α = 0 stands for no guidance and may be shared by hand.
    epsilon : float
        Budget, pixel units.
    clean : float
        Clean accuracy to compare at, in (0, 1).

    Returns
    -------
    DataFrame
        One row per condition: ``condition``, ``reached`` (whether its curve crosses that clean accuracy),
        ``accuracy``, ``ci_low``, ``ci_high`` (95 %, over seeds; missing where not reached, and with one seed),
        ``n_alphas``, ``n_seeds``.

    Raises
    ------
    InputError
        If a column is missing, a network stands twice or lacks an α, or `clean` is not a fraction.

    Notes
    -----
    Clean and robust accuracy are averaged over seeds, then made monotone in α by isotonic regression, either way;
    linear between the α that were trained, never beyond them. Interval: jackknife over seeds (Tukey's pseudo-values,
    Student's t).
    """
    if not 0 < clean < 1:
        raise InputError("not an accuracy", expected="0 < clean < 1", got=clean, fix="for 85 % give 0.85")
    both = clean_and_robust(accuracy, epsilon, "alpha")
    return pd.DataFrame([{**named, **_read_off(rows, clean)} for named, rows in groups_of(both, ["condition"])])


def frontier_area(accuracy: pd.DataFrame, epsilon: float, dose: str = "alpha") -> pd.DataFrame:
    """Average robust accuracy along each curve over α, between two clean accuracies that all conditions reach.

    Parameters
    ----------
    accuracy : DataFrame
        As for `robust_at_clean`, with ``subject`` where there are several.
    epsilon : float
        Budget, pixel units.
    dose : str
        What the curves run along, where it is not α.

    Returns
    -------
    DataFrame
        One row per condition and seed, for `contrasts` and `verdicts`: ``condition``, ``seed``, ``accuracy`` (the area
        under the curve over the width of its base; missing where the seed's conditions have no base in common),
        ``low``, ``high`` (the base, clean accuracies). A trade along one curve is no difference here.

    Raises
    ------
    InputError
        As `robust_at_clean` and `dose.at_equal`.
    """
    return at_equal(clean_and_robust(accuracy, epsilon, dose), "accuracy", "clean", dose)


def alpha_within(validation: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Choose an α for each condition: the largest that costs no more clean accuracy than a margin.

    Parameters
    ----------
    validation : DataFrame
        One row per network: ``condition``, ``seed``, ``alpha``, ``accuracy`` on validation images, never on those of
        the test; ``none`` among the conditions.
    margin : float
        Accuracy, 0 to 1, by which the mean over seeds may lie below that of ``none``; to be fixed beforehand.

    Returns
    -------
    DataFrame
        One row per condition but ``none``: ``condition``, ``alpha`` (missing where every one costs more), ``cost``
        (mean accuracy of ``none`` − that of the condition at this α), ``n_seeds``.

    Raises
    ------
    InputError
        If a column is missing, a network stands twice, a condition lacks a seed of ``none``, there is no ``none``, or
        the margin is out of range.
    """
    problem, fix = "no α can be chosen", "train none, and each condition at several α, with the same seeds"
    check_range("margin", margin, 0, 1)
    check_table(problem, validation, ("condition", "seed", "alpha", "accuracy"), fix=fix)
    validation = plain(validation)
    check_numbers(problem, validation, ("alpha", "accuracy"), fix=fix)
    check_once(problem, validation, ("condition", "seed", "alpha"), fix=fix)
    unguided = validation["condition"] == "none"
    check_once(problem, validation[unguided], ("seed",), fix=fix)
    none, rows = validation[unguided].set_index("seed")["accuracy"], []
    for named, group in groups_of(validation[~unguided], ["condition"]):
        costs = none - group.pivot(index="alpha", columns="seed", values="accuracy")
        absent = {f"networks of {named['condition']} or none, of α × seed": int(costs.isna().to_numpy().sum())}
        check_counts(problem, absent, expected="the seeds of none at every α", fix=fix)
        cost = costs.mean(axis=1)
        alpha = cost.index[cost <= margin + ROUNDING].max()
        rows.append({**named, "alpha": alpha, "cost": cost.get(alpha, np.nan), "n_seeds": costs.shape[1]})
    return pd.DataFrame(rows)


def clean_and_robust(accuracy: pd.DataFrame, epsilon: float, *doses: str) -> pd.DataFrame:
    """Return one row per network: its names and doses, ``clean`` and ``accuracy``, that at ε."""
    columns = ("condition", "seed", *doses, "epsilon", "accuracy")
    check_table(_PROBLEM, accuracy, columns, fix=_FIX)
    accuracy = plain(accuracy)
    check_numbers(_PROBLEM, accuracy, (*doses, "epsilon", "accuracy"), fix=_FIX)
    names = [name for name in ("condition", "subject", "seed", *doses) if name in accuracy]
    check_once(_PROBLEM, accuracy, [*names, "epsilon"], fix=_FIX)
    at = {name: at_epsilon(accuracy, e).set_index(names) for name, e in {"clean": 0.0, "accuracy": epsilon}.items()}
    both = pd.concat({name: rows["accuracy"] for name, rows in at.items()}, axis=1, sort=False)
    lacking = {"networks without one of the two": int(both.isna().any(axis=1).sum())}
    lacking["accuracies outside 0 to 1"] = int((both.lt(0) | both.gt(1)).to_numpy().sum())
    expected = f"accuracies at ε = 0 and {epsilon * 255:g}/255, fractions"
    check_counts(_PROBLEM, lacking, expected=expected, fix=_FIX)
    return both.reset_index()


def _read_off(rows: pd.DataFrame, level: float) -> dict[str, object]:
    tables = [rows.pivot(index="alpha", columns="seed", values=name) for name in ("clean", "accuracy")]
    absent = {"networks of α × seed": int(tables[0].isna().to_numpy().sum())}
    check_counts(_PROBLEM, absent, expected="every α with every seed", fix=_FIX)
    alphas, (clean, robust) = tables[0].index.to_numpy(float), (table.to_numpy() for table in tables)
    n_alphas, n_seeds = clean.shape
    value = _crossing(alphas, clean, robust, level)
    without = [(np.delete(clean, n, axis=1), np.delete(robust, n, axis=1)) for n in range(n_seeds) if n_seeds > 1]
    left_out = [_crossing(alphas, *both, level) for both in without]
    kept = {"reached": not np.isnan(value), "accuracy": value, **ci(jackknife_interval(value, left_out))}
    return {**kept, "n_alphas": n_alphas, "n_seeds": n_seeds}


def _crossing(alphas: np.ndarray, clean: np.ndarray, robust: np.ndarray, level: float) -> float:
    """Robust accuracy where the mean clean accuracy is the level; NaN where the curve does not pass it."""
    curve = monotone(alphas, clean.mean(axis=1), robust.mean(axis=1))
    return float(read_off(curve, np.array([level]))[0])
