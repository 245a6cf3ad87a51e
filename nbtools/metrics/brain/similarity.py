"""What similarities of RDMs say: intervals, differences, whether a guide shows in what it guided, and a map."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from nbtools.checks import check_enough, check_table
from nbtools.errors import InputError
from nbtools.metrics.stats import MAX_REGIONS, ROUNDING, bootstrap_ci, ci, holm, orders, percentile_interval

KEYS = ["a_source", "a", "b_source", "b"]
_RESAMPLE = "make them with metrics.similarities(…, n_boot=200)"


def intervals(draws: pd.DataFrame) -> pd.DataFrame:
    """Similarity of each pair with its 95 % interval over images.

    Parameters
    ----------
    draws : DataFrame
        From `metrics.similarities`.

    Returns
    -------
    DataFrame
        One row per pair: ``a_source``, ``a``, ``b_source``, ``b``, ``similarity``, ``ci_low``, ``ci_high``,
        ``n_images``, ``method``.

    Raises
    ------
    InputError
        If a column is missing, or there are fewer than two resamples.
    """
    _check_several(draws, "draw", 3, _RESAMPLE)
    found = draws[draws["draw"] == 0].drop(columns="draw").reset_index(drop=True)
    resampled = draws[draws["draw"] > 0].pivot(index="draw", columns=KEYS, values="similarity")
    interval = percentile_interval(resampled[list(found[KEYS].itertuples(index=False, name=None))].to_numpy())
    return found.assign(**ci(interval))[[*KEYS, "similarity", "ci_low", "ci_high", "n_images", "method"]]


def over_runs(each: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Similarity of each pair, averaged over scanner runs, with its 95 % interval over them.

    Parameters
    ----------
    each : DataFrame
        From `metrics.similarities` with ``n_boot=0``, once for the RDMs of every run, which ``run`` names.
    n_boot, seed : int
        Resamples of the runs, and their seed.

    Returns
    -------
    DataFrame
        As `intervals`. The interval says how well these images were measured, not what others would have shown.

    Raises
    ------
    InputError
        If a column is missing, or there are fewer than two runs.
    """
    _check_several(each, "run", 2, "concatenate similarities(…, n_boot=0) of every run, with a column run")
    values = each.pivot(index="run", columns=KEYS, values="similarity")
    interval = bootstrap_ci(values.to_numpy(), n_boot=n_boot, seed=seed)
    found = values.mean().rename("similarity").reset_index().assign(**ci(interval))
    return found.merge(each[[*KEYS, "n_images", "method"]].drop_duplicates(), on=KEYS)


