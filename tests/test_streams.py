"""Two hierarchies side by side: false alarms, power, and the share of orders counted by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from nbtools.errors import InputError
from nbtools.metrics import claims, slope, slope_difference, streams, streams_verdict
from nbtools.metrics.samples.contrasts import rank_weights

VENTRAL, DORSAL = ("V1", "V2", "V4", "VO", "PHC", "LO", "TO"), ("V3A", "V3B", "IPS0")
LONGER = (*DORSAL, "IPS1", "IPS2", "IPS3")


def world(
    rng: np.random.Generator,
    ventral: float = 0,
    dorsal: float = 0,
    *,
    spread: float = 0,
    seeds: int = 3,
    second: tuple[str, ...] = DORSAL,
) -> pd.DataFrame:
    """Accuracies of networks: slopes per region, what regions differ by in no order, what a seed adds to all, noise."""
    regions = [*VENTRAL, *second]
    ranks = np.concatenate([ventral * np.arange(len(VENTRAL)), dorsal * np.arange(len(second))])
    means = 0.4 + ranks + spread * rng.standard_normal(len(regions))
    scores = means[:, None] + 0.03 * rng.standard_normal(seeds) + 0.01 * rng.standard_normal((len(regions), seeds))
    rows = [(roi, seed, scores[i, seed]) for i, roi in enumerate(regions) for seed in range(seeds)]
    return pd.DataFrame(rows, columns=["condition", "seed", "accuracy"])


def found(times: int, seed: int, ventral: float, dorsal: float, second: tuple[str, ...] = DORSAL) -> float:
    """Share of worlds in which a difference is said."""
    rng = np.random.default_rng(seed)
    worlds = [world(rng, ventral, dorsal, second=second) for _ in range(times)]
    trends = [slope_difference(scores, "accuracy", VENTRAL, second) for scores in worlds]
    return float(np.mean([trend.p_both <= 0.05 for trend in trends]))


@pytest.mark.parametrize("slopes", [0.0, 0.02])
def test_equal_slopes_are_seldom_said_to_differ(slopes: float) -> None:
    assert found(150, 0, slopes, slopes) <= 0.09


def test_regions_that_differ_in_no_order_are_seldom_said_to_differ() -> None:
    """Networks alone would say so: p speaks of these regions. Their orders do not."""
    rng = np.random.default_rng(1)
    worlds = [world(rng, spread=0.05) for _ in range(150)]
    trends = [slope_difference(scores, "accuracy", VENTRAL, DORSAL) for scores in worlds]
    assert np.mean([trend.p <= 0.05 for trend in trends]) > 0.4
    assert np.mean([trend.p_order <= 0.05 for trend in trends]) <= 0.09
    assert np.mean([trend.p_both <= 0.05 for trend in trends]) <= 0.09


@pytest.mark.parametrize(("ventral", "dorsal"), [(0.04, 0.0), (0.03, -0.03)])
def test_a_planted_difference_is_found_and_measured(ventral: float, dorsal: float) -> None:
    assert found(60, 2, ventral, dorsal) >= 0.8
    trend = slope_difference(world(np.random.default_rng(3), ventral, dorsal), "accuracy", VENTRAL, DORSAL)
    assert trend.value == pytest.approx(ventral - dorsal, abs=0.02)


def test_what_is_the_dorsal_hierarchys_alone_takes_more_than_three_regions() -> None:
    """Three regions have six orders: that they rise is no more than chance does in one of three."""
    assert found(60, 9, 0.0, 0.05) <= 0.3
    assert found(10, 9, 0.0, 0.05, LONGER) >= 0.8


def test_the_difference_is_that_of_the_two_slopes() -> None:
    scores = world(np.random.default_rng(4), 0.02, -0.01, spread=0.02)
    trend = slope_difference(scores, "accuracy", VENTRAL, DORSAL)
    each = [slope(scores, "accuracy", regions).value for regions in (VENTRAL, DORSAL)]
    assert trend.value == pytest.approx(each[0] - each[1])
    assert (trend.n_regions, trend.n_seeds) == (10, 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_share_of_orders_is_counted_as_by_hand(seed: int) -> None:
    first, second = VENTRAL[:4], DORSAL
    scores = world(np.random.default_rng(seed), 0.01 * seed, spread=0.02)
    means = scores.groupby("condition")["accuracy"].mean()
    slopes = [
        [float(rank_weights(len(part)) @ means.loc[list(order)]) for order in permutations(part)]
        for part in (first, second)
    ]
    apart = np.abs(np.subtract.outer(*slopes))
    expected = (apart >= apart[0, 0] - 1e-12).mean()
    assert slope_difference(scores, "accuracy", first, second).p_order == pytest.approx(expected)


def test_too_few_orders_are_no_test_and_networks_decide() -> None:
    scores = world(np.random.default_rng(5), 0.05, -0.05)
    trend = slope_difference(scores, "accuracy", VENTRAL[:3], DORSAL)
    assert np.isnan(trend.p_order)
    assert trend.p_both == trend.p <= 0.05
    said = streams_verdict(scores, "accuracy", VENTRAL[:3], DORSAL)
    assert said.endswith("their orders untested: steeper along the ventral hierarchy")


def test_one_seed_has_no_test() -> None:
    scores = world(np.random.default_rng(6), 0.05, seeds=1)
    assert streams_verdict(scores, "accuracy", VENTRAL, DORSAL).endswith("one seed is no sample: no test")


def measured() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    rising = world(rng, 0.03, 0.0).assign(measure="robustness", direction=1)
    falling = world(rng, -0.03, 0.0).assign(measure="roughness", direction=-1)
    return pd.concat([rising, falling], ignore_index=True).rename(columns={"accuracy": "score"})


def test_every_measure_has_both_slopes_and_their_difference() -> None:
    table = streams(measured(), VENTRAL, DORSAL)
    assert list(table["along"]) == ["ventral", "dorsal", "ventral − dorsal"] * 2
    slopes = table.pivot(index="measure", columns="along", values="slope")
    np.testing.assert_allclose(slopes["ventral"] - slopes["dorsal"], slopes["ventral − dorsal"])
    assert (slopes["ventral"] > 0.1).all(), "roughness falls, as is said of it"
    each = table.set_index("along")
    assert (each.loc["ventral − dorsal", "p_holm"] <= 0.05).all()
    assert (each["p_holm"] >= each[["p", "p_order"]].max(axis=1) - 1e-12).all()
    ventral = claims(measured(), VENTRAL).set_index("measure")
    np.testing.assert_allclose(ventral["p"], each.loc["ventral"].set_index("measure")["p"])


def test_a_measure_without_a_score_has_no_test() -> None:
    scores = measured()
    scores.loc[0, "score"] = np.nan
    table = streams(scores, VENTRAL, DORSAL).set_index("measure")
    assert table.loc["robustness", ["slope", "p", "p_holm"]].isna().all(axis=None)
    assert table.loc["roughness", "p"].notna().all()


@pytest.mark.parametrize("directions", [[0], [1, -1]])
def test_a_measure_goes_one_way(directions: list[int]) -> None:
    scores = measured()
    scores["direction"] = np.resize(directions, len(scores))
    with pytest.raises(InputError, match="1 or −1"):
        streams(scores, VENTRAL, DORSAL)


@pytest.mark.parametrize(("first", "second"), [(VENTRAL, DORSAL[:2]), (VENTRAL, ("V1", *DORSAL)), ((), DORSAL)])
def test_hierarchies_that_cannot_be_compared_are_refused(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="no slopes to compare"):
        slope_difference(world(np.random.default_rng(8)), "accuracy", first, second)
