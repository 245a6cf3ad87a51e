"""Which explanations of a guide's gain survive: the guided network beside controls that have what each names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nbtools.checks import check_choice, check_counts, check_numbers, check_once, check_table, plain
from nbtools.conditions import parse_condition
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.samples.contrasts import SIGNIFICANT, corrected
from nbtools.metrics.samples.known import compare_known
from nbtools.metrics.samples.verdicts import judged, p_text, signed
from nbtools.metrics.studies.dose import monotone, read_off
from nbtools.metrics.studies.frontier import clean_and_robust

GAIN = "the gain: no guide"  # what there is to explain
# By what a control is, its kind or its word of training: the explanation that it has, without the region.
EXPLANATIONS = {
    "labels": "labels of more images",
    "labels-guide": "labels, through a guide",
    "ce-weight": "less weight on the class",
    "random": "any guide",
    "shuffle": "any guide",
    "scrambled": "any guide",
    "lowpass": "low spatial frequency",
    "channel": "one octave of frequency",
    "gauss": "noise in training",
}
SMOOTHNESS, CLEAN = "smoothness", "clean accuracy"  # of a family that is read off where it has as much
QUALITY = "predictor quality"  # of another region, where the guides of both know their regions equally well
NOT_TRIED = "not tried"
_OF_GAIN = {"more": "there", "unclear": "unclear", "as much": "not there", "less": "not there"}
_OF_RIVAL = {
    "more": "does not explain it",
    "unclear": "cannot be told",
    "as much": "explains it",
    "less": "explains it",
}
_FAMILY = "weight decay"
_PROBLEM, _FIX = "explanations cannot be tried", "attack none, the guide and its controls, seed by seed"


def rivals(
    accuracy: pd.DataFrame,
    epsilon: float,
    guided: str,
    gradients: pd.DataFrame | None = None,
    elsewhere: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Set a guided condition beside every control that has what a rival explanation names, and not the region.

    Parameters
    ----------
    accuracy : DataFrame
        One row per network × ε (``robust_accuracy(decisions)``), ε = 0 and the chosen one among them: ``condition``,
        ``seed`` (and ``subject``), ``epsilon``, ``accuracy``; of `guided`, ``none``, and any controls.
    epsilon : float
        Budget, pixel units.
    guided : str
        The condition whose gain is to be explained, such as ``"TO"``.
    gradients : DataFrame, optional
        How smooth networks are, one row each: ``condition``, ``seed`` (and ``subject`` where there are several),
        ``score`` (smaller: smoother), of `guided`, ``none`` and the weight-decay family.
    elsewhere : mapping of explanation → DataFrame, optional
        Robust accuracy that is comparable within its own table alone, as `compare` takes it: of `guided`, and of the
        controls, by the names they are to have. Such as regions at equal r of their predictors (`QUALITY`, `at_equal`).

    Returns
    -------
    DataFrame
        One row per control, `GAIN` first: ``explanation``, ``control``, ``difference`` of robust accuracy (guided −
        control), ``ci_low``, ``ci_high`` (95 %), ``p``, ``p_holm`` (of the gain, p; Holm over the explanations), ``d``,
        ``n_seeds``, ``n_subjects``, ``p_tost``, ``equivalent`` (all as `compare`), and ``finding``: of the gain "there"
        (more than 0, and not surely within the margin), "not there" (within the margin, or a loss) or "unclear"; of an
        explanation "does not explain it" (the guided network withstands more), "explains it" (the control withstands
        as much, within the margin, or more) or "cannot be told", also where the gain is not there; or `NOT_TRIED`.

    Raises
    ------
    InputError
        If a column is missing, a network stands twice or lacks an ε or its gradient, ``none`` or
        `guided` is missing, or that is no region as it is.

    Notes
    -----
    The gain is tested first, alone, and explanations only of a gain that is there: with such a gate, a difference that
    is none is found as rarely as by one test (Dmitrienko and Tamhane 2007).

    Two explanations are quantities and not conditions: a network may withstand more because it is smoother, or because
    it gave up clean accuracy. There the weight-decay family of a seed, from ``none`` on, is made monotone in its decay,
    and read off where it is as smooth, or as accurate, as the guided network of that seed; it is never extended, and
    where a guided network lies beyond it, nothing can be told.
    """
    networks = clean_and_robust(accuracy, epsilon)
    present = networks["condition"].unique()
    regions = [name for name in present if parse_condition(name).kinds == ("roi",)]
    check_choice(f"{_PROBLEM}: of no region as it is", guided, regions, fix=_FIX)
    check_choice(f"{_PROBLEM}: there is no gain", "none", present, fix=_FIX)
    names = {name: explanation for name in present if (explanation := _names(name, guided))}
    rows = [_beside(networks, guided, "none", GAIN)]
    rows += [_beside(networks, guided, control, explanation) for control, explanation in names.items()]
    read = {CLEAN: _family_at_equal(networks, guided, "clean")}
    if gradients is not None:
        read = {SMOOTHNESS: _family_at_equal(_smooth(networks, gradients, guided), guided, "score"), **read}
    for equal, family in read.items():
        control = f"{_FAMILY}, equal {equal}"
        if len(family):
            rows.append(_beside(pd.concat([networks, family.assign(condition=control)]), guided, control, equal))
    for explanation, scores in (elsewhere or {}).items():
        controls = [name for name in scores["condition"].unique() if name != guided]
        rows += [_beside(scores, guided, control, explanation) for control in controls]
    return _judged(pd.concat(rows, ignore_index=True).drop(columns="condition"))


