"""Which explanations of a guide's gain survive: the guided network beside controls that have what each names."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nbtools.checks import check_enough, check_table
from nbtools.conditions import parse_condition
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.samples.contrasts import SIGNIFICANT, corrected
from nbtools.metrics.samples.known import compare_known
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
    "channel": "low spatial frequency",
    "gauss": "noise in training",
}
SMOOTHNESS, CLEAN = "smoothness", "clean accuracy"  # of a family that is read off where it has as much
QUALITY = "predictor quality"  # of another region, where the guides of both know their regions equally well
THERE, NOT_THERE = "there", "not there"  # the gain
_FAMILY = "weight decay"
_PROBLEM, _FIX = "explanations cannot be tried", "attack none, the guide and its controls, seed by seed"


def rivals(
    accuracy: pd.DataFrame,
    epsilon: float,
    guided: str,
    gradients: pd.DataFrame | None = None,
    equal: pd.DataFrame | None = None,
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
    equal : DataFrame, optional
        Robust accuracy of regions at equal r of their predictors (`at_equal`), as `compare` takes it: of `guided`, and
        of the region that it is set beside, the first other one.

    Returns
    -------
    DataFrame
        One row per control, `GAIN` first: ``explanation``, ``control``, ``difference`` of robust accuracy (guided −
        control), ``ci_low``, ``ci_high`` (95 %), ``p``, ``p_holm`` (of the gain, p; Holm over the explanations), ``d``,
        ``n_seeds``, ``n_subjects``, ``p_tost``, ``equivalent`` (all as `compare`), and ``finding``: of the gain "there"
        (more than 0, and not surely within the margin), "not there" (within the margin, or a loss) or "unclear"; of an
        explanation "does not explain it" (the guided network withstands more), "explains it" (the control withstands
        as much, within the margin, or more), "cannot be told", "nothing to explain" (no gain) or "not tried".

    Raises
    ------
    InputError
        If a column is missing, a network stands twice or lacks an ε, or `guided` or ``none`` is missing.

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
    present = set(networks["condition"])
    check_enough(f"{_PROBLEM}: {guided} and none among them", len(present & {guided, "none"}), 2, fix=_FIX)
    names = {name: explanation for name in networks["condition"].unique() if (explanation := _names(name, guided))}
    order = list(EXPLANATIONS.values())
    names = dict(sorted(names.items(), key=lambda named: order.index(named[1])))
    for label, matched in ((SMOOTHNESS, _smooth(networks, gradients)), (CLEAN, networks)):
        read = _family_at_equal(matched, guided, "score" if label == SMOOTHNESS else "clean")
        if len(read):
            control = f"{_FAMILY}, equal {label}"
            networks, names[control] = pd.concat([networks, read.assign(condition=control)]), label
    rows = [
        compare_known(networks, "accuracy", guided, control).assign(explanation=label)
        for control, label in {"none": GAIN, **names}.items()
    ]
    if equal is not None and (others := [name for name in equal["condition"].unique() if name != guided]):
        beside = compare_known(equal, "accuracy", guided, others[0])
        rows.append(beside.assign(explanation=QUALITY, control=f"{others[0]}, equal predictor r"))
    return _judged(pd.concat(rows, ignore_index=True).drop(columns="condition"))


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """Correct and judge the gain, then explanations, and name those of which there is no row."""
    gain = table["explanation"] == GAIN
    for found, p in (("p_holm", "p"), ("p_tost_holm", "p_tost")):
        table[found] = table.groupby(gain)[p].transform(corrected)
    table = table.assign(equivalent=table.pop("p_tost_holm") <= SIGNIFICANT)
    first = _gain(table[gain].iloc[0])
    table["finding"] = [first, *(_explains(row, first) for _, row in table[~gain].iterrows())]
    all_there_are = dict.fromkeys([*EXPLANATIONS.values(), SMOOTHNESS, CLEAN, QUALITY])
    none = {"control": "–", "n_seeds": 0, "n_subjects": 0, "equivalent": False, "finding": "not tried"}
    left = [{"explanation": name, **none} for name in all_there_are if name not in set(table["explanation"])]
    return pd.concat([table, pd.DataFrame(left, columns=table.columns)], ignore_index=True) if left else table


def _names(name: str, guided: str) -> str | None:
    """Return the explanation that a condition has, if it has one and nothing of another region."""
    condition = parse_condition(name)
    other = condition.kind in ("shuffle", "scrambled") and condition.parts != parse_condition(guided).parts
    return None if other or (condition.hardened and condition.parts) else EXPLANATIONS.get(condition.kind)


def _smooth(networks: pd.DataFrame, gradients: pd.DataFrame | None) -> pd.DataFrame:
    if gradients is None:
        return networks.head(0).assign(score=np.nan)
    keys = [name for name in ("condition", "subject", "seed") if name in networks and name in gradients]
    check_table(_PROBLEM, gradients, (*keys, "score"), fix="take notebook 06's scores of the gradient")
    return networks.merge(gradients[[*keys, "score"]], on=keys)


def _family_at_equal(networks: pd.DataFrame, guided: str, match: str) -> pd.DataFrame:
    """Read the weight-decay family's robust accuracy where it has as much of something as the guided network."""
    decays = {name: parse_condition(name) for name in networks["condition"].unique()}
    doses = {name: each.weight_decay for name, each in decays.items() if name == "none" or each.kind == "decay"}
    if len(doses) < 2:
        return networks.head(0)
    block, rows = [name for name in ("subject", "seed") if name in networks], []
    for shared, group in groups_of(networks, block):
        of = group.set_index("condition")
        family = of.loc[of.index.isin(doses), [match, "accuracy"]]
        curve = monotone(family.index.map(doses).to_numpy(float), *family.to_numpy(float).T)
        rows.append({**shared, "accuracy": read_off(curve, of.loc[[guided], match].to_numpy(float))[0]})
    return pd.DataFrame(rows)


def _gain(row: pd.Series) -> str:
    if row["equivalent"] or (row["p_holm"] <= SIGNIFICANT and row["difference"] <= 0):
        return NOT_THERE
    return THERE if row["p_holm"] <= SIGNIFICANT else "unclear"


def _explains(row: pd.Series, gain: str) -> str:
    """Judge an explanation by the gain that a guided network has beyond its control."""
    if gain != THERE:
        return "nothing to explain" if gain == NOT_THERE else "cannot be told"
    return {THERE: "does not explain it", NOT_THERE: "explains it"}.get(_gain(row), "cannot be told")
