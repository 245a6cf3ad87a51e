"""Intervals and the trend test: planted trends, null p-values, brute force, SciPy."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats as scipy_stats

from nbtools.conditions import HIERARCHY
from nbtools.errors import InputError
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import (
    TrendTest,
    bootstrap_ci,
    ci,
    describe,
    holm,
    percentile_interval,
    ratio,
    resampled_means,
    trend_over_images,
    trend_test,
)


def named(values):
    return dict(zip(HIERARCHY, values, strict=False))


def correct(accuracies, n_images=300, n_seeds=3, seed=0):
    rng = np.random.default_rng(seed)
    easy = rng.random((1, n_images, n_seeds))
    return (easy < np.asarray(accuracies)[:, None, None]).astype(float)


# Bootstrap


def test_interval_agrees_with_scipys():
    values = np.random.default_rng(0).exponential(size=60)
    reference = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(bootstrap_ci(values, n_boot=4000), [reference.low, reference.high], atol=0.02)


def test_interval_of_another_statistic_per_column():
    values = np.random.default_rng(0).normal([0, 5, 10], size=(80, 3))
    low, high = bootstrap_ci(values, np.median)
    assert low.shape == (3,)
    assert (low < np.median(values, axis=0)).all()
    assert (np.median(values, axis=0) < high).all()


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [np.prod(bootstrap_ci(rng.normal(size=50), n_boot=400)) < 0 for _ in range(300)]
    assert np.mean(covered) == pytest.approx(0.94, abs=0.04)


def test_resampling_in_pieces_keeps_rows_whole():
    values = np.random.default_rng(0).normal(size=(3000, 2))
    values[:, 1] = -values[:, 0]
    (low_a, low_b), (high_a, high_b) = bootstrap_ci(values, n_boot=1500)
    assert (low_a, high_a) == pytest.approx((-high_b, -low_b))


def test_resampled_means_hold_variance_of_images_and_of_seeds():
    rng = np.random.default_rng(0)
    images, seeds = rng.normal(size=(200, 1, 1)), 0.5 * rng.normal(size=(1, 20, 1))
    spread = resampled_means(images + seeds, n_boot=4000).std()
    assert spread == pytest.approx(np.sqrt(images.var() / 200 + seeds.var() / 20), rel=0.05)


def test_resampled_means_hold_variance_of_subjects():
    rng = np.random.default_rng(0)
    images, subjects = rng.normal(size=(200, 1, 1, 1)), 0.5 * rng.normal(size=(1, 8, 1, 1))
    spread = resampled_means(np.repeat(images + subjects, 2, axis=2), n_boot=4000).std()
    assert spread == pytest.approx(np.sqrt(images.var() / 200 + subjects.var() / 8), rel=0.05)


def test_holm_adjusts_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.04, 0.6, 0.9]) == pytest.approx([0.12, 1, 1])
    assert holm(0.2) == pytest.approx([0.2])


def test_holm_holds_the_error_rate_of_the_family():
    p = np.random.default_rng(0).random((4000, 10))
    assert np.mean([holm(row).min() <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("p", [[], [0.5, 1.2], [np.nan], [-0.1], [[0.1]]])
def test_holm_takes_p_values_only(p):
    with pytest.raises(InputError, match="p-values"):
        holm(p)


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], np.zeros((2, 2, 2)), []])
def test_what_cannot_be_resampled_is_refused(values):
    with pytest.raises(InputError):
        bootstrap_ci(values)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_fraction(level):
    with pytest.raises(InputError, match=r"0\.95"):
        percentile_interval(np.arange(5.0), level)


def test_a_resample_without_a_score_is_left_out():
    draws = ratio(np.array([1.0, 2.0, 0.0, 4.0]), np.array([2.0, 2.0, 0.0, 2.0]))
    np.testing.assert_array_equal(draws, [0.5, 1, np.nan, 2])
    assert ci(percentile_interval(draws, 0.5)) == {"ci_low": 0.75, "ci_high": 1.5}
    columns = percentile_interval(np.stack([draws, np.full(4, np.nan), np.arange(4.0)], axis=1), 0.5)
    np.testing.assert_allclose(columns, [[0.75, np.nan, 0.75], [1.5, np.nan, 2.25]])
    assert np.isnan(list(ci(percentile_interval(draws[2:3])).values())).all()


def test_an_interval_of_any_statistic_leaves_missing_draws_out():
    """The ratio of two sums does not exist in the one resample of 27 without a 1 below the line."""
    pairs = np.array([[1.0, 1.0], [2.0, 0.0], [3.0, 0.0]])
    low, high = bootstrap_ci(pairs, lambda x, axis: ratio(x[..., 0].sum(axis), x[..., 1].sum(axis)), n_boot=500)
    assert 1 <= low < high <= 7


def test_groups_come_in_their_order_and_without_columns_as_one():
    table = pd.DataFrame({"condition": ["TO", "V1", "TO"], "seed": [1, 0, 1], "score": [1, 2, 3]})
    found = [(named, group["score"].tolist()) for named, group in groups_of(table, ("condition", "seed"))]
    assert found == [({"condition": "TO", "seed": 1}, [1, 3]), ({"condition": "V1", "seed": 0}, [2])]
    ((named, group),) = groups_of(table, ())
    assert (named, len(group)) == ({}, 3)


# Trend


def test_p_values_are_those_of_brute_force_on_four_regions():
    scores = [0.3, 0.1, 0.4, 0.35]
    rhos = [scipy_stats.spearmanr(range(4), order).statistic for order in permutations(scores)]
    observed = scipy_stats.spearmanr(range(4), scores).statistic
    test = trend_test(named(scores))
    assert test.regions == ("V1", "V2", "V4", "VO")
    assert test.rho == pytest.approx(observed)
    assert test.p_greater == pytest.approx(np.mean(np.array(rhos) > observed - 1e-9))
    assert test.p_two_sided == pytest.approx(np.mean(np.abs(rhos) > abs(observed) - 1e-9))


def test_p_values_are_those_of_scipys_exact_permutation_test():
    scores = [0.2, 0.5, 0.1, 0.5, 0.3, 0.7, 0.6]  # with a tie
    ranks = np.arange(7)
    reference = scipy_stats.permutation_test(
        (scores,),
        lambda x: scipy_stats.spearmanr(x, ranks).statistic,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=np.inf,
    )
    test = trend_test(named(scores))
    assert (test.rho, test.p_greater) == pytest.approx((reference.statistic, reference.pvalue))


def test_perfect_trends_have_the_least_p():
    rising, falling = trend_test(named(range(7))), trend_test(named(range(7, 0, -1)))
    assert (rising.rho, rising.p_greater, rising.p_two_sided) == pytest.approx((1, 1 / 5040, 2 / 5040))
    assert (falling.rho, falling.p_greater, falling.p_two_sided) == pytest.approx((-1, 1, 2 / 5040))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=5, max_size=6, unique=True))
def test_reversing_scores_reverses_rho_and_keeps_the_two_sided_p(scores):
    one, other = trend_test(named(scores)), trend_test(named([-s for s in scores]))
    assert one.rho == pytest.approx(-other.rho)
    assert one.p_two_sided == pytest.approx(other.p_two_sided)
    assert one.p_greater + other.p_greater >= 1  # both count the observed order


@pytest.mark.slow
def test_p_values_are_uniform_where_there_is_no_trend():
    rng = np.random.default_rng(0)
    p = np.array([trend_test(named(rng.random(7))).p_greater for _ in range(1000)])
    assert np.mean(p <= 0.05) == pytest.approx(0.044, abs=0.02)  # the exact share of 5040 orders at p <= 0.05
    assert scipy_stats.kstest(p, "uniform").pvalue > 0.01


def test_equal_scores_are_no_trend():
    test = trend_test(named([0.0] * 7))
    assert (test.rho, test.p_greater, test.p_two_sided) == (0, 1, 1)
    assert "no trend" in describe(test)


def test_order_is_the_hierarchys_not_the_tables():
    scores = pd.Series({"TO": 0.9, "none": 0.1, "V4": 0.5, "V1": 0.2})
    test = trend_test(scores)
    assert test.regions == ("V1", "V4", "TO")
    assert test.rho == pytest.approx(1)


@pytest.mark.parametrize("scores", [{}, {"V1": 0.1, "V2": 0.2}, {"V1": 0.1, "V2": np.nan, "V4": 0.3}])
def test_too_few_or_missing_scores_are_refused(scores):
    with pytest.raises(InputError):
        trend_test(scores)


# Trend over images and seeds


def test_planted_hierarchy_is_found():
    test = trend_over_images(correct(np.linspace(0.2, 0.8, 7)))
    assert test.rho == pytest.approx(1)
    assert test.p_greater == pytest.approx(1 / 5040)
    assert 0.9 < test.ci_low <= test.ci_high <= 1
    assert test.p_page < 0.001
    assert (test.n_images, test.n_seeds) == (300, 3)
    assert "rise along the hierarchy" in describe(test)


def test_page_is_scipys_with_seeds_as_blocks():
    data = np.random.default_rng(0).random((7, 50, 4))
    reference = scipy_stats.page_trend_test(data.mean(axis=1).T)
    assert trend_over_images(data).p_page == pytest.approx(reference.pvalue)


def test_subjects_are_pages_blocks_where_there_are_several():
    data = np.random.default_rng(0).random((7, 50, 4, 3))
    test = trend_over_images(data)
    assert test.p_page == pytest.approx(scipy_stats.page_trend_test(data.mean(axis=(1, 3)).T).pvalue)
    assert (test.n_images, test.n_subjects, test.n_seeds) == (50, 4, 3)
    assert "4 subjects, 3 seeds" in describe(test)
    assert "Page's test over subjects" in describe(test)


def test_one_seed_has_no_page_test_and_its_sentence_says_so():
    test = trend_over_images(correct(np.linspace(0.2, 0.8, 7), n_seeds=1)[..., 0])
    assert test.p_page is None
    assert "300 images, 1 seed)" in describe(test)


def test_noise_widens_the_interval():
    rng = np.random.default_rng(0)
    noisy = trend_over_images((rng.random((7, 100, 3)) < 0.5).astype(float))
    assert noisy.ci_high - noisy.ci_low > 0.5


@pytest.mark.parametrize("seed", [0, 20, 29, 80])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_interval_holds_the_rho_that_was_found(seed, sign):
    """Of 200 images, hardly rising scores may happen to rise without a fault, and most resamples do not."""
    chances = np.linspace(0.45, 0.55, 7)[::sign, None, None]
    found = trend_over_images(np.random.default_rng(seed).random((7, 200, 1)) < chances, n_boot=400)
    assert found.ci_low <= found.rho <= found.ci_high


def test_names_must_match_rows():
    with pytest.raises(InputError, match="rows"):
        trend_over_images(np.zeros((3, 10)), HIERARCHY)


# Words


def test_sentences_are_honest():
    flat = trend_over_images(correct([0.5, 0.48, 0.55, 0.45, 0.52, 0.5, 0.53]))
    assert "no significant trend" in describe(flat)
    assert "95 % CI" in describe(flat)
    assert "fall along" in describe(trend_test(named(range(7, 0, -1))))
    assert "too few" in describe(trend_test({"V1": 0.1, "V4": 0.2, "TO": 0.3}))
    assert "ρ = −1.00" in describe(trend_test(named(range(7, 0, -1))))


@pytest.mark.parametrize(
    ("low", "p", "told"), [(0.2, 0.071, True), (-0.1, 0.071, False), (0.2, 0.02, False), (None, 0.071, False)]
)
def test_an_interval_clear_of_zero_beside_a_large_p_is_explained(low, p, told):
    found = TrendTest(tuple(HIERARCHY), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.4), 0.63, p, 2 * p, low, 0.9, 300, 1, 1)
    assert ("the interval asks about other images" in describe(found)) == told
