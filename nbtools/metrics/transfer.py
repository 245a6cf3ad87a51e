"""Scores of transfer attacks: the source × target matrix, each target's robustness, and that at equal smoothness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nbtools.checks import check_choice, check_enough, check_once, check_table, plain
from nbtools.errors import InputError
from nbtools.metrics.inputs import check_answers, groups_of
from nbtools.metrics.stats import ci, percentile_interval, ratio, resampled_means

COLUMNS = ("source", "target", "image_id", "label", "prediction", "source_clean", "target_clean")


def transfer_matrix(decisions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Accuracy of every target on every source's adversarial images.

    Parameters
    ----------
    decisions : DataFrame
        From `nbtools.attacks.transfer`: one row per source × target × image.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row per source × target: ``accuracy`` over their pairs (`across`) with ``ci_low``, ``ci_high`` (95 %, over
        images), ``n`` (images
        counted: those that source *and* target classify correctly when clean). Source = target is the white-box
        attack. A pair without such an image has n = 0 and no accuracy.

    Raises
    ------
    InputError
        If a column or an answer is missing, answers are of two kinds, or an image stands twice.
    """
    decisions = _checked(decisions)
    pairs = across(decisions)
    return pd.DataFrame([named | _accuracy(group, seed) for named, group in groups_of(pairs, ["source", "target"])])


def across(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs that tell how attacks transfer: each network with itself, and with others of another seed.

    Networks of one seed share their first weights and the order of their images: what transfers between them says who
    trained beside whom. Where there is one seed, its pairs are all there are.
    """
    if "source_seed" not in decisions:
        return decisions
    itself, beside = decisions["source"] == decisions["target"], decisions["source_seed"] == decisions["seed"]
    return decisions[itself & beside | ~itself & ~beside] if not beside.all() else decisions


def transfer_robustness(decisions: pd.DataFrame, role: str = "target", seed: int = 0) -> pd.DataFrame:
    """Average the matrix over the other networks, those of another seed where there are several (`across`).

    Parameters
    ----------
    decisions : DataFrame
        As for `transfer_matrix`.
    role : {"target", "source"}
        ``target``: how well each network stands the others' images (higher: more robust). ``source``: how well
        the others stand each network's images (lower: its attacks transfer better).
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        One row per network: ``condition``, ``seed`` (where there are several), ``accuracy``, ``ci_low``, ``ci_high``,
        ``n`` (image × network pairs).

    Raises
    ------
    InputError
        As `transfer_matrix`, or if the role is unknown or there is one network only.
    """
    decisions = _checked(decisions)
    check_choice("unknown role", role, ("target", "source"))
    others = across(decisions)[lambda pairs: pairs["source"] != pairs["target"]]
    check_enough("there is no other network to average over", len(others), 1, fix="attack several networks")
    named = {role: "condition", {"target": "seed", "source": "source_seed"}[role]: "seed"}
    by = [name for name in named if name in others]
    rows = [key | _accuracy(group, seed) for key, group in groups_of(others, by)]
    return pd.DataFrame(rows).rename(columns=named)


def at_equal_smoothness(
    decisions: pd.DataFrame, smoothness: Mapping[str, float], family: Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """Compare each network's transfer robustness with that of weight-decay networks of the same smoothness.

    Parameters
    ----------
    decisions : DataFrame
        As for `transfer_matrix`.
    smoothness : mapping of condition → float
        Mean squared gradient of each network (above 0).
    family : sequence of str
        The weight-decay networks, and where wanted the plain one.
    seed : int
        Of the bootstrap over images.

    Returns
    -------
    DataFrame
        One row per network outside the family: ``condition``, ``smoothness``, ``matched`` (whether the family has
        smoother and rougher members), ``accuracy``, ``family_accuracy`` (interpolated over log smoothness),
        ``difference`` with ``ci_low``, ``ci_high``; the last four are missing where not matched: nothing is
        extrapolated.

    Raises
    ------
    InputError
        As `transfer_matrix`; if the family has fewer than two members, or a network has no smoothness above 0.

    Notes
    -----
    Only images of sources outside the compared pair's target itself count, as in `transfer_robustness`. Smoothness is
    taken as known; the interval is that of the images.
    """
    decisions = _checked(decisions)
    names = list(dict.fromkeys(decisions["target"]))
    bad = [name for name in names if not smoothness.get(name, 0) > 0]
    if bad or len(family) < 2 or set(family) - set(names):
        raise InputError(
            "networks cannot be matched in smoothness",
            expected="a smoothness above 0 for every network, and a family of at least two of them",
            got=f"{', '.join(bad) or 'every network has one'}; family {', '.join(family) or 'empty'}",
            fix="measure the smoothness of all networks, the weight-decay family among them",
        )
    others = across(decisions)[lambda pairs: pairs["source"] != pairs["target"]]
    draws = {name: _draws(others[others["target"] == name], seed) for name in names}
    ladder = sorted(family, key=lambda name: smoothness[name])
    x = np.log([smoothness[name] for name in ladder])
    rows = []
    for name in (name for name in names if name not in family):
        here = np.log(smoothness[name])
        matched = bool(x[0] <= here <= x[-1])
        row = {"condition": name, "smoothness": smoothness[name], "matched": matched, "accuracy": draws[name][0]}
        if matched:
            weights = _weights(x, here)
            # of the two neighbours alone: what another member lacks (NaN) has no part in it
            reference = sum(weight * draws[member] for weight, member in zip(weights, ladder, strict=True) if weight)
            gap = draws[name] - reference
            row |= {"family_accuracy": reference[0], "difference": gap[0], **ci(percentile_interval(gap[1:]))}
        rows.append(row)
    columns = ["condition", "smoothness", "matched", "accuracy", "family_accuracy", "difference", "ci_low", "ci_high"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _weights(x: np.ndarray, here: float) -> np.ndarray:
    """Weights (n,) of linear interpolation at `here` between ascending points x (n,)."""
    return np.array([np.interp(here, x, unit) for unit in np.eye(len(x))])


def _accuracy(group: pd.DataFrame, seed: int) -> dict[str, float]:
    counted, draws = int((group["source_clean"] & group["target_clean"]).sum()), _draws(group, seed)
    return {"accuracy": float(draws[0]), **ci(percentile_interval(draws[1:])), "n": counted}


def _draws(group: pd.DataFrame, seed: int) -> np.ndarray:
    """Accuracy over counted decisions: as found, then of every resample of images (1 + n_boot,)."""
    counted = group["source_clean"] & group["target_clean"]
    right = counted & (group["prediction"] == group["label"])
    sums = pd.DataFrame({"image": group["image_id"], "right": right, "counted": counted}).groupby("image").sum()
    values = sums.to_numpy(float)
    means = np.vstack([values.mean(axis=0), resampled_means(values, seed=seed)])
    return ratio(means[:, 0], means[:, 1])


def _checked(decisions: pd.DataFrame) -> pd.DataFrame:
    problem, fix = "this is not a table of transfer decisions", "make it with nbtools.attacks.transfer"
    check_table(problem, decisions, COLUMNS, fix=fix)
    check_answers(problem, decisions, ("label", "prediction"), fix=fix)
    keys = [name for name in ("source", "source_seed", "target", "seed", "subject", "image_id") if name in decisions]
    check_once(problem, decisions, keys, fix=fix)
    return plain(decisions)
