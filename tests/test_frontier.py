"""Robust accuracy at equal clean accuracy: read off curves, without the bias of sorting noise, over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbtools.errors import InputError
from nbtools.metrics.samples.contrasts import compare
from nbtools.metrics.studies.frontier import alpha_within, frontier_area, robust_at_clean

EPSILON = 4 / 255


def curve(
    points: dict[float, tuple[float, float]], n_seeds: int = 1, noise: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    """TO's accuracies: {α: (clean, attacked)}."""
    rng = np.random.default_rng(seed)
    rows = [
        {"condition": "TO", "alpha": alpha, "seed": s, "epsilon": epsilon, "accuracy": value + noise * rng.normal()}
        for alpha, values in points.items()
        for s in range(n_seeds)
        for epsilon, value in zip((0.0, EPSILON), values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_robust_accuracy_is_read_off_the_curve():
    row = robust_at_clean(curve({0.3: (0.9, 0.1), 0.6: (0.8, 0.3), 0.9: (0.6, 0.35)}), EPSILON, 0.85).iloc[0]
    assert row["reached"]
    assert row["accuracy"] == pytest.approx(0.2)
    assert row[["ci_low", "ci_high"]].isna().all()  # one seed is no sample
    assert (row["n_alphas"], row["n_seeds"]) == (3, 1)


def test_a_falling_curve_is_followed_too():
    row = robust_at_clean(curve({0.3: (0.9, 0.3), 0.6: (0.8, 0.2), 0.9: (0.6, 0.1)}), EPSILON, 0.85).iloc[0]
    assert row["accuracy"] == pytest.approx(0.25)


@pytest.mark.parametrize("n_seeds", [3, 6])
def test_noise_neither_biases_it_nor_makes_its_interval_lie(n_seeds: int):
    """A curve as TO's was measured, clean accuracies .014 and robust ones .04 apart between seeds (truth: .252)."""
    points = {0.35: (0.90, 0.20), 0.65: (0.88, 0.252), 0.9: (0.80, 0.28)}
    found = [
        robust_at_clean(curve(points, n_seeds, 0.02, seed), EPSILON, 0.87).iloc[0][["accuracy", "ci_low", "ci_high"]]
        for seed in range(300)
    ]
    value, low, high = np.array(found, dtype=float).T
    truth = 0.252 + (0.28 - 0.252) / 8
    assert abs(value.mean() - truth) < 0.01
    assert np.mean((low <= truth) & (truth <= high)) > 0.9


@pytest.mark.parametrize("points", [{0.3: (0.9, 0.1), 0.6: (0.8, 0.3)}, {0.6: (0.8, 0.3)}])
def test_beyond_the_curve_there_is_no_number(points: dict[float, tuple[float, float]]):
    row = robust_at_clean(curve(points, n_seeds=2), EPSILON, 0.95).iloc[0]
    assert not row["reached"]
    assert row[["accuracy", "ci_low", "ci_high"]].isna().all()


@pytest.mark.parametrize("clean", [0, 1, 85])
def test_clean_accuracy_is_a_fraction(clean: float):
    with pytest.raises(InputError, match=r"0\.85"):
        robust_at_clean(curve({0.3: (0.9, 0.1)}), EPSILON, clean)


def test_columns_of_categories_are_read_as_what_they_hold():
    table = curve({0.3: (0.9, 0.1), 0.6: (0.8, 0.3)})
    pd.testing.assert_frame_equal(
        robust_at_clean(table.astype("category"), EPSILON, 0.85), robust_at_clean(table, EPSILON, 0.85)
    )


def test_tables_that_are_no_curve_are_refused():
    table = curve({0.3: (0.9, 0.1), 0.6: (0.8, 0.3)}, n_seeds=2)
    spoiled_tables = [table.drop(columns="alpha"), pd.concat([table] * 2), table.iloc[:-1], table.assign(accuracy="x")]
    for spoiled in spoiled_tables:
        with pytest.raises(InputError):
            robust_at_clean(spoiled, EPSILON, 0.85)


# --- the area under it ---------------------------------------------------------------------------------------


def trade(above: float, n_seeds: int, noise: float, rng: np.random.Generator) -> pd.DataFrame:
    """V1 and TO on one curve of clean against robust accuracy, TO `above` it; TO goes further along it at equal α."""
    rows, starts = [], rng.normal(0, 0.05, n_seeds)  # what networks of a seed have in common
    for condition, steep in (("V1", 0.10), ("TO", 0.16)):
        for seed, alpha in ((seed, alpha) for seed in range(n_seeds) for alpha in (0, 0.35, 0.65, 0.9)):
            clean = 0.92 - steep * alpha**2
            robust = 0.30 + 1.2 * (0.92 - clean) + above * (condition == "TO") + starts[seed]
            values = np.array([clean, robust]) + rng.normal(0, noise, 2)
            rows += [(condition, seed, alpha, *pair) for pair in zip((0.0, EPSILON), values, strict=True)]
    return pd.DataFrame(rows, columns=["condition", "seed", "alpha", "epsilon", "accuracy"])


def test_the_area_is_the_mean_height_over_what_both_reach():
    table = trade(0.04, 2, 0.0, np.random.default_rng(0))
    area = frontier_area(table.sample(frac=1, random_state=0), EPSILON).set_index(["condition", "seed"])
    assert np.allclose(area[["low", "high"]], (0.92 - 0.10 * 0.81, 0.92))
    difference = area.loc["TO", "accuracy"] - area.loc["V1", "accuracy"]
    assert np.allclose(difference, 0.04)
    start = table.query("condition == 'V1' and alpha == 0 and epsilon > 0").set_index("seed")["accuracy"]
    assert np.allclose(area.loc["V1", "accuracy"] - start, 1.2 * 0.10 * 0.81 / 2)  # a line's mean is its middle


def test_a_trade_is_no_difference_and_a_difference_is_one():
    """At equal α TO is up to .06 more robust by going further; the area tells that from what lies above the curve."""
    rng = np.random.default_rng(1)
    areas = [frontier_area(trade(0.05, 4, 0.014, rng), EPSILON) for _ in range(150)]
    found = pd.concat([compare(area, "accuracy", ["TO"], ["V1"]) for area in areas])
    assert abs(found["difference"].mean() - 0.05) < 0.005
    # what lies above shifts all scores of TO: this is the share of false alarms without it, too
    assert (found["ci_low"].le(0.05) & found["ci_high"].ge(0.05)).mean() > 0.9
    assert (found["p"] <= 0.05).mean() > 0.7


def test_conditions_without_a_clean_accuracy_in_common_have_no_area():
    high = curve({0.3: (0.95, 0.1), 0.6: (0.92, 0.3)}, n_seeds=2)
    low = curve({0.3: (0.85, 0.1), 0.6: (0.8, 0.3)}, n_seeds=2).assign(condition="V1")
    assert frontier_area(pd.concat([high, low]), EPSILON)["accuracy"].isna().all()
    for spoiled in (high[high["alpha"] == 0.3], high.iloc[1:], pd.concat([high, high]), high.drop(columns="alpha")):
        with pytest.raises(InputError, match=r"no curve"):
            frontier_area(spoiled, EPSILON)


# --- α beforehand ----------------------------------------------------------------------------------------------


def validated(**accuracies: dict[float, float]) -> pd.DataFrame:
    rows = [
        (name, a, seed, value + seed / 10)
        for name, of in accuracies.items()
        for a, value in of.items()
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["condition", "alpha", "seed", "accuracy"])


def test_the_largest_weight_within_the_margin_is_chosen():
    table = validated(
        none={0.65: 0.8}, V1={0.35: 0.81, 0.65: 0.76, 0.9: 0.77}, TO={0.35: 0.79, 0.65: 0.7}, LO={0.9: 0.1}
    )
    found = alpha_within(table, 0.03).set_index("condition")
    assert found["alpha"].to_dict() == pytest.approx({"V1": 0.9, "TO": 0.35, "LO": np.nan}, nan_ok=True)
    assert found["cost"].to_dict() == pytest.approx({"V1": 0.03, "TO": 0.01, "LO": np.nan}, nan_ok=True)
    assert alpha_within(table, 0.0).set_index("condition")["alpha"]["V1"] == 0.35


def test_no_alpha_is_chosen_from_half_a_table():
    table = validated(none={0.65: 0.8}, V1={0.35: 0.81, 0.65: 0.76})
    halves = [table.query("condition == 'V1'"), table.iloc[:-1], pd.concat([table, table]), table.drop(columns="seed")]
    for half in halves:
        with pytest.raises(InputError, match="no α can be chosen"):
            alpha_within(half, 0.03)
    with pytest.raises(InputError, match="margin"):
        alpha_within(table, 3)
