"""Dimensions of known manifolds: balls, spheres, a rolled plane, Gaussian clouds; intervals that hold what they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial import KDTree
from sklearn.datasets import make_swiss_roll

from nbtools.errors import InputError
from nbtools.metrics.geometry.dimension import category_dimensions, dimensions, participation_ratio, two_nn


def embedded(x: np.ndarray, n_features: int, rng: np.random.Generator) -> np.ndarray:
    """Points in more dimensions than they fill: turned at random, and moved."""
    basis = np.linalg.qr(rng.standard_normal((n_features, x.shape[1])))[0]
    return x @ basis.T + rng.standard_normal(n_features)


def sphere(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Points (n, d + 1) spread evenly over the surface of d dimensions."""
    x = rng.standard_normal((n, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def ball(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Points (n, d) spread evenly over a ball."""
    return sphere(n, d - 1, rng) * rng.uniform(size=(n, 1)) ** (1 / d)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_a_ball_has_its_dimension_in_any_space(d: int) -> None:
    rng = np.random.default_rng(d)
    x = embedded(ball(2000, d, rng), 20, rng)
    # its edge, where neighbours lie on one side alone, takes some away
    assert d - 0.1 * d - 0.1 < two_nn(x) < 1.05 * d + 0.05
    assert participation_ratio(x) == pytest.approx(d, rel=0.01)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_a_sphere_is_a_manifold_of_fewer_dimensions_than_its_variance(d: int) -> None:
    rng = np.random.default_rng(d)
    x = embedded(sphere(2000, d, rng), 15, rng)
    assert two_nn(x) == pytest.approx(d, rel=0.08)
    assert participation_ratio(x) == pytest.approx(d + 1, rel=0.01)


def test_a_rolled_plane_is_a_plane() -> None:
    x, _ = make_swiss_roll(2000, random_state=0)
    assert two_nn(x) == pytest.approx(2, rel=0.06)
    assert participation_ratio(x) > 2.5


def test_estimates_agree_with_independent_ones() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6)) * [3, 2, 1, 1, 0.5, 0.1]
    near = KDTree(x).query(x, 3)[0]
    assert two_nn(x) == pytest.approx(299 / np.log(near[:, 2] / near[:, 1]).sum())
    spectrum = np.linalg.eigvalsh(np.cov(x.T))
    assert participation_ratio(x) == pytest.approx(spectrum.sum() ** 2 / (spectrum**2).sum())
    # the line of Facco et al. through the origin, without the largest tenth: another estimate of the same dimension
    ratios = np.sort(np.log(near[:, 2] / near[:, 1]))[:270]
    line = -np.log1p(-np.arange(270) / 300)
    assert two_nn(x) == pytest.approx((ratios @ line) / (ratios @ ratios), rel=0.1)


def test_neither_unit_nor_rotation_nor_place_matters() -> None:
    rng = np.random.default_rng(1)
    x = ball(200, 3, rng)
    for of in (two_nn, participation_ratio):
        assert of(1e-6 * embedded(x, 8, rng)) == pytest.approx(of(x), rel=1e-6)
        assert of(torch.from_numpy(x)) == of(x)


@pytest.mark.parametrize(
    "make", [lambda rng: ball(120, 2, rng), lambda rng: rng.standard_normal((120, 8)) / np.arange(1, 9)]
)
def test_intervals_hold_what_other_points_give(make: Callable[[np.random.Generator], np.ndarray]) -> None:
    n = 150
    tables = [dimensions(make(np.random.default_rng(s)), n_draws=30).assign(sample=s) for s in range(n)]
    table = pd.concat(tables)
    mean = table.groupby("measure")["value"].transform("mean")
    inside = ((table["ci_low"] < mean) & (mean < table["ci_high"])).groupby(table["measure"]).mean()
    assert inside.between(0.87, 1).all()
    spread, width = table.groupby("measure")["value"].std()["two-NN"], (table["ci_high"] - table["ci_low"]) / 3.92
    assert 0.95 < width[table["measure"] == "two-NN"].mean() / spread < 1.5


def test_categories_are_measured_apart() -> None:
    rng = np.random.default_rng(2)
    clouds = [embedded(ball(n, 2, rng), 10, rng) for n in (300, 400, 350, 300)]
    x, labels = np.concatenate(clouds), np.repeat(["a", "b", "c", "d"], [300, 400, 350, 300])
    table = category_dimensions(x, labels).set_index("measure")
    assert (table["n_points"] == 300).all()
    assert (table["n_categories"] == 4).all()
    assert table.loc["two-NN", "value"] == pytest.approx(2, rel=0.1)
    assert table.loc["participation ratio", "value"] == pytest.approx(2, rel=0.02)
    assert participation_ratio(x) > 2.5  # of the whole, their places count
    assert (table["ci_low"] < table["value"]).all()
    own = [participation_ratio(clouds[k]) for k in (0, 3)]  # of the smallest, all points count
    same = category_dimensions(np.concatenate([clouds[0], clouds[3]]), np.repeat([0, 1], 300)).set_index("measure")
    assert same.loc["participation ratio", "value"] == pytest.approx(np.mean(own))
    half = 12.706 * abs(own[0] - own[1]) / 2  # Student's t of two values
    assert same.loc["participation ratio", "ci_high"] == pytest.approx(np.mean(own) + half, rel=1e-3)


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e-90, 3.0, 1e90, 1e160, 1e300])
def test_no_unit_is_too_small_or_too_large(unit: float) -> None:
    x = np.random.default_rng(3).standard_normal((60, 4))
    assert (two_nn(unit * x), participation_ratio(unit * x)) == pytest.approx((two_nn(x), participation_ratio(x)))


def test_what_has_no_dimension_is_refused() -> None:
    x = np.random.default_rng(0).standard_normal((8, 3))
    grid = np.stack(np.meshgrid(np.arange(5), np.arange(5)), -1).reshape(-1, 2)
    for even in (np.eye(6), grid, 0.1 * grid):
        for measure in (two_nn, dimensions):
            with pytest.raises(InputError, match="points lie evenly"):
                measure(even)
    with pytest.raises(InputError, match="several kinds"):
        category_dimensions(x, np.array([0] * 4 + ["a"] * 4, dtype=object))
    with pytest.raises(InputError, match="2 of 9 points lie on another"):
        two_nn(np.vstack([x, x[:1]]))
    with pytest.raises(InputError, match="2 of 9 points lie on another"):
        dimensions(np.vstack([x, x[:1]]))
    with pytest.raises(InputError, match="3 rows"):
        two_nn(x[:2])
    with pytest.raises(InputError, match="6 rows"):
        dimensions(x[:5])
    with pytest.raises(InputError, match="all alike"):
        participation_ratio(np.ones((4, 3)))
    with pytest.raises(InputError, match="not finite"):
        participation_ratio(np.where(x > 2, np.nan, x) * np.inf)
    with pytest.raises(InputError, match="n_draws cannot be 1"):
        dimensions(x, n_draws=1)
    with pytest.raises(InputError, match="one category"):
        category_dimensions(x, np.zeros(8))
    with pytest.raises(InputError, match="3 rows"):
        category_dimensions(x, np.repeat([0, 1], [6, 2]))
    with pytest.raises(InputError, match="do not fit"):
        category_dimensions(x, np.zeros(7))
