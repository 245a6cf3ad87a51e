"""Networks of any kind in one table: every measure of each, what is missing and why, and which measures go together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nbtools.checks import check_choice
from nbtools.metrics.decisions.robustness import accuracy_at, epsilon_label
from nbtools.metrics.decisions.shape_bias import shape_bias
from nbtools.metrics.pixels.spectrum import CUT
from nbtools.metrics.samples.contrasts import over_networks
from nbtools.metrics.samples.tables import as_scores

_NETWORK = ["condition", "seed"]
_CLASSES = "a network of the study's classes"
_CUES = "cue-conflict images of categories that the network knows, and decisions for shape or texture"


@dataclass(frozen=True)
class Scale:
    """How the scores of a measure are read.

    Attributes
    ----------
    unit : str
        In words.
    form : str
        Python's format of a value.
    takes : str
        What there must be, or there is no score.
    direction : {1, -1}
        As `as_scores` takes it. The paper has no claim about frequencies: −1 says that networks that are harder to
        fool are expected to go by lower ones.
    low, high : float
        No score, nor the end of an interval, lies beyond.
    log : bool
        Whether an axis is logarithmic.
    """

    unit: str
    form: str
    takes: str
    direction: int = 1
    low: float = 0.0
    high: float = 1.0
    log: bool = False


SCALES: dict[str, Scale] = {  # by how a measure's name begins
    "accuracy": Scale("share of images", ".1%", _CLASSES),
    "shape bias": Scale("share of decisions for shape or texture", ".2f", _CUES),
    "similarity": Scale("Spearman ρ of RDMs", ".3f", "a network with this read-out", low=-1.0),
    "gradient": Scale("squared norm, nats²/pixel²", ",.1f", _CLASSES, direction=-1, high=np.inf, log=True),
    "frequency": Scale("centroid, cycles/image", ".2f", _CLASSES, direction=-1, high=np.inf),
    "low frequencies": Scale(f"share of energy up to {CUT:g} cycles/image", ".1%", _CLASSES),
}


def kind_of(measure: str) -> str:
    """Return which of `SCALES` a measure has; raise `InputError` if it has none."""
    kind = next((begins for begins in SCALES if measure.startswith(begins)), measure)
    check_choice("unknown measure", kind, SCALES, fix="see metrics/studies/comparison.py")
    return kind


def scale_of(measure: str) -> Scale:
    """Return how a measure is read; raise `InputError` if that is not known."""
    return SCALES[kind_of(measure)]


def score_networks(
    networks: Iterable[tuple[str, int]],
    epsilons: Sequence[float],
    decisions: pd.DataFrame,
    inputs: pd.DataFrame,
    conflicts: pd.DataFrame,
    similarity: pd.DataFrame,
) -> pd.DataFrame:
    """Score every network by every measure.

    Parameters
    ----------
    networks : iterable of (condition, seed)
        All of them, in their order.
    epsilons : sequence of float
        Of the attacks, pixel units, above 0.
    decisions, inputs : DataFrame
        From `attacks.examine`.
    conflicts : DataFrame
        Decisions on cue-conflict images, as `shape_bias` takes them.
    similarity : DataFrame
        ``condition``, ``seed``, ``region``, ``similarity`` of RDMs: one region.

    Returns
    -------
    DataFrame
        In the form of `as_scores`, a row per measure × network. Where a table has no row of a network, as of one of
        other classes, or says nothing of it, its score is missing (NaN); no measure is left out.
    """
    networks = pd.MultiIndex.from_tuples(networks, names=_NETWORK)
    right = decisions.assign(right=decisions["prediction"] == decisions["label"])
    found = {accuracy_at(e): _mean(right[right["epsilon"] == e], "right") for e in (0.0, *epsilons)}
    biased = shape_bias(conflicts, by=_NETWORK) if len(conflicts) else conflicts.assign(shape_bias=np.nan)
    found["shape bias"] = _mean(biased, "shape_bias")
    found[f"similarity to {similarity['region'].iloc[0]}"] = _mean(similarity, "similarity")
    for epsilon, column in ((0.0, "gradient"), (max(epsilons), "gradient_attacked")):
        found[f"gradient, {epsilon_label(epsilon)}"] = _mean(inputs, column)
    for of in ("gradient", "attack"):
        found[f"frequency of the {of}"] = _mean(inputs, f"{of}_centroid")
        found[f"low frequencies of the {of}"] = _mean(inputs, f"{of}_below")
    wide = pd.DataFrame({measure: scores.reindex(networks) for measure, scores in found.items()}).reset_index()
    return pd.concat([as_scores(wide, name, name, scale_of(name).direction) for name in found], ignore_index=True)


def _mean(table: pd.DataFrame, column: str) -> pd.Series:
    """Average over a network's rows, those without a value left out."""
    return table.astype({column: float}).groupby(_NETWORK)[column].mean()


def score_conditions(scores: pd.DataFrame) -> pd.DataFrame:
    """Average every measure over the networks of each condition.

    Parameters
    ----------
    scores : DataFrame
        From `score_networks`.

    Returns
    -------
    DataFrame
        From `over_networks`, of ``measure`` and ``condition``: ``score``, ``ci_low``, ``ci_high`` (95 %, over seeds;
        missing of one network), ``n_seeds``.

    Raises
    ------
    InputError
        As `over_networks`.
    """
    table = over_networks(scores, "score", by=("measure", "condition"))
    scales = table["measure"].map(scale_of)
    ends = scales.map(lambda scale: scale.low), scales.map(lambda scale: scale.high)
    return table.assign(ci_low=table["ci_low"].clip(*ends), ci_high=table["ci_high"].clip(*ends))


def missing_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Say of which conditions there is no score of a measure, and what there would have to be.

    Parameters
    ----------
    table : DataFrame
        From `score_conditions`.

    Returns
    -------
    DataFrame
        ``measure``, ``missing`` (conditions), ``takes`` (`Scale.takes`); no row where nothing is missing.
    """
    absent = table[table["score"].isna()].groupby("measure", sort=False)["condition"].agg(", ".join)
    takes = [scale_of(measure).takes for measure in absent.index]
    return absent.rename("missing").reset_index().assign(takes=takes)


def correlate_conditions(table: pd.DataFrame, x: str, y: str) -> tuple[float, int]:
    """Return Spearman's ρ of two measures over conditions that have both, and how many these are.

    Parameters
    ----------
    table : DataFrame
        From `score_conditions`: each condition counts once, whatever the number of its seeds.
    x, y : str
        Measures.

    Returns
    -------
    rho : float
        Missing (NaN) with fewer than three conditions, or where all are alike.
    n : int

    Notes
    -----
    There is no p: networks of one study share images, those of one seed their first weights.
    """
    both = table.pivot(index="condition", columns="measure", values="score")[[x, y]].dropna()
    return float(both.corr("spearman", min_periods=3).iloc[0, 1]), len(both)
