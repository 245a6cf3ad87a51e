"""The simulated subject: voxels that mix feature blocks, their ceilings, and the betas of each session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nbtools.data.synthetic.anatomy import SHAPE, Anatomy
from nbtools.data.synthetic.features import Matrix
from nbtools.data.synthetic.recipe import (
    CEILING_RANGE,
    CEILING_SD,
    REPEATS,
    SUBJECTS,
    TRIALS_PER_SESSION,
    VOXELS,
    Region,
    Settings,
)

BETA_SCALE = 300  # NSD stores percent signal change times 300 as int16


@dataclass(frozen=True)
class RegionTruth:
    """What is planted in one region.

    Attributes
    ----------
    tuning : dict of str to (n_components, n_voxels) array
        Weights of each feature block.
    signal : (n_stimuli, n_voxels) float32 array
        Noise-free response to each stimulus, mean 0 and variance 1: the sum over blocks of features @ tuning.
    noise_ceiling : (n_voxels,) array
        Ceiling of the average of three repeats, as a fraction of variance.
    """

    tuning: dict[str, Matrix]
    signal: NDArray[np.float32]
    noise_ceiling: Matrix


@dataclass(frozen=True)
class Design:
    """Which image each trial showed, as the variables of ``nsd_expdesign.mat`` say it (1-based).

    Attributes
    ----------
    masterordering : (1, n_trials) array
        Image of each trial, an index into the subject's images.
    subjectim : (8, n_images) array
        Stimulus of each image of each subject.
    sharedix : (1, n_shared) array
        Stimuli that all subjects saw; they are each subject's first images.
    """

    masterordering: NDArray[np.uint16]
    subjectim: NDArray[np.int32]
    sharedix: NDArray[np.uint16]


def draw_design(settings: Settings) -> Design:
    """Draw the order of trials and each subject's stimuli."""
    n, shared = settings.sizes.images, settings.sizes.shared
    shuffled = settings.generator("shared images").permutation(n) + 1
    sharedix, rest = np.sort(shuffled[:shared]), np.sort(shuffled[shared:])
    rows = [settings.generator("subjectim", subject).permutation(rest) for subject in range(1, SUBJECTS + 1)]
    order = settings.generator("masterordering").permutation(np.repeat(np.arange(1, n + 1), REPEATS))
    subjectim = np.stack([np.concatenate([sharedix, row]) for row in rows])
    return Design(order[None].astype(np.uint16), subjectim.astype(np.int32), sharedix[None].astype(np.uint16))


def noise_sd(noise_ceiling: Matrix) -> Matrix:
    """Return the sd of trial noise that gives a unit signal this ceiling (fraction) at three repeats.

    Solves NC = 1 / (1 + sd² / 3), the paper's ceiling for a signal of variance 1.
    """
    return np.sqrt(REPEATS * (1 - noise_ceiling) / noise_ceiling)


def plant_region(name: str, region: Region, features: dict[str, Matrix], settings: Settings) -> RegionTruth:
    """Draw a region's tuning and ceilings.

    Parameters
    ----------
    name : str
        The region's.
    region : Region
        What it holds.
    features : dict of str to (n_stimuli, n_components) array
        From `feature_blocks`.
    settings : Settings
        The seed and the subject.
    """
    tuning = {}
    for block, share in region.weights.items():
        size = (features[block].shape[1], VOXELS)
        tuning[block] = np.sqrt(share) * settings.subject_generator("tuning", name, block).standard_normal(size)
    signal = _mix(features, tuning)
    spread = signal.std(axis=0)
    tuning = {block: weights / spread for block, weights in tuning.items()}
    return RegionTruth(
        tuning, _mix(features, tuning).astype(np.float32), _draw_ceilings(name, region.ceiling, settings)
    )


def _mix(features: dict[str, Matrix], tuning: dict[str, Matrix]) -> Matrix:
    return np.sum([features[block] @ weights for block, weights in tuning.items()], axis=0)


