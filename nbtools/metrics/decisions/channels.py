"""The spatial-frequency channel that decisions reveal: noise thresholds by octave, a Gaussian fitted to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nbtools.checks import check_counts, check_enough, check_numbers
from nbtools.metrics.decisions.accuracy import accuracy_by, answered
from nbtools.metrics.inputs import groups_of
from nbtools.metrics.samples.contrasts import over_networks
from nbtools.metrics.stats import ci, percentile_interval, resampled_means

CHANNEL: tuple[str, ...] = ("centre", "bandwidth", "peak")
# Of the mean of 14 people (Subramanian et al. 2023; their repository's analysis/human_analysis.ipynb): centre in
# cycles/image, bandwidth in octaves.
HUMAN_CHANNEL: dict[str, float] = {"centre": 39.6, "bandwidth": 1.0}
_NETWORK = ("condition", "seed")
_MASKED = ("image_id", *_NETWORK, "band", "sd")
_FILTERED = ("image_id", *_NETWORK, "passes", "cut")
_SENSITIVITY = ["sensitivity", "ci_low", "ci_high"]
_ROUNDS = 5000  # of projections: of simulated thresholds, the slowest came within 1e-5 of scipy's fit


class _Masked(NamedTuple):
    """What noise told of a network: first of all images, then of each resample of them.

    Attributes
    ----------
    name : dict
        ``condition`` and ``seed``.
    bands, sds : array (n_bands,), (n_sds,)
        Centres in cycles/image, and standard deviations of the noise in pixel units; ascending.
    sure : bool
        Whether accuracy without noise is above chance, whichever images are drawn (95 %).
    low, high : array (1 + n_boot, n_bands)
        What is known of log₂ sensitivity, that of 1 / variance: between these it lies. Both are the same where there
        is a threshold.
    """

    name: dict[str, Any]
    bands: np.ndarray
    sds: np.ndarray
    sure: bool
    low: np.ndarray
    high: np.ndarray

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each band's sensitivity over images (95 %): 0 or infinite where resamples leave the range of SDs."""
        least, energy = (percentile_interval(2**part)[0] for part in (self.low[1:], -self.high[1:]))
        return least, np.divide(1, energy, out=np.full_like(energy, np.inf), where=energy > 0)


