"""Prediction scores against SciPy, against planted truth, and on input that has no score."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy.stats import pearsonr

from nbtools.errors import InputError
from nbtools.metrics.brain.prediction import pattern_r, shuffled_pattern_r, voxel_r


def responses(n_images=40, n_dims=12, signal=0.5, seed=0):
    rng = np.random.default_rng(seed)
    measured = rng.normal(size=(n_images, n_dims))
    return signal * measured + np.sqrt(1 - signal**2) * rng.normal(size=measured.shape), measured


def test_pattern_r_is_scipys_pearson_of_each_image():
    predicted, measured = responses()
    expected = [pearsonr(p, m).statistic for p, m in zip(predicted, measured, strict=True)]
    np.testing.assert_allclose(pattern_r(predicted, measured), expected, atol=1e-12)


def test_voxel_r_is_scipys_pearson_of_each_voxel():
    predicted, measured = responses()
    expected = [pearsonr(p, m).statistic for p, m in zip(predicted.T, measured.T, strict=True)]
    np.testing.assert_allclose(voxel_r(predicted, measured), expected, atol=1e-12)


@pytest.mark.parametrize("signal", [0.0, 0.4, 0.9])
def test_planted_correlation_is_recovered(signal):
    predicted, measured = responses(n_images=4000, n_dims=50, signal=signal)
    assert pattern_r(predicted, measured).mean() == pytest.approx(signal, abs=0.01)
    assert voxel_r(predicted, measured).mean() == pytest.approx(signal, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_r_ignores_scale_and_shift(scale, shift):
    predicted, measured = responses()
    np.testing.assert_allclose(
        pattern_r(scale * predicted + shift, measured), pattern_r(predicted, measured), atol=1e-9
    )


def test_r_stays_in_its_range_and_reads_tensors():
    _, measured = responses()
    r = pattern_r(torch.tensor(measured, dtype=torch.float32), measured)
    assert r.max() <= 1
    np.testing.assert_allclose(r, 1, atol=1e-6)
    np.testing.assert_allclose(pattern_r(-measured, measured), -1, atol=1e-12)


def test_shuffled_null_is_centred_and_below_a_true_predictor():
    predicted, measured = responses(n_images=200, n_dims=30)
    null = shuffled_pattern_r(predicted, measured, n=300)
    assert null.shape == (300,)
    assert abs(null.mean()) < 4 / np.sqrt(200 * 30 * 300) + 0.01
    assert null.max() < pattern_r(predicted, measured).mean()


def test_shuffled_null_keeps_what_images_share():
    predicted, measured = responses(n_images=200, n_dims=30, signal=0.0)
    common = 3 * np.random.default_rng(1).normal(size=30)
    null = shuffled_pattern_r(predicted + common, measured + common, n=50)
    assert null.mean() == pytest.approx(pattern_r(predicted + common, measured + common).mean(), abs=0.01)


def test_shuffled_null_depends_on_its_seed_only():
    predicted, measured = responses()
    first = shuffled_pattern_r(predicted, measured, n=5, seed=1)
    np.testing.assert_array_equal(first, shuffled_pattern_r(predicted, measured, n=5, seed=1))
    assert (first != shuffled_pattern_r(predicted, measured, n=5, seed=2)).any()


def broken(kind):
    predicted, measured = responses()
    if kind == "other shape":
        return predicted[:, :-1], measured
    if kind == "one row":
        return predicted[0], measured[0]
    if kind == "nan":
        measured[3, 2] = np.nan
    if kind == "infinite":
        predicted[3, 2] = np.inf
    if kind == "constant image":
        predicted[5] = 0.3
    return predicted, measured


@pytest.mark.parametrize("kind", ["other shape", "one row", "nan", "infinite", "constant image"])
@pytest.mark.parametrize("score", [pattern_r, shuffled_pattern_r])
def test_no_score_is_made_up(score, kind):
    with pytest.raises(InputError, match="to do"):
        score(*broken(kind))


def test_constant_voxel_is_refused_even_with_float32_rounding():
    predicted, measured = responses()
    predicted = predicted.astype(np.float32)
    predicted[:, 4] = np.float32(0.1)
    predicted[::2, 4] += np.float32(1e-8)
    with pytest.raises(InputError, match="voxels 4"):
        voxel_r(predicted, measured)


def test_no_pairing_is_refused():
    with pytest.raises(InputError):
        shuffled_pattern_r(*responses(), n=0)
