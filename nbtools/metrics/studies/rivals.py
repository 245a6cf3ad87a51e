"""Which explanations of a guide's gain survive: the guided network beside controls that have what each names."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

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
_FAMILY = "weight decay"
_PROBLEM, _FIX = "explanations cannot be tried", "attack none, the guide and its controls, seed by seed"


def rivals(accuracy: pd.DataFrame, epsilon: float, guided: str, gradients: pd.DataFrame | None = None) -> pd.DataFrame:
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

    Returns
    -------
    DataFrame
        One row per control, `GAIN` first: ``explanation``, ``control``, ``difference`` of robust accuracy (guided −
        control), ``ci_low``, ``ci_high`` (95 %), ``p``, ``p_holm`` (Holm over the table), ``d``, ``n_seeds``,
        ``n_subjects``, ``p_tost``, ``equivalent`` (all as `compare`), and ``finding``: of the gain "there", "not
        there" (within the margin) or "unclear"; of an explanation "does not explain it" (the guided network withstands
        more than the margin), "explains it" (the control withstands as much, within the margin, or more) or "cannot be
        told".

    Raises
    ------
    InputError
        If a column is missing, a network stands twice or lacks an ε, or `guided` or ``none`` is missing.

    Notes
    -----
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
    table = pd.concat(rows, ignore_index=True)
    table = table.assign(p_holm=corrected(table["p"]), equivalent=corrected(table["p_tost"]) <= SIGNIFICANT)
    return table.drop(columns="condition").assign(finding=[_finding(row) for row in table.to_dict("records")])


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


def _finding(row: dict[Hashable, Any]) -> str:
    gain, told = row["explanation"] == GAIN, bool(row["p_holm"] <= SIGNIFICANT)
    if told and row["difference"] > 0 and not row["equivalent"]:
        return "there" if gain else "does not explain it"
    if told or row["equivalent"]:
        return "not there" if gain else "explains it"
    return "unclear" if gain else "cannot be told"