def _beside(scores: pd.DataFrame, guided: str, control: str, explanation: str) -> pd.DataFrame:
    return compare_known(scores, "accuracy", guided, control).assign(explanation=explanation)


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """Correct and judge the gain, then what may explain it, in the order of explanations; add those without a row."""
    order = list(dict.fromkeys([GAIN, *EXPLANATIONS.values(), SMOOTHNESS, CLEAN, QUALITY]))
    table = table.sort_values("explanation", key=lambda names: names.map(order.index), kind="stable")
    gain = table["explanation"] == GAIN
    table["p_holm"], p_tost = (table.groupby(gain)[p].transform(corrected) for p in ("p", "p_tost"))
    table["equivalent"] = p_tost <= SIGNIFICANT
    said = [judged(*row) for row in table[["difference", "p_holm", "equivalent"]].itertuples(index=False)]
    explained = [_OF_RIVAL[word] if said[0] == "more" else "cannot be told" for word in said[1:]]
    table["finding"] = [_OF_GAIN[said[0]], *explained]
    none = {"control": "–", "n_seeds": 0, "n_subjects": 0, "equivalent": False, "finding": NOT_TRIED}
    left = [{"explanation": name, **none} for name in order if name not in set(table["explanation"])]
    return pd.concat([table, pd.DataFrame(left, columns=table.columns)] if left else [table], ignore_index=True)


def rivals_verdict(table: pd.DataFrame, guided: str) -> str:
    """Say what of a gain is left, by the table of `rivals`.

    Parameters
    ----------
    table : DataFrame
        From `rivals`.
    guided : str
        The condition whose gain it is.
    """
    gain, others = table.iloc[0], table.iloc[1:]
    low, high = signed(gain["ci_low"]), signed(gain["ci_high"])
    sure = "no test" if np.isnan(gain["p"]) else f"95 % CI {low} to {high}, {p_text(gain['p'])}"
    words = f"{guided} − none {signed(gain['difference'])} ({sure}): the gain is {gain['finding']}"
    for finding, rows in others.groupby("finding", sort=False):
        named = [
            row["explanation"] + f" ({row['control']})" * (row["finding"] != NOT_TRIED) for _, row in rows.iterrows()
        ]
        words += f". {str(finding).capitalize()}: {', '.join(named)}"
    return words


def _names(name: str, guided: str) -> str | None:
    """Return the explanation that a condition has, if it has one and nothing of another region."""
    condition = parse_condition(name)
    other = condition.kind in ("shuffle", "scrambled") and condition.parts != parse_condition(guided).parts
    return None if other or (condition.hardened and condition.parts) else EXPLANATIONS.get(condition.kind)


def _smooth(networks: pd.DataFrame, gradients: pd.DataFrame, guided: str) -> pd.DataFrame:
    """Give the networks that smoothness is read off from, and the guided ones, their gradients."""
    keys = [name for name in ("condition", "subject", "seed") if name in networks and name in gradients]
    fix = "take notebook 06's scores of the gradient, of all these networks"
    check_table(_PROBLEM, gradients, (*keys, "score"), fix=fix)
    gradients = plain(gradients)
    check_numbers(_PROBLEM, gradients, ("score",), fix=fix)
    check_once(_PROBLEM, gradients, keys, fix=fix)
    needed = networks[networks["condition"].isin([guided, *_doses(networks)])]
    by_name = gradients[[*keys, "score"]].astype(dict.fromkeys(keys, str))
    matched = needed.astype(dict.fromkeys(keys, str)).merge(by_name, on=keys, how="left").set_index(needed.index)
    lacking = {"networks without a gradient": int(matched["score"].isna().sum())}
    check_counts(_PROBLEM, lacking, expected=f"one of {guided}, none and each weight decay, every seed", fix=fix)
    return needed.assign(score=matched["score"])


def _doses(networks: pd.DataFrame) -> dict[str, float]:
    """Return the weight decays of the family, none at their start."""
    decays = {name: parse_condition(name) for name in networks["condition"].unique()}
    return {name: each.weight_decay for name, each in decays.items() if name == "none" or each.kind == "decay"}


def _family_at_equal(networks: pd.DataFrame, guided: str, match: str) -> pd.DataFrame:
    """Read the weight-decay family's robust accuracy where it has as much of something as the guided network."""
    doses = _doses(networks)
    if len(doses) < 2:
        return networks.head(0)
    block, rows = [name for name in ("subject", "seed") if name in networks], []
    for shared, group in groups_of(networks, block):
        of = group.set_index("condition")
        family = of.loc[of.index.isin(doses), [match, "accuracy"]]
        curve = monotone(family.index.map(doses).to_numpy(float), *family.to_numpy(float).T)
        rows.append({**shared, "accuracy": read_off(curve, of.loc[[guided], match].to_numpy(float))[0]})
    return pd.DataFrame(rows)
