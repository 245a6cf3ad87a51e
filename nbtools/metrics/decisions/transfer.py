"""Scores of transfer attacks: the source × target matrix, each target's robustness, and that at equal smoothness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nbtools.checks import check_choice, check_enough, check_once, check_table, plain
from nbtools.errors import InputError
from nbtools.metrics.inputs import check_answers, groups_of
from nbtools.metrics.samples.contrasts import over_networks
from nbtools.metrics.stats import ci, percentile_interval, ratio, resampled_means

_UNMATCHED = "networks cannot be matched in smoothness"
_MEASURE = "measure the gradients of all networks, the weight-decay family among them, on the images of the transfer"
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
        images), ``n`` (images counted: those that source *and* target classify correctly when clean). Source = target
        is the white-box attack. A pair without such an image has n = 0 and no accuracy.

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
    decisions: pd.DataFrame, gradients: pd.DataFrame, family: Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """Compare each network's transfer robustness with that of weight-decay networks of the same smoothness.

    Parameters
    ----------
    decisions : DataFrame
        As for `transfer_matrix`.
    gradients : DataFrame
        Squared gradients at one ε of the same networks on the same images, best where PGD ends: ``condition``, ``seed``
        (where there are several), ``image_id``, ``gradient``.
    family : sequence of str
        The weight-decay networks, and where wanted the plain one.
    seed : int
        Of the bootstrap over images.

    Returns
    -------
    DataFrame
        One row per condition outside the family: ``condition``, ``smoothness`` (mean squared gradient), ``matched``
        (whether the family has smoother and rougher members, of every seed), ``accuracy``, ``family_accuracy``
        (interpolated over log smoothness), ``difference`` with ``ci_low``, ``ci_high``; the last four are missing where
        not matched: nothing is extrapolated.

    Raises
    ------
    InputError
        As `transfer_matrix`; if the family has fewer than two members, or a network has no gradients above 0 on the
        images of the transfer.

    Notes
    -----
    Networks are matched with the family of their own seed, and the interval is over seeds. With one seed it is over
    images, which are resampled for accuracies and smoothness together: another draw of images moves a network along
    both axes. On clean images few of them carry the mean gradient; where PGD ends, all count.
    """
    others = across(_checked(decisions))[lambda pairs: pairs["source"] != pairs["target"]]
    check_table(_UNMATCHED, gradients, ("condition", "image_id", "gradient"), fix=_MEASURE)
    measured = {key: group.set_index("image_id")["gradient"] for key, group in _by_network(plain(gradients))}
    images = {
        key: _per_image(group).assign(gradient=measured.get(key, pd.Series(dtype=float)))
        for key, group in _by_network(others.rename(columns={"target": "condition"}))
    }
    _check_family(images, family)
    points = {key: _points(table, seed) for key, table in images.items()}
    rows = []
    for name, of_seed in (key for key in points if key[0] not in family):
        members = np.stack([points[member, of_seed] for member in family])
        rows.append({"condition": name, "seed": of_seed, **_beside(points[name, of_seed], members)})
    networks = pd.DataFrame(rows)
    named = networks.groupby("condition", sort=False)
    means = named[["smoothness", "accuracy", "family_accuracy"]].mean()
    gaps = over_networks(networks, "difference").set_index("condition")[["difference", "ci_low", "ci_high"]]
    table = means.assign(matched=named["matched"].all()).join(gaps).reset_index()
    table.loc[~table["matched"], "family_accuracy"] = np.nan
    return table[["condition", "smoothness", "matched", "accuracy", "family_accuracy", *gaps]]


def _by_network(table: pd.DataFrame) -> Iterator[tuple[tuple[str, Any], pd.DataFrame]]:
    """Go through the networks of a table: each condition and seed, and its rows."""
    of_seeds = table.assign(seed=table.get("seed", 0))
    return (((*named.values(),), group) for named, group in groups_of(of_seeds, ["condition", "seed"]))


def _check_family(images: Mapping[tuple[str, Any], pd.DataFrame], family: Sequence[str]) -> None:
    """Raise unless every network has gradients on its images, and each seed all members of the family."""
    wanted = {(member, of_seed) for member in family for _, of_seed in images}
    flat = [key for key, table in images.items() if not (table["gradient"].min() >= 0 < table["gradient"].sum())]
    lacking = [key for key, table in images.items() if table["gradient"].isna().any()]
    bad = [f"{name}, seed {of_seed}" for name, of_seed in dict.fromkeys([*flat, *lacking, *(wanted - images.keys())])]
    if bad or len(family) < 2:
        raise InputError(
            _UNMATCHED,
            expected="squared gradients of every network on the images of the transfer; a family of two or more",
            got=f"none of {'; '.join(bad) or 'no network'}; family {', '.join(family) or 'empty'}",
            fix=_MEASURE,
        )


def _points(images: pd.DataFrame, seed: int) -> np.ndarray:
    """Log smoothness and accuracy of a network: as found, then of every resample of images (2, 1 + n_boot)."""
    means = _means(images, seed)
    with np.errstate(divide="ignore"):  # a resample without any gradient is smoother than all others
        return np.stack([np.log(means[:, 2]), ratio(means[:, 0], means[:, 1])])


def _beside(own: np.ndarray, family: np.ndarray) -> dict[str, Any]:
    """Compare a network's points (2, n_points) with its family's (n_members, 2, n_points), which a line joins."""
    line = np.empty_like(own[1])
    for point, (at, members) in enumerate(zip(own[0], family.transpose(2, 1, 0), strict=True)):
        x, y = members[:, members[0].argsort()]
        line[point] = np.interp(at, x, y, left=np.nan, right=np.nan)
    gap = own[1] - line
    matched = not np.isnan(gap[0])
    at_own = {"smoothness": np.exp(own[0, 0]), "accuracy": own[1, 0], "family_accuracy": line[0]}
    interval = ci(percentile_interval(gap[1:] if matched else gap[:1]))
    return {**at_own, "matched": matched, "difference": gap[0], **interval}


def _accuracy(group: pd.DataFrame, seed: int) -> dict[str, float]:
    counted, draws = int((group["source_clean"] & group["target_clean"]).sum()), _draws(group, seed)
    return {"accuracy": float(draws[0]), **ci(percentile_interval(draws[1:])), "n": counted}


def _draws(group: pd.DataFrame, seed: int) -> np.ndarray:
    """Accuracy over counted decisions: as found, then of every resample of images (1 + n_boot,)."""
    means = _means(_per_image(group), seed)
    return ratio(means[:, 0], means[:, 1])


def _per_image(group: pd.DataFrame) -> pd.DataFrame:
    """How many decisions of each image are right and counted, and how many are counted."""
    counted = group["source_clean"] & group["target_clean"]
    right = counted & (group["prediction"] == group["label"])
    return pd.DataFrame({"image": group["image_id"], "right": right, "counted": counted}).groupby("image").sum()


def _means(images: pd.DataFrame, seed: int) -> np.ndarray:
    """Means over images (rows): as found, then of every resample (1 + n_boot, n_columns)."""
    values = images.to_numpy(float)
    return np.vstack([values.mean(axis=0), resampled_means(values, seed=seed)])


def _checked(decisions: pd.DataFrame) -> pd.DataFrame:
    problem, fix = "this is not a table of transfer decisions", "make it with nbtools.attacks.transfer"
    check_table(problem, decisions, COLUMNS, fix=fix)
    check_answers(problem, decisions, ("label", "prediction"), fix=fix)
    keys = [name for name in ("source", "source_seed", "target", "seed", "subject", "image_id") if name in decisions]
    check_once(problem, decisions, keys, fix=fix)
    return plain(decisions)
