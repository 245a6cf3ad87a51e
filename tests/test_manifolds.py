"""Manifold geometry: balls of known radius and dimension, simulated capacity, published numbers, invariances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import linprog, minimize
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, PredefinedSplit, StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbtools.errors import InputError
from nbtools.metrics.geometry.manifolds import (
    MEASURES,
    PENALTIES,
    _anchor,
    manifold_geometry,
    repeated_geometry,
    separability,
    summarise,
)
from nbtools.metrics.studies.gain import correlate_with_gain


def planted(shape: np.ndarray, radius: float = 1.0, n: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Put a shape (n_points, d) at n centres whose length is 1 after their mean is taken away: its radius is exact."""
    centres = np.eye(n) / np.sqrt(1 - 1 / n)
    points = [np.hstack([np.tile(centre, (len(shape), 1)), radius * shape]) for centre in centres]
    return np.concatenate(points), np.repeat(np.arange(n), len(shape))


def ball(dimension: int) -> np.ndarray:
    """Points all over the unit sphere: a segment's ends, a polygon of 100 corners, a spiral of 400 points."""
    if dimension == 1:
        return np.array([[1.0], [-1.0]])
    if dimension == 2:
        angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
        return np.column_stack([np.cos(angle), np.sin(angle)])
    z = np.linspace(-1, 1, 402)[1:-1]
    angle = np.arange(400) * np.pi * (3 - np.sqrt(5))
    return np.column_stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z])


def ball_theory(radius: float, dimension: int) -> tuple[float, float]:
    """Capacity and effective radius of a ball: V lies in a round cone, so that T = (t, u) is projected in closed form.

    Chung, Lee & Sompolinsky (2018), capacity of balls at κ = 0: T is left alone for u > R‖t‖, goes to the cone's apex
    for u < −‖t‖/R, and is touched by the ball's surface between them. Sums over a fine grid of ‖t‖ and u.
    """
    u, t = np.linspace(-10, 10, 2001)[:, None], np.linspace(0.005, 8, 800)[None]
    weight = stats.norm.pdf(u) * stats.chi(dimension).pdf(t)
    apex, alone = u < -t / radius, u > radius * t
    distance = np.where(apex, u**2 + t**2, (radius * t - u) ** 2 / (1 + radius**2)) * ~alone
    squared = np.where(apex, t / np.minimum(u, -1e-9), radius) ** 2
    return weight.sum() / (weight * distance).sum(), np.sqrt((weight * squared).sum() / weight.sum())


def clouds(n: int = 4, n_points: int = 12, d: int = 30, spread: float = 0.5, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(n, d)), n_points, axis=0) + spread * rng.normal(size=(n * n_points, d))
    return x, np.repeat(np.arange(n), n_points)


# --- planted truth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_balls_have_the_capacity_radius_and_dimension_of_the_theory(dimension: int, radius: float) -> None:
    found = manifold_geometry(*planted(ball(dimension), radius), n_samples=1500)
    capacity, effective = ball_theory(radius, dimension)
    assert 1 / np.mean(1 / found.capacity) == pytest.approx(capacity, rel=0.08)
    assert found.radius.mean() == pytest.approx(effective, rel=0.04)
    assert found.dimension.mean() == pytest.approx(dimension, rel=0.1)
    np.testing.assert_allclose(found.centre_norm, 1)
    np.testing.assert_allclose(found.centre_correlation, 0.5)  # three centres about their mean: cos = −1/2
    assert (found.n_points == len(ball(dimension))).all()


def test_points_have_the_perceptrons_capacity() -> None:
    found = manifold_geometry(*planted(ball(2), 1e-4), n_samples=2000)
    assert 1 / np.mean(1 / found.capacity) == pytest.approx(2, rel=0.05)  # Cover (1965), Gardner (1988)


def test_gaussian_clouds_have_the_published_numbers() -> None:
    """Of the authors' README (schung039/neural_manifolds_replicaMFT): 0.04, 1.48, 36.17 for 50 points in 5000-D."""
    x = np.random.default_rng(0).normal(size=(20 * 50, 5000))
    found = manifold_geometry(x, np.repeat(np.arange(20), 50), n_samples=40)
    assert 1 / np.mean(1 / found.capacity) == pytest.approx(0.04, abs=0.003)
    assert found.radius.mean() == pytest.approx(1.48, rel=0.04)
    assert found.dimension.mean() == pytest.approx(36.17, rel=0.04)


