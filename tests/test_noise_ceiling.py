"""The noise ceiling against planted truth, a plain loop, and the properties it must have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nbtools.errors import InputError
from nbtools.metrics.brain.noise_ceiling import ncsnr, noise_ceiling, voxel_ceilings


def simulate(signal_share: np.ndarray, n_images: int, repeats: np.ndarray | int, seed: int = 0):
    """Voxels whose signal takes a known share of a variance of 1, in scrambled order."""
    rng = np.random.default_rng(seed)
    image_ids = rng.permutation(np.repeat(rng.permutation(73_000)[:n_images], repeats))
    _, image = np.unique(image_ids, return_inverse=True)
    signal = rng.normal(size=(n_images, len(signal_share)))[image] * np.sqrt(signal_share)
    noise = rng.normal(size=signal.shape) * np.sqrt(1 - signal_share)
    return signal + noise, image_ids


def plain_ncsnr(responses: np.ndarray, image_ids: np.ndarray) -> list[float]:
    """The formula, one voxel and one image at a time."""
    result = []
    for voxel in responses.T:
        squares, degrees = 0.0, 0
        for image in set(image_ids.tolist()):
            trials = [y for y, i in zip(voxel, image_ids, strict=True) if i == image]
            mean = sum(trials) / len(trials)
            squares += sum((y - mean) ** 2 for y in trials)
            degrees += len(trials) - 1
        noise = np.sqrt(squares / degrees)
        result.append(np.sqrt(max(1 - noise**2, 0)) / noise)
    return result


def z_scored(responses: np.ndarray) -> np.ndarray:
    return (responses - responses.mean(axis=0)) / responses.std(axis=0)


# How often each image is shown: all alike, one image too often, monkeys' test images and the rest, any mix.
COUNTS = {
    "3": np.full(900, 3),
    "4 and 3": np.r_[4, np.full(199, 3)],
    "30 and 1": np.r_[np.full(60, 30), np.ones(400, int)],
    "12 and 11": np.r_[np.full(150, 12), np.full(50, 11)],
    "mixed": np.arange(1, 600) % 5 + 1,
    "2 and 1": np.r_[np.full(1200, 2), np.ones(300, int)],
}


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


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_planted_ceilings_are_recovered_however_often_images_were_shown(counts: np.ndarray) -> None:
    share = np.linspace(0.05, 0.8, 150)
    responses, image_ids = simulate(share, len(counts), counts, seed=2)
    truth = 100 * share / (share + (1 - share) / 3)
    error = noise_ceiling(ncsnr(z_scored(responses), image_ids)) - truth
    assert abs(error.mean()) < 4
    assert np.abs(error).mean() < 7


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_pure_noise_passes_no_ceiling(counts: np.ndarray) -> None:
    responses, image_ids = simulate(np.zeros(150), len(counts), counts, seed=3)
    found = noise_ceiling(ncsnr(z_scored(responses), image_ids))
    assert not (found >= 30).any(), "where one image of four trials decides, half of them pass"


@pytest.mark.parametrize("n_repeats", [2, 3, 10])
def test_equal_repeats_give_the_mean_of_the_images_variances(n_repeats: int) -> None:
    responses, image_ids = simulate(np.array([0.1, 0.5, 0.9]), 40, n_repeats)
    noise = np.mean([responses[image_ids == i].var(axis=0, ddof=1) for i in np.unique(image_ids)], axis=0)
    expected = np.sqrt(np.maximum(1 - noise, 0) / noise)
    np.testing.assert_allclose(ncsnr(responses, image_ids), expected, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), most=st.integers(2, 6))
def test_equals_a_plain_loop(seed: int, most: int) -> None:
    repeats = np.random.default_rng(seed).integers(1, most + 1, 24)
    responses, image_ids = simulate(np.array([0.1, 0.5, 0.9]), 24, np.r_[repeats[:-1], most], seed)
    np.testing.assert_allclose(ncsnr(responses, image_ids), plain_ncsnr(responses, image_ids), rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_trials_and_names_of_images_do_not_matter(seed: int) -> None:
    responses, image_ids = simulate(np.array([0.3, 0.6]), 40, 3, seed)
    shuffled = np.random.default_rng(seed).permutation(len(image_ids))
    np.testing.assert_allclose(
        ncsnr(responses[shuffled], 72_999 - image_ids[shuffled]), ncsnr(responses, image_ids), rtol=1e-9
    )


def test_images_shown_once_have_no_part_in_it() -> None:
    responses, image_ids = simulate(np.array([0.5]), 60, np.repeat([1, 2, 3], 20))
    _, image, counts = np.unique(image_ids, return_inverse=True, return_counts=True)
    changed = np.where(counts[image][:, None] > 1, responses, responses[::-1] * 1.1)
    np.testing.assert_allclose(ncsnr(changed, image_ids), ncsnr(responses, image_ids), rtol=1e-12)


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
    ("responses", "image_ids", "says"),
    [
        (GOOD, np.arange(90), "no image was shown twice"),
        (np.where(np.arange(180).reshape(90, 2) == 8, np.nan, GOOD), IDS, "1 of 2 voxels"),
        (GOOD * [1, 0] + [0, 0.1], IDS, "1 of 2 voxels"),
        (GOOD * 4, IDS, "not z-scored"),
        (GOOD[:, 0], IDS, "do not fit"),
        (GOOD[:-1], IDS, "do not fit"),
        (GOOD[:, :0], IDS, "do not fit"),
    ],
)
def test_bad_responses(responses: np.ndarray, image_ids: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        ncsnr(responses, image_ids)


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