def masked_accuracy(decisions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each network in noise of each band and SD, with 95 % intervals over images.

    Parameters
    ----------
    decisions : DataFrame
        From `probes.decide_masked`: ``image_id``, ``label``, ``prediction``, ``condition``, ``seed``, ``band``
        (cycles/image; NaN without noise), ``sd``.

    Returns
    -------
    DataFrame
        One row per condition × seed × band × SD: ``accuracy``, ``ci_low``, ``ci_high`` (fractions), ``n`` (images).

    Raises
    ------
    InputError
        If a column or an answer is missing, answers are of two kinds, an image was decided twice, or noise has no band
        or no SD.
    """
    return accuracy_by(_noisy(decisions), _MASKED[1:])


def filtered_accuracy(decisions: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each network on images of which some frequencies are left, with 95 % intervals over images.

    Parameters
    ----------
    decisions : DataFrame
        From `probes.decide_filtered`: as for `masked_accuracy`, with ``passes`` and ``cut`` (cycles/image; NaN of whole
        images) in place of ``band`` and ``sd``.

    Returns
    -------
    DataFrame
        One row per condition × seed × filter: ``accuracy``, ``ci_low``, ``ci_high`` (fractions), ``n`` (images).

    Raises
    ------
    InputError
        If a column or an answer is missing, answers are of two kinds, or an image was decided twice.
    """
    return accuracy_by(_answered(decisions, _FILTERED), _FILTERED[1:])


def noise_thresholds(decisions: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Find the noise of each band in which a network loses half of its accuracy above chance.

    Parameters
    ----------
    decisions : DataFrame
        As for `masked_accuracy`; every image without noise, and in every band at every SD.
    n_boot, seed : int
        Of the bootstrap over images.

    Returns
    -------
    DataFrame
        One row per condition × seed × band: ``band``, ``threshold`` (SD, pixel units), ``sensitivity`` (1 / threshold²:
        the inverse of the noise's energy), both missing where there is no threshold within the range; ``found``, which
        says so; ``ci_low``, ``ci_high`` (of the sensitivity, 95 %: 0 or infinite where they leave the range of SDs).

    Raises
    ------
    InputError
        As `masked_accuracy`, or if an image lacks a band or an SD, or there are fewer than two images.

    Notes
    -----
    The threshold is where accuracy is half way between that without noise and chance (1 / classes among the labels):
    about the 50 % of Subramanian et al. (2023), whose people and networks know almost all images without noise. It lies
    between the largest SD at which accuracy is above that and the next, read off linearly over the logarithm of SD.
    """
    parts = []
    for network in _masked(decisions, n_boot, seed):
        bounds = zip(network.low[0], network.high[0], strict=True)
        found = [_said(low, high, network.sds) for low, high in bounds]
        sensitivity = np.where(network.low[0] == network.high[0], 2 ** network.low[0], np.nan)
        least, most = network.bounds
        columns = {"band": network.bands, "threshold": sensitivity**-0.5, "sensitivity": sensitivity, "found": found}
        parts.append(pd.DataFrame({**network.name, **columns, "ci_low": least, "ci_high": most}))
    return pd.concat(parts, ignore_index=True)


def mean_sensitivity(thresholds: pd.DataFrame) -> pd.DataFrame:
    """Average sensitivity to each octave's noise over networks: its logarithm, as figures and channels have it.

    Parameters
    ----------
    thresholds : DataFrame
        From `noise_thresholds`.

    Returns
    -------
    DataFrame
        One row per condition × band, as `over_networks` gives them: ``sensitivity`` (geometric mean; missing where a
        network has no threshold), ``ci_low``, ``ci_high``.

    Raises
    ------
    InputError
        As `over_networks`.
    """
    with np.errstate(divide="ignore"):  # an interval may begin at 0
        logs = thresholds.assign(**np.log2(thresholds[_SENSITIVITY]))
    table = over_networks(logs, "sensitivity", by=("condition", "band"))
    return table.assign(**2 ** table[_SENSITIVITY])


def noise_channel(decisions: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Fit a Gaussian over log frequency to each network's sensitivity to noise.

    Parameters
    ----------
    decisions, n_boot, seed
        As for `noise_thresholds`; three bands or more.

    Returns
    -------
    DataFrame
        One row per condition × seed × measure of `CHANNEL`: ``measure``, ``value``, ``ci_low``, ``ci_high`` (95 %,
        bootstrap over images), ``n_bands`` (with a threshold), ``found``. ``centre`` in cycles/image, ``bandwidth`` in
        octaves (full width at half of the peak), ``peak`` in 1 / (pixel units)². All are missing, and ``found`` says
        why, where accuracy without noise is not surely above chance (95 %, over images), where of some band nothing is
        known (an interval from 0 to infinity), or where sensitivity has no peak within the bands.

    Raises
    ------
    InputError
        As `noise_thresholds`, or if there are fewer than three bands.

    Notes
    -----
    The logarithm of a Gaussian is a parabola, fitted by least squares to the logarithms of the sensitivities. Of a band
    without a threshold it is known that sensitivity lies beyond the range: the fit is held to that, and no more. Fewer
    than three thresholds leave it open, and the bandwidth is then about the largest that they allow. Resamples without
    a channel are left out of the intervals.
    """
    rows = []
    for network in _masked(decisions, n_boot, seed):
        fix = "take larger images, or more of the bands"
        check_enough("a Gaussian has three parameters", len(network.bands), 3, fix=fix)
        values, found = _channel(network)
        n_bands = int((network.low[0] == network.high[0]).sum())
        for measure, of in zip(CHANNEL, values.T, strict=True):
            shown = {"measure": measure, "value": of[0], **ci(percentile_interval(of[1:]))}
            rows.append({**network.name, **shown, "n_bands": n_bands, "found": found})
    return pd.DataFrame(rows)


def _channel(network: _Masked) -> tuple[np.ndarray, str]:
    """Return centre, bandwidth and peak (1 + n_boot, 3), NaN where there is no channel, and what was found."""
    least, most = network.bounds
    nothing = np.full((len(network.low), len(CHANNEL)), np.nan)
    if not network.sure:
        return nothing, "no channel: not surely better than chance without noise"
    if ((least == 0) & np.isinf(most)).any():
        return nothing, "no channel: nothing is known of a band"
    values = _fitted(np.log2(network.bands), network.low, network.high)
    return (nothing, "no channel: no peak within the bands") if np.isnan(values[0, 0]) else (values, "channel")


def gaussian(frequency: np.ndarray, centre: float, bandwidth: float, peak: float) -> np.ndarray:
    """Return the sensitivity of a channel, as `noise_channel` describes it, at frequencies (n,) in cycles/image."""
    return peak * 2 ** -((2 * np.log2(frequency / centre) / bandwidth) ** 2)


def _answered(decisions: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    fix = "take the table as nbtools.probes gave it"
    return answered(f"this is not a table of decisions by {' and '.join(keys[3:])}", decisions, keys, fix=fix)


def _noisy(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return answers in noise of a band and an SD, and without any."""
    right, fix = _answered(decisions, _MASKED), "take the table as decide_masked gave it"
    check_numbers("noise is not in numbers", right, ("band", "sd"), fix=fix)
    band, sd = right["band"], right["sd"]
    wrong = {
        "rows whose SD is no number from 0 on": int((~sd.between(0, np.inf, inclusive="left")).sum()),
        "rows of noise without a band": int(((sd > 0) & ~band.between(0, np.inf, inclusive="neither")).sum()),
        "rows of a band without noise": int(((sd == 0) & band.notna()).sum()),
    }
    expected = "bands in cycles/image and SDs, both above 0; without noise an SD of 0, and NaN for the band"
    check_counts("noise has a band and an SD", wrong, expected=expected, fix=fix)
    return right


def _masked(decisions: pd.DataFrame, n_boot: int, seed: int) -> Iterator[_Masked]:
    """Yield each network's sensitivity, of all images and of resamples."""
    right, fix = _noisy(decisions), "take the table as decide_masked gave it"
    for name, group in groups_of(right, _NETWORK):
        clean = group[group["sd"] == 0].set_index("image_id")["right"]
        noisy = (
            group[group["sd"] > 0].pivot(index="image_id", columns=["band", "sd"], values="right").sort_index(axis=1)
        )
        bands, sds = (np.unique(noisy.columns.get_level_values(level)) for level in ("band", "sd"))
        wrong = {
            "images in noise alone, or without noise alone": len(clean.index.symmetric_difference(noisy.index)),
            "bands × SDs that are missing": len(bands) * len(sds) - noisy.shape[1],
            "decisions that are missing": int(noisy.isna().to_numpy().sum()),
        }
        problem = f"{name['condition']}, seed {name['seed']}, did not see every image in all noise"
        check_counts(problem, wrong, expected="every image once without noise, once in each band at each SD", fix=fix)
        values = np.column_stack([clean, noisy.loc[clean.index]])
        accuracy = np.vstack([values.mean(axis=0), resampled_means(values, n_boot, seed)])
        curves = accuracy[:, 1:].reshape(len(accuracy), len(bands), len(sds))
        clean_of, chance = accuracy[:, 0], 1 / group["label"].nunique()
        sure = bool(percentile_interval(clean_of[1:])[0] > chance)
        yield _Masked(name, bands, sds, sure, *_known(clean_of, curves, sds, chance))


def _known(clean: np.ndarray, curves: np.ndarray, sds: np.ndarray, chance: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (n, n_bands) of log₂ sensitivity, from accuracies (n,) without noise and (n, n_bands, n_sds) in noise."""
    half = (clean + chance)[:, None] / 2
    # Beyond the range stand noise of SD 0, in which accuracy is above half for certain, and endless noise.
    steps = np.r_[np.inf, -2 * np.log2(sds), -np.inf]
    padded = np.pad(curves, ((0, 0), (0, 0), (1, 1)), constant_values=((0, 0), (0, 0), (np.inf, -np.inf)))
    last = len(sds) + 1 - (padded > half[..., None])[..., ::-1].argmax(axis=2)  # the largest SD with more than half
    high, low = steps[last], steps[last + 1]
    above, below = (np.take_along_axis(padded, at[..., None], axis=2)[..., 0] for at in (last, last + 1))
    with np.errstate(invalid="ignore"):  # beyond the range nothing is read off
        crossing = high + (above - half) / (above - below) * (low - high)
    inside = np.isfinite(low) & np.isfinite(high)
    ignorant = (clean <= chance)[:, None]
    low, high = np.where(inside, crossing, low), np.where(inside, crossing, high)
    return np.where(ignorant, -np.inf, low), np.where(ignorant, np.inf, high)


def _said(low: float, high: float, sds: np.ndarray) -> str:
    if np.isinf(low) and np.isinf(high):
        return "no better than chance without noise"
    if np.isinf(high):
        return f"no threshold within the range: below SD {sds[0]:g}"
    return f"no threshold within the range: above SD {sds[-1]:g}" if np.isinf(low) else "threshold"


def _fitted(octaves: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Centre, bandwidth and peak (n, 3) of parabolas over octaves (n_bands,) within bounds (n, n_bands), or NaN.

    The values of the bands are projected on the parabolas, then on the bounds, and again: that ends at values within
    the bounds with the smallest squared distance from a parabola, near those it begins with, the bounds themselves.
    """
    solve = np.linalg.pinv(np.vander(octaves, 3))
    values = np.where(np.isfinite(low), low, high)
    values[~(low == high).any(axis=1)] = np.nan
    for _ in range(_ROUNDS):
        values = np.clip(values @ (np.vander(octaves, 3) @ solve).T, low, high)
    bend, rise, level = (values @ solve.T).T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a resample may leave the peak open
        centre = -rise / (2 * bend)
        found = np.stack([2**centre, 2 / np.sqrt(-bend), 2 ** (level - rise**2 / (4 * bend))], axis=1)
    peaked = (bend < 0) & (centre >= octaves.min()) & (centre <= octaves.max())
    return np.where(peaked[:, None], found, np.nan)
