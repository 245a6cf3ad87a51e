"""Comparisons of conditions: against controls, at matched clean accuracy, and along the hierarchy for many measures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from nbtools.checks import as_names, check_counts, check_enough, check_table
from nbtools.errors import InputError
from nbtools.metrics.robustness import correctness
from nbtools.metrics.stats import ROUNDING, ci, defined, holm, percentile_interval, ratio, resampled_means, trend_test


def compare(
    decisions: pd.DataFrame,
    epsilon: float,
    conditions: Sequence[str],
    controls: Sequence[str],
    *,
    matched: bool = False,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare each condition's robust accuracy with each control's, on the same images.

    Parameters
    ----------
    decisions : DataFrame
        As `robustness.check_decisions` describes, ε = 0 among them, with ``condition``.
    epsilon : float
        Budget, pixel units.
    conditions, controls : sequence of str
        Every condition is compared with every control.
    matched : bool
        Count only images that both networks classify correctly when clean: their clean accuracy is then 1 and 1,
        and cannot explain the difference. Which images these are depends on the pair.
    n_permutations, seed : int
        Of the test; the bootstrap has the same seed.

    Returns
    -------
    DataFrame
        One row per condition × control: ``condition``, ``control``, ``difference`` (condition − control, a fraction),
        ``ci_low``, ``ci_high`` (95 %, bootstrap over images, subjects and seeds), ``p`` (two-sided), ``p_holm``
        (Holm over the table), ``n_images`` (with at least one counted decision).

    Raises
    ------
    InputError
        As `robustness.correctness`, or if a pair has no image that both get right.

    Notes
    -----
    p: the sign of each image's difference is flipped at random (Fisher's test for pairs), which asks about other
    images for these very networks. A difference between *regions* needs other seeds and other subjects.
    """
    conditions, controls = as_names(conditions), as_names(controls)
    names = list(dict.fromkeys([*conditions, *controls]))
    clean, robust = (dict(zip(names, correctness(decisions, e, names), strict=True)) for e in (0.0, epsilon))
    rows = []
    for condition, control in product(conditions, controls):
        both = clean[condition] * clean[control] if matched else np.ones_like(clean[condition])
        found = _difference((robust[condition] - robust[control]) * both, both, n_permutations, seed)
        rows.append({"condition": condition, "control": control, **found})
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("n_images"), "p_holm", holm(table["p"]))
    return table


def _difference(gain: np.ndarray, counted: np.ndarray, n_permutations: int, seed: int) -> dict[str, float]:
    """Mean of the gain over what is counted, with interval and p; both (n_images, n_subjects, n_seeds)."""
    total = counted.sum()
    problem = "two networks have no image in common that both get right"
    check_enough(problem, int(total), 1, fix="compare trained networks, or attack more images")
    draws = resampled_means(np.stack([gain, counted], axis=-1), seed=seed)
    per_image = gain.sum(axis=(1, 2))
    per_image = per_image[per_image != 0]  # flipping a zero changes nothing
    signs = np.random.default_rng(seed).choice([-1, 1], size=(n_permutations, len(per_image)))
    extreme = np.abs(signs @ per_image) >= abs(per_image.sum()) - ROUNDING
    return {
        "difference": float(gain.sum() / total),
        **ci(percentile_interval(defined(ratio(draws[:, 0], draws[:, 1])))),
        "p": float((extreme.sum() + 1) / (n_permutations + 1)),
        "n_images": int((counted.sum(axis=(1, 2)) > 0).sum()),
    }


