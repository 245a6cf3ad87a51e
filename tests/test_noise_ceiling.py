"""The noise ceiling against planted truth, a plain loop, and the properties it must have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nbtools.errors import InputError
from nbtools.metrics.noise_ceiling import ncsnr, noise_ceiling, voxel_ceilings


def simulate(signal_share: np.ndarray, n_images: int, repeats: np.ndarray | int, seed: int = 0):
    """Voxels whose signal takes a known share of a variance of 1, in scrambled order."""
    rng = np.random.default_rng(seed)
    image_ids = rng.permutation(np.repeat(rng.permutation(73_000)[:n_images], repeats))
    _, image = np.unique(image_ids, return_inverse=True)
    signal = rng.normal(size=(n_images, len(signal_share)))[image] * np.sqrt(signal_share)
    noise = rng.normal(size=signal.shape) * np.sqrt(1 - signal_share)
    return signal + noise, image_ids


def plain_ncsnr(responses: np.ndarray, image_ids: np.ndarray, n_repeats: int) -> list[float]:
    """The formula, one voxel and one image at a time."""
    result = []
    for voxel in responses.T:
        variances = []
        for image in set(image_ids.tolist()):
            trials = [y for y, i in zip(voxel, image_ids, strict=True) if i == image]
            if len(trials) == n_repeats:
                mean = sum(trials) / n_repeats
                variances.append(sum((y - mean) ** 2 for y in trials) / (n_repeats - 1))
        noise = np.sqrt(sum(variances) / len(variances))
        result.append(np.sqrt(max(1 - noise**2, 0)) / noise)
    return result


def test_planted_ceiling_is_recovered() -> None:
    share = np.linspace(0.02, 0.8, 300)
    responses, image_ids = simulate(share, n_images=900, repeats=3)
    truth = 100 * share / (share + (1 - share) / 3)
    found = noise_ceiling(ncsnr(responses, image_ids))
    assert abs(found.mean() - truth.mean()) < 2
    assert np.abs(found - truth).mean() < 4


def test_planted_ceiling_is_the_variance_the_best_model_explains() -> None:
    """What the ceiling means: the squared correlation of the true signal with the mean over repeats."""
    share = np.full(200, 0.3)
    responses, image_ids = simulate(share, n_images=2000, repeats=3, seed=1)
    order = np.argsort(image_ids, kind="stable")
    mean = responses[order].reshape(2000, 3, -1).mean(1)
    # The signal was drawn over sorted ids, so it stands in the order of the means.
    rng = np.random.default_rng(1)
    rng.permutation(np.repeat(rng.permutation(73_000)[:2000], 3))
    signal = rng.normal(size=(2000, 200))
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(signal.T, mean.T, strict=True)]
    assert abs(100 * np.mean(np.square(r)) - noise_ceiling(ncsnr(responses, image_ids)).mean()) < 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), n_repeats=st.integers(2, 3))
def test_equals_a_plain_loop(seed: int, n_repeats: int) -> None:
    repeats = np.random.default_rng(seed).permutation(np.repeat([1, 2, 3], 8))
    responses, image_ids = simulate(np.array([0.1, 0.5, 0.9]), 24, repeats, seed)
    expected = plain_ncsnr(responses, image_ids, n_repeats)
    np.testing.assert_allclose(ncsnr(responses, image_ids, n_repeats=n_repeats), expected, rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_trials_and_names_of_images_do_not_matter(seed: int) -> None:
    responses, image_ids = simulate(np.array([0.3, 0.6]), 40, 3, seed)
    shuffled = np.random.default_rng(seed).permutation(len(image_ids))
    np.testing.assert_allclose(
        ncsnr(responses[shuffled], 72_999 - image_ids[shuffled]), ncsnr(responses, image_ids), rtol=1e-9
    )


def test_images_with_other_repeats_are_left_out() -> None:
    responses, image_ids = simulate(np.array([0.5]), 60, np.repeat([1, 2, 3], 20))
    wanted = np.isin(image_ids, [i for i, n in zip(*np.unique(image_ids, return_counts=True)) if n == 3])  # noqa: B905
    changed = np.where(wanted[:, None], responses, responses[::-1] * 1.1)
    np.testing.assert_array_equal(ncsnr(changed, image_ids), ncsnr(responses, image_ids))


def test_unequal_repeats_follow_the_manual() -> None:
    snr = np.array([0.2, 1.0, 3.0])
    a, b, c = 5, 3, 2
    k = (a / 3 + b / 2 + c / 1) / (a + b + c)
    found = noise_ceiling(snr, np.repeat([3, 2, 1], [a, b, c]))
    np.testing.assert_allclose(found, 100 * snr**2 / (snr**2 + k))
    np.testing.assert_allclose(noise_ceiling(snr, np.full(9, 3)), noise_ceiling(snr))


def test_ends_of_the_scale() -> None:
    same = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 3, axis=0)
    responses = np.hstack([same / same.std(), simulate(np.array([0.0]), 50, 3)[0]])
    snr = ncsnr(responses, np.repeat(np.arange(50), 3))
    assert snr[0] > 1e6  # infinite but for rounding
    np.testing.assert_array_equal(noise_ceiling(np.array([0.0, np.inf])), [0, 100])


@given(snr=st.floats(0, 50), n=st.integers(1, 10))
def test_more_signal_and_more_repeats_raise_the_ceiling(snr: float, n: int) -> None:
    here = noise_ceiling(np.array([snr]), n)
    assert 0 <= here <= 100
    assert noise_ceiling(np.array([snr + 0.1]), n) > here
    assert noise_ceiling(np.array([snr]), n + 1) >= here


GOOD, IDS = simulate(np.array([0.3, 0.5]), 30, 3)


@pytest.mark.parametrize(
    ("responses", "image_ids", "n_repeats", "says"),
    [
        (GOOD, IDS, 4, "no image has 4 repeats"),
        (GOOD, np.arange(90), 3, "no image has 3 repeats"),
        (GOOD, np.arange(90), 1, "no image has 1 repeats"),
        (np.where(np.arange(180).reshape(90, 2) == 8, np.nan, GOOD), IDS, 3, "1 of 2 voxels"),
        (GOOD * [1, 0] + [0, 0.1], IDS, 3, "1 of 2 voxels"),
        (GOOD * 4, IDS, 3, "not z-scored"),
        (GOOD[:, 0], IDS, 3, "do not fit"),
        (GOOD[:-1], IDS, 3, "do not fit"),
        (GOOD[:, :0], IDS, 3, "do not fit"),
    ],
)
def test_bad_responses(responses: np.ndarray, image_ids: np.ndarray, n_repeats: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ncsnr(responses, image_ids, n_repeats=n_repeats)


@pytest.mark.parametrize(("snr", "n"), [([np.nan], 3), ([-0.1], 3), ([1.0], 0), ([1.0], [3, 0]), ([1.0], [])])
def test_bad_ratios(snr: list[float], n: object) -> None:
    with pytest.raises(InputError, match="no noise ceiling"):
        noise_ceiling(np.array(snr), n)  # type: ignore[arg-type]


def test_images_shown_once_have_no_ceiling() -> None:
    table = voxel_ceilings(GOOD[:, :2], np.arange(len(GOOD)), noise_ceiling=3, n1=1)
    assert table["voxel"].tolist() == [0, 1]
    assert table[["noise_ceiling", "n1"]].isna().all(axis=None)
    with pytest.raises(InputError, match="do not fit"):
        voxel_ceilings(GOOD, np.arange(3), n1=1)