def test_capacity_is_where_linear_programmes_stop_finding_a_hyperplane() -> None:
    """Random labels of n clouds of 5 points in 40-D are separable for n / 40 well below α, and not well above."""
    d, spread, rng = 40, 0.12, np.random.default_rng(0)

    def manifolds(n: int) -> np.ndarray:
        centres = rng.normal(size=(n, 1, d)) / np.sqrt(d)
        return centres + spread * rng.normal(size=(n, 5, d))

    sample = manifolds(60)
    found = manifold_geometry(sample.reshape(-1, d), np.repeat(np.arange(60), 5), n_samples=60)
    capacity = 1 / np.mean(1 / found.capacity)
    separable = {}
    for factor in (0.7, 1.4):
        n = round(factor * capacity * d)
        trials = [manifolds(n) * rng.choice([-1, 1], n)[:, None, None] for _ in range(20)]
        solved = [linprog(np.zeros(d), -t.reshape(-1, d), -np.ones(5 * n), bounds=(None, None)) for t in trials]
        separable[factor] = np.mean([result.status == 0 for result in solved])
    assert separable[0.7] > 0.8, "below capacity nearly every labelling is separable"
    assert separable[1.4] < 0.2, "above it nearly none"


def test_the_dual_solves_the_quadratic_programme() -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.normal(size=(8, 4)), np.ones(8)])
    touched = 0
    for target in rng.normal(size=(20, 5)):
        move, anchor = _anchor(points, target)
        direct = minimize(
            lambda v, t=target: np.sum((v - t) ** 2),
            target,
            jac=lambda v, t=target: 2 * (v - t),
            constraints={"type": "ineq", "fun": lambda v: points @ v, "jac": lambda v: points},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        np.testing.assert_allclose(target + move, direct.x, atol=1e-5)
        assert anchor[-1] == pytest.approx(1)
        if np.any(move):
            touched += 1
            np.testing.assert_allclose(move, np.linalg.norm(move) / np.linalg.norm(anchor) * anchor, atol=1e-9)
        else:
            np.testing.assert_allclose(anchor, points[np.argmin(points @ target)])
    assert 0 < touched < 20, "both cases were seen"


def test_a_direction_common_to_the_centres_is_found_and_taken_out() -> None:
    x, y = clouds(n=8, d=60)
    apart = manifold_geometry(x, y)
    side = np.where(y % 2, 1.0, -1.0)
    common = np.column_stack([x, 100 * side])
    together = manifold_geometry(common, y)
    assert (together.centre_correlation > 0.95).all()
    assert (together.n_removed == 1).all()
    for measure in ("capacity", "radius", "dimension"):
        np.testing.assert_allclose(together[measure].mean(), apart[measure].mean(), rtol=0.1)


# --- properties -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 7.3 * x,
        lambda x: x + np.arange(x.shape[1]),
        lambda x: x @ np.linalg.qr(np.random.default_rng(1).normal(size=(x.shape[1],) * 2))[0],
        lambda x: np.column_stack([x, np.zeros((len(x), 3))]),
    ],
    ids=["scale", "shift", "rotation", "silent features"],
)
def test_scale_shift_rotation_and_silent_features_change_nothing(change: Callable) -> None:
    x, y = clouds()
    before, after = manifold_geometry(x, y, n_samples=50), manifold_geometry(change(x), y, n_samples=50)
    pd.testing.assert_frame_equal(before.drop(columns="centre_norm"), after.drop(columns="centre_norm"), rtol=1e-6)


def rotated(x: np.ndarray, seed: int) -> np.ndarray:
    return x @ np.linalg.qr(np.random.default_rng(seed).normal(size=(x.shape[1],) * 2))[0]