def differences(draws: pd.DataFrame) -> pd.DataFrame:
    """Compare all networks of one source with each other: which is more like a region?

    Parameters
    ----------
    draws : DataFrame
        From `metrics.similarities`: ``a`` networks, ``b`` regions.

    Returns
    -------
    DataFrame
        One row per pair of networks and region: ``source``, ``region``, ``first``, ``second``, ``difference``
        (first − second), ``ci_low``, ``ci_high`` (95 %), ``p`` (two-sided), ``p_holm`` (Holm over the pairs of one
        source and region).

    Raises
    ------
    InputError
        As `intervals`.

    Notes
    -----
    t = difference / its standard deviation over resamples of the images, n_images − 1 degrees of freedom, as
    rsatoolbox tests it (Schütt et al. 2023). It speaks of other images for these very networks and this subject.
    """
    _check_several(draws, "draw", 3, _RESAMPLE)
    dof = int(draws["n_images"].iloc[0]) - 1
    parts = []
    for (source, region), group in draws.groupby(["a_source", "b"], sort=False):
        wide = group.pivot(index="draw", columns="a", values="similarity")[group["a"].unique()]
        pairs = list(combinations(wide.columns, 2))
        if not pairs:
            continue
        gaps = np.stack([wide[first] - wide[second] for first, second in pairs], axis=1)
        spread = np.nanstd(gaps[1:], axis=0, ddof=1)
        # two networks that are one and the same differ by 0 with no spread
        t = np.divide(gaps[0], spread, out=np.zeros(len(pairs)), where=spread != 0)
        found = pd.DataFrame(pairs, columns=["first", "second"]).assign(source=source, region=region)
        p = 2 * stats.t.sf(np.abs(t), dof)
        parts.append(found.assign(difference=gaps[0], **ci(percentile_interval(gaps[1:])), p=p, p_holm=holm(p)))
    columns = ["source", "region", "first", "second", "difference", "ci_low", "ci_high", "p", "p_holm"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def own_region(draws: pd.DataFrame) -> pd.DataFrame:
    """Test whether networks are more like the region that guided them than like other regions.

    Parameters
    ----------
    draws : DataFrame
        From `metrics.similarities`: ``a`` networks, ``b`` regions. Networks not named as a region are left out.

    Returns
    -------
    DataFrame
        One row per source with two such networks or more: ``source``, ``advantage`` (mean similarity with the own
        region − mean similarity with the others), ``ci_low``, ``ci_high`` (95 %, over images), ``p`` (own > others),
        ``p_least`` (the smallest p that so few regions allow), ``n_regions``, ``n_closest`` (regions whose closest
        network is their own).

    Raises
    ------
    InputError
        As `intervals`, or if there are more than nine regions.

    Notes
    -----
    p: exact, the share of all pairings of networks with regions whose advantage is at least as high. That one network
    is like every region, or one region like every network, cancels in it.
    """
    _check_several(draws, "draw", 3, _RESAMPLE)
    rows = []
    for source, group in draws.groupby("a_source", sort=False):
        names = [name for name in group["b"].unique() if name in set(group["a"])]
        if len(names) > MAX_REGIONS:
            problem, fix = "too many regions for an exact test", "test the regions in parts"
            raise InputError(problem, expected=f"at most {MAX_REGIONS}", got=len(names), fix=fix)
        if len(names) > 1:
            rows.append({"source": source, **_advantage(group, names)})
    columns = ["source", "advantage", "ci_low", "ci_high", "p", "p_least", "n_regions", "n_closest"]
    return pd.DataFrame(rows, columns=columns)


def mds(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Place RDMs in a plane so that distances are 1 − similarity, as well as a plane can.

    Parameters
    ----------
    table : DataFrame
        From `intervals`, of a list of RDMs with itself: every ordered pair.
    seed : int
        Of the 16 random starts.

    Returns
    -------
    DataFrame
        One row per RDM: ``source``, ``name``, ``x``, ``y``, and ``stress`` (Kruskal's stress-1 of the whole map:
        0.05 is good, 0.2 poor).

    Raises
    ------
    InputError
        If a pair is missing, there are fewer than three RDMs, or a similarity is not finite.

    Notes
    -----
    Metric MDS by SMACOF (`sklearn.manifold.smacof`), turned to its principal axes; the axes mean nothing.
    """
    from sklearn.manifold import smacof

    wide = table.pivot(index=["a_source", "a"], columns=["b_source", "b"], values="similarity")
    names = list(dict.fromkeys(zip(table["a_source"], table["a"], strict=True)))
    square = wide.reindex(index=names, columns=names).to_numpy()
    if len(names) < 3 or not np.isfinite(square).all() or not np.allclose(square, square.T):
        raise InputError(
            "these similarities make no map",
            expected="a finite similarity for every ordered pair of three RDMs or more",
            got=f"{len(names)} RDMs, {int((~np.isfinite(square)).sum())} of {square.size} pairs missing",
            fix="compare the RDMs with themselves: similarities(all, all)",
        )
    distance = 1 - (square + square.T) / 2
    np.fill_diagonal(distance, 0)
    places, stress = smacof(distance, n_components=2, n_init=16, random_state=seed, normalized_stress=True)
    places = places - places.mean(axis=0)
    places = places @ np.linalg.svd(places, full_matrices=False)[2].T
    frame = pd.DataFrame(names, columns=["source", "name"])
    return frame.assign(x=places[:, 0], y=places[:, 1], stress=float(stress))


def _advantage(group: pd.DataFrame, names: list[str]) -> dict[str, float]:
    """Advantage of the own region, its interval and p, of one source's draws."""
    n = len(names)
    chosen = group[group["a"].isin(names) & group["b"].isin(names)]
    wide = chosen.pivot(index="draw", columns=["a", "b"], values="similarity")
    cube = wide[list(pd.MultiIndex.from_product([names, names]))].to_numpy().reshape(-1, n, n)
    own = np.trace(cube, axis1=1, axis2=2) / n
    advantages = own - (cube.sum(axis=(1, 2)) - n * own) / (n * (n - 1))
    traces = cube[0][np.arange(n), orders(n)].sum(axis=1)  # the first order is the one observed
    return {
        "advantage": float(advantages[0]),
        **ci(percentile_interval(advantages[1:])),
        "p": float(np.mean(traces >= traces[0] - ROUNDING)),
        "p_least": 1 / len(traces),
        "n_regions": n,
        "n_closest": int((cube[0].argmax(axis=0) == np.arange(n)).sum()),
    }


def _check_several(table: pd.DataFrame, column: str, least: int, fix: str) -> None:
    """Raise `InputError` unless similarities are there for at least so many different values of a column."""
    problem = f"no interval over {column}s can be given"
    check_table(problem, table, [column, *KEYS, "similarity", "n_images", "method"], fix=fix)
    check_enough(problem, table[column].nunique(), least, fix=fix)
