"""Does guidance add to training against perturbations? Training × guidance, a network the sample, paired by seed."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from nbtools.checks import check_counts, check_enough, check_table, reading
from nbtools.guides import UNGUIDED, spelled, split_training
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.samples.contrasts import MARGINS, SIGNIFICANT, corrected
from nbtools.metrics.samples.known import compare_known
from nbtools.metrics.samples.verdicts import judged
from nbtools.metrics.studies.dose import monotone, read_off
from nbtools.metrics.studies.frontier import clean_and_robust
from nbtools.metrics.studies.fronts import dose_of

STANDARD = "standard"  # trained on pictures as they are
# Of others, on photographs, under AutoAttack (RobustBench, Croce et al. 2021): to be drawn, not compared with.
PUBLISHED = pd.DataFrame(
    {
        "network": ["ImageNet, ResNet-18 (Salman et al. 2020)", "CIFAR-10, ResNet-18 (Gowal et al. 2021)"],
        "epsilon": [4 / 255, 8 / 255],
        "clean": [0.529, 0.874],
        "accuracy": [0.253, 0.586],
    }
)
OWN, EQUAL = "its own", "equal"  # clean accuracy, at which a guided network is set against unguided ones
_PROBLEM, _FIX = "there is no factorial", "attack none and each guide, each of them trained in both ways, seed by seed"


def factors_of(condition: str) -> tuple[str, str, float]:
    """Split a condition's name into guide, way to train and its number: ``("TO", "at", 4)``, ``("none", "", 0)``.

    Raises
    ------
    InputError
        If it is trained in two ways, or its number cannot be.
    """
    expected, fix = "one way to train, and its number: TO-at-4", "correct the name"
    with reading(f"unknown condition {condition!r}", ValueError, expected=expected, fix=fix):
        guide, hardened = split_training(condition)
    return guide, *(hardened or ("", 0.0))


def training_of(condition: str) -> str:
    """Name how a condition's networks are trained: ``"at-4"``, or ``"standard"``."""
    _, word, number = factors_of(condition)
    return f"{word}-{spelled(number)}" if word else STANDARD


