"""A region measured worse: what is planted is known, and what a linear predictor loses by it."""

from __future__ import annotations

import numpy as np
import pytest

from nbtools.data import average_repeats, plant_noise, some_voxels
from nbtools.data.brains.responses import RoiTrials
from nbtools.errors import InputError

SHARED = np.arange(0, 400, 4)
LEVELS = (0.0, 0.5, 1.0, 2.0, 4.0)


def recorded(responses: np.ndarray, image_ids: np.ndarray, roi: str = "TO") -> RoiTrials:
    n, n_voxels = responses.shape
    voxels = np.arange(3 * n_voxels).reshape(-1, 3)
    ones = np.ones(n, np.int64)
    return RoiTrials(roi, responses.astype(np.float32), image_ids, ones, ones, voxels, voxels[:0])


def any_trials(roi: str = "TO", n_voxels: int = 20) -> RoiTrials:
    rng = np.random.default_rng(1)
    responses = rng.normal(size=(1200, n_voxels)) * np.linspace(0.1, 9, n_voxels) + 5
    return recorded(responses, rng.permutation(np.repeat(np.arange(400), 3)), roi)


def test_noise_has_the_size_asked_for_and_no_part_in_the_test_images() -> None:
    trials = any_trials()
    test = np.isin(trials.image_ids, SHARED)
    added = {level: plant_noise(trials, level, SHARED, 3).responses - trials.responses for level in LEVELS}
    assert plant_noise(trials, 0.0, SHARED, 3) is trials
    for level in LEVELS[1:]:
        assert not added[level][test].any()
        noise = added[level][~test] / trials.responses[~test].std(axis=0)
        assert noise.std(axis=0) == pytest.approx(level, rel=0.1)
        assert noise.mean() == pytest.approx(0, abs=0.02 * level)
        assert abs(np.corrcoef(noise.T)[np.triu_indices(20, 1)]).mean() < 0.05, "each voxel's own"
        np.testing.assert_allclose(added[level], level * added[1.0], rtol=1e-3, atol=1e-4)  # of one draw


def test_draws_go_by_region_and_seed_alone() -> None:
    trials, other = any_trials(), any_trials("V1")
    first, again = (plant_noise(trials, 1.0, SHARED, 3).responses for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for changed in (plant_noise(trials, 1.0, SHARED, 4), plant_noise(other, 1.0, SHARED, 3)):
        assert (
            abs(np.corrcoef((first - trials.responses).flat, (changed.responses - trials.responses).flat)[0, 1]) < 0.05
        )
    kept = {tuple(some_voxels(each, 0.5, seed).voxels[:, 0]) for each in (trials, other) for seed in (3, 4)}
    assert len(kept) == 4


def test_a_share_of_the_voxels_is_part_of_any_larger_one() -> None:
    trials = any_trials()
    whole, half, few = (some_voxels(trials, share, 3) for share in (1.0, 0.5, 0.1))
    assert whole is trials
    for larger, smaller, n in ((whole, half, 10), (half, few, 2)):
        places = [larger.voxels[:, 0].tolist().index(place) for place in smaller.voxels[:, 0]]
        assert places == sorted(set(places))
        assert len(places) == n
        np.testing.assert_array_equal(smaller.responses, larger.responses[:, places])
    for share in (0.0, 0.05, 1.5, np.nan):
        with pytest.raises(InputError, match="voxels cannot be"):
            some_voxels(trials, share, 3)
    for noise in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="noise cannot be"):
            plant_noise(trials, noise, SHARED, 3)


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_linear_predictor_loses_by_planted_noise_what_theory_says(repeats: int) -> None:
    """Least squares on planted linear data: r = r₀ / √(1 + κ noise²), as `plant_noise` derives it."""
    rng, n, p, n_voxels, sd = np.random.default_rng(0), 400, 40, 300, 0.8
    x, w = rng.normal(size=(n, p)), rng.normal(size=(p, n_voxels)) / np.sqrt(p)
    image_ids = np.repeat(np.arange(n), repeats)
    trials = recorded((x @ w)[image_ids] + sd * rng.normal(size=(len(image_ids), n_voxels)), image_ids)
    unseen, size, per = rng.normal(size=(1000, p)), (w**2).sum(axis=0), p / (n - len(SHARED) - p - 1)
    start = 1 / np.sqrt(1 + per * sd**2 / repeats / size)
    kappa = start**2 * per * (size + sd**2) / repeats / size
    found = []
    for level in LEVELS:
        known = average_repeats(plant_noise(trials, level, SHARED), SHARED)
        fitted = np.linalg.lstsq(x[~known.shared], known.responses[~known.shared], rcond=None)[0]
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip((unseen @ fitted).T, (unseen @ w).T, strict=True)]
        found.append(np.mean(r))
        assert found[-1] == pytest.approx(np.mean(start / np.sqrt(1 + kappa * level**2)), abs=0.01)
    assert sorted(found, reverse=True) == found
    assert found[-1] < 0.75 * found[0]
