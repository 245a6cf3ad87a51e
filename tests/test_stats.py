"""Intervals over images, and corrected p-values: coverage, SciPy, brute force."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nbtools.errors import InputError
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.stats import (
    bootstrap_ci,
    ci,
    holm,
    percentile_interval,
    ratio,
    resampled_means,
)

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


def test_resampled_means_hold_variance_of_images():
    images = np.random.default_rng(0).normal(size=(200, 1))
    assert resampled_means(images, n_boot=4000).std() == pytest.approx(images.std() / np.sqrt(200), rel=0.05)


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
