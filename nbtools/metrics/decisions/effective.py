"""Effective robustness: accuracy on other images beyond what accuracy on clean ones predicts (Taori et al. 2020)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from nbtools.checks import as_names, check_choice, check_counts, check_table
from nbtools.metrics.decisions.accuracy import answered
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import ci, holm

CLEAN = "clean"
_KEYS = ("image_id", "condition", "seed", "images")
_NETWORK = ["condition", "seed"]
_LEAST = 1e-12  # squared logits: less is rounding
_PAIRS = ("images", *_NETWORK, "clean", "n_clean", "accuracy", "n")


def accuracy_pairs(decisions: pd.DataFrame) -> pd.DataFrame:
    """Set each network's accuracy on other images beside that on the clean images that go with them.

    Parameters
    ----------
    decisions : DataFrame
        One row per image × network × set of images: ``image_id``, ``label``, ``prediction``, ``condition``, ``seed``,
        ``images`` (the set, ``"clean"`` among them).

    Returns
    -------
    DataFrame
        One row per other set × network: ``images``, ``condition``, ``seed``, ``clean`` and ``accuracy`` (fractions),
        ``n_clean`` and ``n`` (images), ``paired``: where all images of a set have the id of a clean one, clean accuracy
        is that of these same images; else that of all clean images of the classes that are in the set.

    Raises
    ------
    InputError
        If a column or an answer is missing, answers are of two kinds, there are no clean images (of these classes), an
        image was decided twice, or not by every network, or has two labels.
    """
    problem, fix = "this is not a table of decisions on other images", "give each network each image once"
    right = answered(problem, decisions, _KEYS, fix=fix)
    check_choice("decisions on clean images are missing", CLEAN, set(right["images"]), fix="decide on these too")
    n_networks = len(right[_NETWORK].drop_duplicates())
    absent = int((right.groupby(["images", "image_id"]).size() != n_networks).sum())
    check_counts(problem, {"images that not all networks decided on": absent}, expected="the same images", fix=fix)
    _check_labels(right, ["images", "image_id"])
    clean, parts = right[right["images"] == CLEAN], []
    for named, other in groups_of(right[right["images"] != CLEAN], ["images"]):
        paired = set(other["image_id"]) <= set(clean["image_id"])
        key = "image_id" if paired else "label"
        if paired:
            _check_labels(pd.concat([clean, other]), ["image_id"])
        both = [_share(rows) for rows in (clean[clean[key].isin(other[key])], other)]
        check_table("no clean image is of these classes", both[0], (), fix="test with images of the same classes")
        joined = both[0].set_axis(["clean", "n_clean"], axis=1).join(both[1].set_axis(["accuracy", "n"], axis=1))
        parts.append(joined.reset_index().assign(**named, paired=paired))
    check_table("there are no other images", pd.concat([clean.head(0), *parts]), (), fix="decide on some")
    return pd.concat(parts, ignore_index=True)[[*_PAIRS, "paired"]]


def _check_labels(right: pd.DataFrame, image: list[str]) -> None:
    doubled = {"images with two labels": int((right.groupby(image)["label"].nunique() > 1).sum())}
    fix = "give each image one label, and other images than the clean ones ids of their own"
    check_counts("labels contradict each other", doubled, expected="one label per image", fix=fix)


def _share(right: pd.DataFrame) -> pd.DataFrame:
    return right.groupby(_NETWORK, sort=False)["right"].agg(["mean", "size"])


def accuracy_lines(pairs: pd.DataFrame, plain: Collection[str]) -> pd.DataFrame:
    """Fit the line of accuracy on other images over clean accuracy, on logit axes.

    Parameters
    ----------
    pairs : DataFrame
        From `accuracy_pairs`.
    plain : collection of str
        Conditions without a guide (`Condition.plain`): each is a point of the line, the mean over its networks' logits.

    Returns
    -------
    DataFrame
        One row per set: ``images``, ``intercept``, ``slope`` (least squares), ``centre`` (the points' mean x), ``span``
        (their Σ (x − centre)²), ``squares`` (Σ of squared residuals), ``n`` (points). There is no line (NaN) through
        one condition, or conditions of one clean accuracy.

    Raises
    ------
    InputError
        If a column is missing, or no network is of these conditions.

    Notes
    -----
    The logit of k right answers of n is log((k + ½) / (n − k + ½)), finite where all or none are right (Cox 1970).
    """
    fix = "train networks without a guide, and name them among the conditions"
    check_table("a line cannot be fitted", pairs, _PAIRS, fix=fix)
    points = pairs[pairs["condition"].isin(as_names(plain))]
    check_table("no network is without a guide", points, (), fix=fix)
    return pd.DataFrame([{**named, **_line(group)} for named, group in groups_of(points, ["images"])])


def _line(networks: pd.DataFrame) -> dict[str, float]:
    means = [[values.mean() for values in logits(group)] for _, group in groups_of(networks, ["condition"])]
    x, y = np.array(means).T
    span, n = float(((x - x.mean()) ** 2).sum()), len(x)
    found: dict[str, float] = {"centre": x.mean(), "span": span, "n": n}
    if span < _LEAST:
        return {"intercept": np.nan, "slope": np.nan, "squares": np.nan, **found}
    slope, intercept = np.polyfit(x, y, 1)
    return {"intercept": intercept, "slope": slope, "squares": ((y - intercept - slope * x) ** 2).sum(), **found}


def logits(pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits (n,) of clean accuracy and of that on other images, as `accuracy_lines` takes them."""
    ends = (("clean", "n_clean"), ("accuracy", "n"))
    shares = [(pairs[share] * pairs[n] + 0.5) / (pairs[n] + 1) for share, n in ends]
    x, y = (np.log(share / (1 - share)).to_numpy() for share in shares)
    return x, y


def effective_robustness(pairs: pd.DataFrame, plain: Collection[str]) -> pd.DataFrame:
    """Measure how far guided networks lie above the line of networks without a guide.

    Parameters
    ----------
    pairs, plain
        As for `accuracy_lines`.

    Returns
    -------
    DataFrame
        One row per set × guided condition: ``images``, ``condition``, ``clean`` (mean over networks), ``accuracy`` (of
        their mean logit), ``predicted`` (by the line, at their mean logit of clean accuracy), ``effective`` (accuracy −
        predicted), ``ci_low``, ``ci_high`` (95 %), ``p`` (two-sided), ``n_seeds``, ``p_holm`` (Holm over the table).
        What is tested is missing where there is no line, or no network lies off it.

    Raises
    ------
    InputError
        As `accuracy_lines`, or if all conditions are without a guide.

    Notes
    -----
    A condition has a deviation of its own from any line, which its seeds share: networks of one are not independent
    points. So conditions without a guide are, each by its mean, and a guided one is set beside them as one more: on
    logit axes its distance d from the line has the variance σ² (1 + 1/n + (x − centre)² / span), σ² that of the n
    unguided conditions about their line, over n − 2 degrees of freedom, and the interval is Student's. Through two
    conditions there is a line and no test. The interval is shown as one of the prediction, below the accuracy found.
    All see the same images, so that no image's difficulty is a difference.
    """
    lines = accuracy_lines(pairs, plain).set_index("images")
    guided = pairs[~pairs["condition"].isin(as_names(plain))]
    check_table("no network is guided", guided, (), fix="name guided networks among the conditions")
    groups = groups_of(guided, ["images", "condition"])
    table = pd.DataFrame([{**named, **_beyond(group, lines.loc[named["images"]])} for named, group in groups])
    table["p_holm"] = np.nan
    if (tested := table["p"].notna()).any():
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"])
    return table


def _beyond(networks: pd.DataFrame, line: Mapping[str, Any]) -> dict[str, float]:
    from scipy.special import expit
    from scipy.stats import t  # imports slowly

    x, y = (values.mean() for values in logits(networks))
    expected, df = line["intercept"] + line["slope"] * x, line["n"] - 2
    distance = (x - line["centre"]) ** 2 / line["span"] if line["span"] else np.nan
    told = df > 0 and line["squares"] > _LEAST
    error = np.sqrt(line["squares"] / df * (1 + 1 / line["n"] + distance)) if told else np.nan
    half = t.ppf(0.975, df) * error * np.array([-1, 1])
    found = {"clean": networks["clean"].mean(), "accuracy": expit(y), "predicted": expit(expected)}
    found["effective"] = found["accuracy"] - found["predicted"]
    bounds = found["accuracy"] - expit(expected - half)
    return {**found, **ci(bounds), "p": 2 * t.sf(abs(y - expected) / error, df), "n_seeds": len(networks)}
