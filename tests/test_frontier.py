"""Robust accuracy at equal clean accuracy: read off curves, without the bias of sorting noise, over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbtools.errors import InputError
from nbtools.metrics.frontier import robust_at_clean

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