@pytest.mark.parametrize("off_the_line", [0.0, 1e-9])
@pytest.mark.parametrize("n", [2, 3, 4, 6])
@pytest.mark.parametrize("seed", range(6))
def test_centres_on_one_line_keep_it_however_they_are_turned(n: int, seed: int, off_the_line: float) -> None:
    """Without the line nothing would be left of them: radii of 1e15, by the last bit of a cosine."""
    rng = np.random.default_rng(seed)
    shape = rng.normal(size=(10, 40))
    places = rng.normal(size=n)[:, None] * rng.normal(size=40) + off_the_line * rng.normal(size=(n, 40))
    x, y = np.concatenate([shape + place for place in places]), np.repeat(np.arange(n), 10)
    found, turned = (manifold_geometry(part, y, n_samples=8) for part in (x, rotated(x, seed)))
    pd.testing.assert_frame_equal(found, turned, rtol=1e-6)
    assert (found.n_removed == 0).all()
    own = [np.linalg.norm(x[y == k].mean(axis=0) - x.mean(axis=0)) for k in range(n)]
    np.testing.assert_allclose(found.centre_norm, own)
    np.testing.assert_allclose(found.centre_correlation, 1)


@pytest.mark.parametrize("seed", range(6))
def test_two_classes_of_samples_keep_what_tells_them_apart(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(80, 100))
    x[40:, 0] += 3
    y = np.repeat([0, 1], 40)
    found, turned = (manifold_geometry(part, y, n_samples=8) for part in (x, rotated(x, seed)))
    pd.testing.assert_frame_equal(found, turned, rtol=1e-6)
    assert found.radius.between(0.5, 3).all()


@pytest.mark.parametrize("features", [30, 6], ids=["wide", "fewer features than points"])
def test_images_given_twice_and_flat_clouds_can_be_turned_too(features: int) -> None:
    x, y = clouds(d=features)
    x[[1, 5, 6]] = x[0]
    x[y == 1, 2:] = x[12, 2:]  # a cloud in a plane
    found, turned = (manifold_geometry(part, y, n_samples=20) for part in (x, rotated(x, 3)))
    pd.testing.assert_frame_equal(found, turned, rtol=1e-6)


def test_capacity_falls_as_the_radius_grows() -> None:
    shape = np.random.default_rng(0).normal(size=(15, 10))
    shape -= shape.mean(axis=0)
    found = [manifold_geometry(*planted(shape, radius), n_samples=100) for radius in (0.03, 0.1, 0.3, 1.0)]
    capacities = [table.capacity.mean() for table in found]
    assert capacities == sorted(capacities, reverse=True)
    assert all(2 / 15 * 0.8 < capacity < 2 * 1.2 for capacity in capacities)
    assert [table.radius.mean() for table in found] == sorted(table.radius.mean() for table in found)


