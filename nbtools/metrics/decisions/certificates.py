"""From certificates to certified accuracy: the share of images that no attack within a radius can change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nbtools.checks import as_names, check_counts, check_numbers, check_once, check_table, plain
from nbtools.errors import InputError
from nbtools.metrics.decisions.robustness import robust_accuracy

ABSTAINED = -1  # in place of a class, where noise makes a network say now this, now that
_COLUMNS = ("image_id", "label", "prediction", "radius")


def certified_decisions(
    certificates: pd.DataFrame, radii: Sequence[float], by: Sequence[str] = ("condition", "seed")
) -> pd.DataFrame:
    """Read certificates as the decisions under the worst attack there can be, at each radius.

    Parameters
    ----------
    certificates : DataFrame
        Of `attacks.certify`, with the `by` columns: one row per network and image. Without a column ``asked`` they are
        those of all passes.
    radii : sequence of float
        L2, pixel units; 0 is the clean image. Where certificates were made with ``radii``, of these.
    by : sequence of str
        Columns that tell networks apart, ``sigma`` among them if there are several.

    Returns
    -------
    DataFrame
        The decisions, one row per network × image × radius: the `by` columns, ``image_id``, ``label``, ``epsilon`` (the
        radius), ``prediction`` (the class that is certified there, else `ABSTAINED`), ``attack`` ("L2 certificate").

    Raises
    ------
    InputError
        If a column or a value is missing, a network certifies an image twice, or a radius is negative, not finite, or
        none of those that certificates were made for.
    """
    by, certificates = as_names(by), plain(certificates)
    _check(certificates, by)
    at = pd.DataFrame({"epsilon": check_radii(radii)})
    _check_asked(certificates, at["epsilon"])
    table = certificates[[*by, *_COLUMNS]].merge(at, how="cross")
    certified = table["prediction"].where(table["radius"] >= table["epsilon"], ABSTAINED)
    return table.assign(prediction=certified, attack="L2 certificate").drop(columns="radius")


def certified_accuracy(
    certificates: pd.DataFrame,
    radii: Sequence[float],
    by: Sequence[str] = ("condition", "seed"),
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Fraction of images whose right class each smoothed network is certified to keep, with intervals over images.

    Parameters
    ----------
    certificates, radii, by
        As in `certified_decisions`.
    level, seed
        As in `robust_accuracy`, whose images are drawn alike.

    Returns
    -------
    DataFrame
        One row per network × radius: the `by` columns, ``epsilon`` (L2 radius, pixel units), ``accuracy``, ``ci_low``,
        ``ci_high`` (fractions), ``n`` (images). `over_networks` averages over seeds.

    Raises
    ------
    InputError
        As `certified_decisions`, or if networks were not certified on the same images.

    Notes
    -----
    Cohen, Rosenfeld and Kolter (2019): an abstention is wrong. No attack of the smoothed network gets below it, but for
    the chance α of each certificate; the network without noise is another one, and may fall earlier or later.
    """
    decisions = certified_decisions(certificates, radii, by)
    return robust_accuracy(decisions, by, level, seed).drop(columns="unconverged")


def check_radii(radii: Sequence[float]) -> np.ndarray:
    """Return L2 radii (n_radii,) in ascending order, each once; raise `InputError` unless they are finite and ≥ 0."""
    values = np.asarray(radii)
    sound = values.ndim == 1 and values.dtype.kind in "fiu" and values.size > 0
    if not sound or not ((values >= 0) & (values < np.inf)).all():
        raise InputError(
            "these are no radii",
            expected="a list of numbers from 0 on, such as [0, 0.25, 0.5]",
            got=radii,
            fix="give L2 lengths in pixel units, 0 for the clean image",
        )
    return np.unique(values.astype(float))


def _check_asked(table: pd.DataFrame, radii: pd.Series) -> None:
    """Raise `InputError` if a certificate was stopped before it was known what it says at one of the radii."""
    for asked in filter(None, table["asked"].unique() if "asked" in table else ()):
        others = set(radii).difference(map(float, asked.split()))
        if others:
            raise InputError(
                "certificates were not made for these radii",
                expected=f"radii of {asked}",
                got=", ".join(f"{radius:g}" for radius in sorted(others)),
                fix="certify with these radii, or without any, which takes all passes",
            )


def _check(table: pd.DataFrame, by: Sequence[str]) -> None:
    problem, fix = "this is not a table of certificates", "make certificates with nbtools.attacks.certify"
    check_table(problem, table, (*_COLUMNS, *by), fix=fix)
    check_numbers(problem, table, ("label", "prediction", "radius"), fix=fix)
    wrong = {
        "missing values": int(table[[*by, *_COLUMNS]].isna().to_numpy().sum()),
        "radii that are negative or not finite": int((~table["radius"].between(0, np.finfo(float).max)).sum()),
        "labels that are no class": int((table["label"] < 0).sum()),
    }
    check_counts(problem, wrong, expected="a class and a radius from 0 on for every image", fix=fix)
    check_once(
        "an image was certified twice by one network", table, [*by, "image_id"], fix="name what tells them apart"
    )