def guidance_gains(accuracy: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    """Measure what guidance adds to each network, trained as usual and against perturbations.

    Parameters
    ----------
    accuracy : DataFrame
        One row per network × ε (``robust_accuracy(decisions)``), ε = 0 and the chosen one among them: ``condition``,
        ``seed`` (and ``subject``), ``epsilon``, ``accuracy``. Guides (``TO``, ``TO-at-4``) and, trained like each of
        them, ``none``; further unguided networks (``none-at-2``) make the trade below finer.
    epsilon : float
        Budget, pixel units.

    Returns
    -------
    DataFrame
        One row per guided network × what it is set against: ``guide``, ``way`` (``at``), ``training`` (``standard``
        or ``at-4``), subject and seed, ``clean`` and ``gain``: its accuracy at ε minus that, where ``clean`` is
        "its own", of the unguided network trained alike; where it is "equal", of what training this way offers
        without a guide at the same clean accuracy (missing where its networks do not reach that).

    Raises
    ------
    InputError
        If a column is missing, a network stands twice or lacks an ε, an accuracy is no fraction, no guided network is
        trained in some way, or one lacks the unguided network trained alike, or a seed that others of its guide have.

    Notes
    -----
    The trade of a way to train, seed by seed: clean and robust accuracy of ``none``, ``none-at-2``, ``none-at-4``,
    made monotone in their number (of ``lowpass``, in 1 / the cut; those of ``channel`` are in no order, and no trade)
    by isotonic regression, joined by lines, never extended. Guided networks of standard training are set against that
    same trade: a guide that only goes further along it gains nothing. ``TO-atboth-4`` is trained like ``none-at-4``.
    """
    both = clean_and_robust(accuracy, epsilon)
    both[["guide", "way", "number"]] = [factors_of(name) for name in both["condition"]]
    both["training"] = [training_of(name) for name in both["condition"]]
    block = [name for name in ("subject", "seed") if name in both]
    both["dose"] = [0.0 if training == STANDARD else dose_of(training) for training in both["training"]]
    guided = both[both["guide"] != "none"]
    ways = {way: rows["guide"].unique() for way, rows in guided[guided["way"] != ""].groupby("way", sort=False)}
    check_enough(f"{_PROBLEM}: ways in which a guided network is trained", len(ways), 1, fix=_FIX)
    parts = [
        _gains(rows, way, guides).assign(**shared)
        for shared, rows in groups_of(both, block)
        for way, guides in ways.items()
    ]
    gains = pd.concat(parts, ignore_index=True)
    alone = {"guided networks without one": int(gains.loc[gains["clean"] == OWN, "gain"].isna().sum())}
    check_counts(_PROBLEM, alone, expected="an unguided network trained like each guided one", fix=_FIX)
    trainings = gains.groupby(["guide", "way", *block])["training"].nunique()
    most = trainings.groupby(["guide", "way"]).transform("max")
    short = {"guides × seeds without one of the guide's trainings": int((trainings < most).sum())}
    check_counts(_PROBLEM, short, expected="every training of a guide with every seed", fix=_FIX)
    return gains


def _gains(networks: pd.DataFrame, way: str, guides: Collection[str]) -> pd.DataFrame:
    """Return the gains of one seed's guided networks that are trained this way, and as usual."""
    guided = networks[networks["guide"].isin(guides) & networks["way"].isin(["", way])]
    unguided = networks[(networks["guide"] == "none") & networks["way"].isin(["", UNGUIDED.get(way, way)])]
    alike = unguided.set_index("number")["accuracy"].reindex(guided["number"]).to_numpy()
    trade = monotone(*unguided.dropna(subset="dose")[["dose", "clean", "accuracy"]].to_numpy(float).T)
    without = {OWN: alike, EQUAL: read_off(trade, guided["clean"].to_numpy())}
    named = guided[["guide", "way", "training"]].assign(way=way)
    gains = [named.assign(clean=clean, gain=guided["accuracy"] - other) for clean, other in without.items()]
    return pd.concat(gains, ignore_index=True)


def interactions(gains: pd.DataFrame, margin: float = MARGINS["accuracy"]) -> pd.DataFrame:
    """Test whether guidance adds as much to training against perturbations as to training as usual.

    Parameters
    ----------
    gains : DataFrame
        From `guidance_gains`.
    margin : float
        A smaller interaction counts as none.

    Returns
    -------
    DataFrame
        One row per guide × training against perturbations × clean accuracy: ``guide``, ``training``, ``clean``,
        ``gain_standard``, ``gain`` (means over networks), ``interaction`` (the second − the first), ``ci_low``,
        ``ci_high`` (95 %), ``p``, ``p_holm`` (Holm over the table), ``d``, ``n_seeds``, ``n_subjects``, ``p_tost``,
        ``equivalent`` (all as `compare`), and ``finding``: guidance adds "more" or "less" than to training as usual,
        "as much" (within the margin), or it is "unclear". Where a network has no gain (NaN) there is no test.

    Raises
    ------
    InputError
        As `layout`.
    """
    check_table(_PROBLEM, gains, ("guide", "way", "training", "clean", "gain"), fix="take those of guidance_gains")
    table = pd.DataFrame(
        [
            {
                "guide": named["guide"],
                "training": training,
                "clean": named["clean"],
                **_interaction(rows, training, margin),
            }
            for named, rows in groups_of(gains, ["guide", "way", "clean"])
            for training in rows.loc[rows["training"] != STANDARD, "training"].unique()
        ]
    )
    table["p_holm"], table["equivalent"] = corrected(table["p"]), corrected(table["p_tost"]) <= SIGNIFICANT
    found = table[["interaction", "p_holm", "equivalent"]].itertuples(index=False)
    return table.assign(finding=[judged(*row) for row in found])


def _interaction(gains: pd.DataFrame, training: str, margin: float) -> dict[str, object]:
    pair = gains[gains["training"].isin([STANDARD, training])].assign(condition=gains["training"])
    found = compare_known(pair, "gain", training, STANDARD, margin).iloc[0]
    tested = found.drop(["condition", "control", "equivalent"]).rename({"difference": "interaction"})
    means = pair.groupby("training")["gain"].mean()
    if pair["gain"].isna().any():
        means = means * np.nan
    return {"gain_standard": means[STANDARD], "gain": means[training], **tested}