def test_the_same_seed_gives_the_same_table_and_labels_may_be_words() -> None:
    x, y = clouds()
    words = np.array(["ant", "bee", "cat", "dog"])[y]
    first, second = (manifold_geometry(x, words, n_samples=20, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert list(first.label) == ["ant", "bee", "cat", "dog"]
    assert not first.capacity.equals(manifold_geometry(x, words, n_samples=20, seed=4).capacity)


def test_draws_are_balanced_and_their_mean_has_an_interval() -> None:
    x, y = clouds()
    table = repeated_geometry(x, y, n_points=4, n_samples=20, n_draws=3).assign(condition="TO")
    assert len(table) == 3 * 4
    assert (table.n_points == 4).all()
    assert (table.n_images == 12).all()
    summary = summarise(table, by=("condition",)).set_index("measure")
    assert list(summary.index) == list(MEASURES)
    per_draw = [1 / np.mean(1 / part.capacity) for _, part in table.groupby("draw")]
    spread = np.std(per_draw, ddof=1) * np.sqrt(4 / 8 + 1 / 3)  # of images, and of the draws
    low, high = stats.t.interval(0.95, 2, np.mean(per_draw), spread)
    assert summary.loc["capacity", ["value", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [np.mean(per_draw), low, high]
    )
    assert summary.loc["radius", "value"] == pytest.approx(table.radius.mean())
    assert (summary.n_draws == 3).all()


def test_the_interval_holds_for_other_images() -> None:
    """Draws share images: their own standard error is that of the estimator, and too small."""
    rng, centres = np.random.default_rng(0), np.random.default_rng(1).normal(size=(3, 8))
    y = np.repeat(np.arange(3), 24)

    def images() -> np.ndarray:
        return centres[y] + 0.6 * rng.normal(size=(72, 8)) * np.linspace(0.3, 1.7, 8)

    n = {"n_points": 12, "n_samples": 50}
    fresh = [repeated_geometry(images(), y, n_draws=1, **n)[["radius", "dimension"]].mean() for _ in range(50)]
    truth = pd.DataFrame(fresh).mean()
    studies = [summarise(repeated_geometry(images(), y, **n).assign(of=k), by="of") for k in range(40)]
    found = pd.concat(studies).set_index("measure").loc[truth.index]
    expected = truth.loc[found.index]
    covered = ((found.ci_low <= expected) & (found.ci_high >= expected)).groupby(level=0).mean()
    assert covered.between(0.85, 1).all(), covered


# --- separability ---------------------------------------------------------------------------------------------


def best_of(train: np.ndarray, x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> Any:
    """The classifier of the training rows whose C does best over their own folds."""
    made = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)) for c in PENALTIES]
    inner = PredefinedSplit(fold[train])
    scores = [np.mean(cross_val_score(classifier, x[train], y[train], cv=inner)) for classifier in made]
    return made[int(np.argmax(scores))].fit(x[train], y[train])


def test_separability_is_scikit_learns_nested_held_out_accuracy() -> None:
    x, y = clouds(spread=2.5)
    fold = np.empty(len(y), dtype=int)
    outer = StratifiedGroupKFold(5, shuffle=True, random_state=2).split(x, y, np.arange(len(y)))
    for k, (_, held_out) in enumerate(outer):
        assert np.ptp(np.bincount(y[held_out])) <= 1, "stratified"
        fold[held_out] = k
    right = [best_of(fold != k, x, y, fold).predict(x[fold == k]) == y[fold == k] for k in range(5)]
    found = separability(x, y, seed=2)
    assert found["value"] == pytest.approx(np.concatenate(right).mean())
    assert found["ci_low"] < found["value"] < found["ci_high"]


def scanned(snr: float, n_runs: int = 6, n_features: int = 60, seed: int = 0) -> Any:
    """Blocks of five volumes, one for each class and run, that share noise, much of it in few directions."""
    rng = np.random.default_rng(seed)
    patterns, directions = snr * rng.normal(size=(4, n_features)), rng.normal(size=(8, n_features))
    blocks = [
        patterns + rng.normal(size=(4, 8)) @ directions + 0.5 * rng.normal(size=(4, n_features)) for _ in range(n_runs)
    ]
    x = np.repeat(np.array(blocks), 5, axis=1) + 0.5 * rng.normal(size=(n_runs, 20, n_features))
    return stats.zscore(x, axis=1).reshape(-1, n_features), np.tile(np.repeat(np.arange(4), 5), n_runs)


def test_a_weak_penalty_is_found_where_noise_is_shared_and_a_strong_one_where_it_is_not() -> None:
    x, y = scanned(0.6)
    runs = np.repeat(np.arange(6), 20)
    fixed = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=1000))
    by_run = GroupKFold(6)
    strong = cross_val_score(fixed, x, y, groups=runs, cv=by_run).mean()
    weak = cross_val_score(fixed.set_params(logisticregression__C=1), x, y, groups=runs, cv=by_run).mean()
    assert weak > strong + 0.05
    assert separability(x, y, runs=runs)["value"] > strong + 0.05


def test_a_run_is_held_out_as_a_whole() -> None:
    """Without any class pattern, volumes of one block still tell each other: not those of another run."""
    x, y = scanned(0.0)
    runs = np.repeat([f"run {k}" for k in range(6)], 20)
    apart, together = separability(x, y), separability(x, y, runs=runs)
    assert apart["value"] > 0.9
    assert together["ci_low"] < 0.25 < together["ci_high"] + 0.05
    assert together["ci_high"] - together["ci_low"] > 3 * (apart["ci_high"] - apart["ci_low"])


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (np.repeat(np.arange(4), 12), "too few images or runs"),
        (np.arange(48) // 12, "too few images or runs"),
        (np.arange(47), "do not fit"),
        (np.where(np.arange(48) == 3, np.nan, np.arange(48) % 6), "1 of 48 are missing"),
    ],
)
def test_runs_that_do_not_fit_are_refused(runs: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        separability(*clouds(), runs=runs)


def test_far_clouds_are_separable_and_labels_at_random_are_not() -> None:
    x, y = clouds(spread=0.1)
    assert separability(x, y)["value"] == 1
    shuffled = separability(x, np.random.default_rng(0).permutation(y))
    assert shuffled["ci_low"] < 0.25 < shuffled["ci_high"] + 0.1


# --- correlation with the gain --------------------------------------------------------------------------------


def gains(n: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"measure": "radius", "value": rng.normal(size=n), "gain": rng.normal(size=n)})