def _draw_ceilings(name: str, mean: float, settings: Settings) -> Matrix:
    # A beta distribution has this mean and sd within 0 to 1; a clipped normal one would miss both.
    total = mean * (1 - mean) / CEILING_SD**2 - 1
    drawn = settings.subject_generator("noise ceiling", name).beta(mean * total, (1 - mean) * total, VOXELS)
    return np.clip(drawn, *CEILING_RANGE)


@dataclass(frozen=True)
class Responses:
    """What the scanned voxels do, all regions together.

    Attributes
    ----------
    signal : (n_stimuli, n_scanned) float32 array
        Noise-free responses, 0 where a voxel has none.
    noise : (n_scanned,) float32 array
        Sd of trial noise.
    mean, gain : (n_scanned,) float32 arrays
        Mean beta, and sd of betas over trials, percent signal change; both 0 for dead voxels.
    """

    signal: NDArray[np.float32]
    noise: NDArray[np.float32]
    mean: NDArray[np.float32]
    gain: NDArray[np.float32]


def gather_responses(anatomy: Anatomy, truths: dict[str, RegionTruth], settings: Settings) -> Responses:
    """Put all regions' voxels in the order of `Anatomy.scanned`, among voxels that only carry noise."""
    n = len(anatomy.scanned)
    column = np.full(SHAPE, -1)
    column[tuple(anatomy.scanned.T)] = np.arange(n)
    rng = settings.subject_generator("voxel scale")
    mean, gain = rng.normal(1.0, 0.5, n).astype(np.float32), rng.uniform(0.8, 1.6, n).astype(np.float32)
    signal = np.zeros((settings.sizes.images, n), np.float32)
    noise = np.ones(n, np.float32)
    for name, truth in truths.items():
        own = column[tuple(anatomy.live[name].T)]
        signal[:, own] = truth.signal
        noise[own] = noise_sd(truth.noise_ceiling)
        silent = column[tuple(anatomy.dead[name].T)]
        mean[silent] = gain[silent] = 0
    return Responses(signal, noise, mean, gain)


def session_betas(
    session: int, anatomy: Anatomy, responses: Responses, design: Design, settings: Settings
) -> NDArray[np.int16]:
    """Simulate one session.

    Parameters
    ----------
    session : int
        From 1.
    anatomy, responses, design, settings
        The subject.

    Returns
    -------
    (750, z, y, x) int16 array
        Percent signal change times 300. Memory order is that of both file formats.
    """
    trials = slice((session - 1) * TRIALS_PER_SESSION, session * TRIALS_PER_SESSION)
    stimulus = design.subjectim[settings.subject - 1, design.masterordering[0, trials] - 1] - 1
    noise = settings.subject_generator("noise", session).standard_normal(
        (TRIALS_PER_SESSION, len(responses.mean)), dtype=np.float32
    )
    unit = (responses.signal[stimulus] + responses.noise * noise) / _total_sd(responses)
    offset, scale = _drift(session, responses, settings)
    percent = responses.mean + responses.gain * (offset + scale * unit)
    flat = np.zeros((TRIALS_PER_SESSION, np.prod(SHAPE)), np.int16)
    i, j, k = anatomy.scanned.T
    flat[:, np.ravel_multi_index((k, j, i), SHAPE[::-1])] = np.round(BETA_SCALE * percent)
    return flat.reshape(TRIALS_PER_SESSION, *SHAPE[::-1])


def _total_sd(responses: Responses) -> NDArray[np.float32]:
    # The gain is the sd of what is measured, so that noisy voxels do not leave the range of int16.
    return np.sqrt(responses.signal.var(axis=0) + responses.noise**2)


def _drift(session: int, responses: Responses, settings: Settings) -> tuple[NDArray[np.float32], np.float32]:
    """Return a session's offset of each voxel, in units of its gain, and its common scale."""
    rng = settings.subject_generator("drift", session)
    offset = rng.normal(0, 0.2) + rng.normal(0, 0.1, len(responses.mean))
    return offset.astype(np.float32), np.float32(rng.uniform(0.85, 1.15))