def robust_at_clean(decisions: pd.DataFrame, epsilon: float, clean: float, *, seed: int = 0) -> pd.DataFrame:
    """Read each condition's robust accuracy off its α curve, at one clean accuracy for all.

    Parameters
    ----------
    decisions : DataFrame
        As `robustness.check_decisions` describes, with ``condition`` and ``alpha``, ε = 0 among them. Every
        condition's α are trained networks; a row of α = 0 stands for no guidance and may be shared by hand.
    epsilon : float
        Budget, pixel units.
    clean : float
        Clean accuracy to compare at, in (0, 1).
    seed : int
        Of the bootstrap over images.

    Returns
    -------
    DataFrame
        One row per condition: ``condition``, ``reached`` (whether the curve crosses that clean accuracy),
        ``accuracy``, ``ci_low``, ``ci_high`` (missing where not reached), ``n_alphas``.

    Raises
    ------
    InputError
        As `robustness.correctness`, or if `clean` is not a fraction.

    Notes
    -----
    Linear interpolation between neighbouring points of (clean, robust) accuracy, sorted by clean accuracy; never
    beyond them. The interval redraws images for curve and level alike, over the draws that reach the level.
    """
    if not 0 < clean < 1:
        raise InputError("not an accuracy", expected="0 < clean < 1", got=clean, fix="for 85 % give 0.85")
    rows = []
    for condition, group in decisions.groupby("condition", sort=False):
        alphas = sorted(group["alpha"].unique())
        named = group.assign(condition=group["alpha"].map(str))
        names = [str(alpha) for alpha in alphas]
        points = np.concatenate([correctness(named, e, names) for e in (0.0, epsilon)])
        value = _interpolated(points.mean(axis=(1, 2, 3)), clean)
        reached = not np.isnan(value)
        draws = resampled_means(np.moveaxis(points, 0, -1), seed=seed)
        around = [_interpolated(draw, clean) for draw in draws] if reached else []
        found = {"condition": condition, "reached": reached, "accuracy": value}
        rows.append({**found, **ci(percentile_interval(defined(np.array(around)))), "n_alphas": len(alphas)})
    return pd.DataFrame(rows)


def _interpolated(points: np.ndarray, clean: float) -> float:
    """Robust accuracy at a clean accuracy from (clean …, robust …) points; NaN outside their range."""
    x, y = np.split(points, 2)
    order = np.argsort(x, kind="stable")
    return float(np.interp(clean, x[order], y[order], left=np.nan, right=np.nan))


def claims(scores: pd.DataFrame, regions: Sequence[str]) -> pd.DataFrame:
    """Test the trend along the hierarchy of many measures at once.

    Parameters
    ----------
    scores : DataFrame
        One row per measure × condition: ``measure`` (words), ``condition``, ``score``, ``direction`` (1 where the
        paper says that it rises from early to late regions, −1 where it falls).
    regions : sequence of str
        Early to late; other conditions are left out.

    Returns
    -------
    DataFrame
        One row per measure, in the order they come: ``measure``, ``direction``, ``rho`` (Spearman of hierarchy rank
        and direction · score: positive where it goes the paper's way), ``p`` (one-sided, exact), ``p_holm`` (Holm
        over the table), ``n_regions``.

    Raises
    ------
    InputError
        If a column is missing, a direction is neither 1 nor −1 or not the measure's only one, a measure has two
        scores of one region or lacks one, or as `stats.trend_test`.
    """
    regions, problem = as_names(regions), "these scores cannot be tested along the hierarchy"
    fix = "run the analyses for all the regions that are compared"
    check_table(problem, scores, ("measure", "condition", "score", "direction"), fix=fix)
    groups = list(scores[scores["condition"].isin(regions)].groupby("measure", sort=False))
    wrong = [
        name
        for name, group in groups
        if sorted(group["condition"]) != sorted(regions) or set(group["direction"]) not in ({1}, {-1})
    ]
    check_enough(f"{problem}: none is of a region", len(groups), 1, fix=fix)
    expected = f"each measure once for each of {', '.join(regions)}, direction 1 or −1"
    check_counts(problem, {f"measures otherwise: {', '.join(wrong)}": len(wrong)}, expected=expected, fix=fix)
    rows = []
    for name, group in groups:
        direction = int(group["direction"].iloc[0])
        test = trend_test(dict(zip(group["condition"], direction * group["score"], strict=True)), regions)
        found = {"rho": test.rho, "p": test.p_greater, "n_regions": len(test.regions)}
        rows.append({"measure": name, "direction": direction, **found})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"]))