def test_the_correlation_is_spearmans_and_its_p_exact() -> None:
    from itertools import permutations

    table = gains()
    (row,) = correlate_with_gain(table).to_dict("records")
    assert row["rho"] == pytest.approx(stats.spearmanr(table.value, table.gain).statistic)
    null = [stats.spearmanr(order, table.gain).statistic for order in permutations(table.value)]
    assert row["p"] == pytest.approx(np.mean(np.abs(null) >= abs(row["rho"]) - 1e-9))
    assert row["ci_low"] < row["rho"] < row["ci_high"]
    assert row["n"] == 6


def test_measures_are_corrected_for_each_other() -> None:
    rising = pd.DataFrame({"measure": "capacity", "value": np.arange(6.0), "gain": np.arange(6.0) ** 3})
    table = correlate_with_gain(pd.concat([rising, gains()])).set_index("measure")
    assert table.rho["capacity"] == 1
    assert table.p["capacity"] == pytest.approx(2 / 720)
    assert table.p_holm["capacity"] == pytest.approx(4 / 720)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(60, 6, 2))
    parts = [pd.DataFrame(pair, columns=["value", "gain"]).assign(measure=i) for i, pair in enumerate(pairs)]
    found = correlate_with_gain(pd.concat(parts))
    assert np.mean((found.ci_low < 0) & (found.ci_high > 0)) > 0.85
    assert np.mean(found.p < 0.05) < 0.15


# --- bad input ------------------------------------------------------------------------------------------------


def spoiled(what: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = clouds()
    if what == "NaN":
        x[3, 2] = np.nan
    elif what == "one class":
        y[:] = 0
    elif what == "one image":
        y = np.r_[y[:-1], 9]
    elif what == "constant":
        x[y == 1] = 0.5
    elif what == "no centre":
        x = np.concatenate([x[y == 0]] * 2)
        y = np.repeat([0, 1], len(x) // 2)
    elif what == "lengths":
        y = y[:-1]
    return x, y


@pytest.mark.parametrize("function", [manifold_geometry, separability])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("NaN", "not finite"),
        ("one class", "1 class alone"),
        ("one image", "1 classes of one image"),
        ("constant", "1 classes of .* constant features: 1"),
        ("lengths", "do not fit"),
    ],
)
def test_bad_input_never_yields_a_number(function: Callable, what: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(*spoiled(what))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("names", [[0.0, 1, 2, 3], ["ant", "bee", "cat", "dog"]], ids=["numbers", "words"])
@pytest.mark.parametrize("function", [manifold_geometry, separability])
def test_a_missing_label_is_no_class(function: Callable, names: list, missing: object) -> None:
    x, y = clouds()
    labels = [names[k] for k in y]
    labels[3] = missing
    for given in (labels, pd.Series(labels), np.array(labels, dtype=object)):
        with pytest.raises(InputError, match="1 of 48 are missing"):
            function(x, given)


def test_what_has_no_radius_no_draws_or_no_interval() -> None:
    x, y = clouds()
    with pytest.raises(InputError, match="centre lies at the mean"):
        manifold_geometry(*spoiled("no centre"))
    with pytest.raises(InputError, match="no vector T"):
        manifold_geometry(x, y, n_samples=0)
    for bad in ({"n_points": 7}, {"n_points": 1}, {"n_points": 5, "n_draws": 0}):
        with pytest.raises(InputError, match="cannot be made"):
            repeated_geometry(x, y, **bad)
    one = repeated_geometry(x, y, n_points=5, n_samples=5, n_draws=1).assign(condition="TO")
    with pytest.raises(InputError, match="no interval"):
        summarise(one, by=("condition",))
    with pytest.raises(InputError, match="not a table of manifolds"):
        summarise(one.drop(columns="radius"), by=("condition",))
    with pytest.raises(InputError, match="too few images"):
        separability(x[::3], y[::3])


@pytest.mark.parametrize(
    "bad",
    [
        gains().drop(columns="gain"),
        gains(3),
        gains().assign(value=1.0),
        gains().assign(gain=np.nan),
        gains().iloc[:0],
    ],
    ids=["no gain", "three networks", "constant", "NaN", "empty"],
)
def test_no_correlation_of_too_little(bad: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="cannot be correlated"):
        correlate_with_gain(bad)
