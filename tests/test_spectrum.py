"""Spectra of changes to images: gratings lie where they were planted, white noise everywhere, no energy is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import fft
from torch import Tensor

from nbtools.errors import InputError
from nbtools.metrics.pixels.spectrum import (
    CUT,
    frequencies,
    frequency_scores,
    radial_spectrum,
    spectral_energy,
    white_spectrum,
)

SIDE = 32


def grating(down: int, across: int, phase: float = 0.3, side: int = SIDE) -> Tensor:
    """So many cycles per image down and across, in one channel of three: (1, 3, side, side)."""
    place = torch.arange(side, dtype=torch.float64) / side
    wave = torch.cos(2 * torch.pi * (down * place[:, None] + across * place) + phase)
    return torch.stack([torch.zeros_like(wave), wave, torch.zeros_like(wave)])[None]


def noise(n: int = 4, side: int = SIDE, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("down", "across", "radius"), [(0, 5, 5), (7, 0, 7), (3, 4, 5), (-3, 4, 5), (6, 8, 10)])
def test_a_grating_lies_at_its_frequency(down: int, across: int, radius: int) -> None:
    energy = spectral_energy(grating(down, across))
    (shares,) = radial_spectrum(energy)
    assert shares[radius] == pytest.approx(1)
    assert frequency_scores(energy, cut=radius).round(9).to_dict("records") == [{"centroid": radius, "below": 1}]
    assert frequency_scores(energy, cut=radius - 0.01)["below"][0] == pytest.approx(0, abs=1e-12)


def test_two_gratings_share_by_their_squares() -> None:
    found = frequency_scores(spectral_energy(3 * grating(0, 4) + grating(12, 0)), CUT)
    assert found.loc[0].to_dict() == pytest.approx({"centroid": (9 * 4 + 12) / 10, "below": 0.9})


def test_white_noise_has_the_share_of_the_area() -> None:
    """The cut's disc holds π · 8² of 32² frequencies, but for its rim; the flat spectrum's own numbers are exact."""
    inside = float((frequencies(SIDE) <= CUT).double().mean())
    assert inside == pytest.approx(np.pi * CUT**2 / SIDE**2, rel=0.03)
    found = frequency_scores(spectral_energy(noise(400)))
    assert found["below"].mean() == pytest.approx(inside, abs=4 * found["below"].std() / 20)
    assert found["centroid"].mean() == pytest.approx(float(frequencies(SIDE).mean()), rel=0.005)
    np.testing.assert_allclose(radial_spectrum(spectral_energy(noise(400))).mean(0), white_spectrum(SIDE), atol=1e-3)
    impulse = torch.zeros(1, 1, SIDE, SIDE)
    impulse[..., 5, 9] = 2
    np.testing.assert_allclose(radial_spectrum(spectral_energy(impulse))[0], white_spectrum(SIDE), atol=1e-12)


@pytest.mark.parametrize("side", [2, 3, 16, 25])
def test_no_energy_is_lost(side: int) -> None:
    """Parseval; whatever the side, even or odd."""
    changes = noise(2, side)
    energy = spectral_energy(changes)
    torch.testing.assert_close(energy.sum((1, 2)), changes.double().square().sum((1, 2, 3)))
    np.testing.assert_allclose(radial_spectrum(energy).sum(1), 1)


def test_it_is_what_scipy_finds() -> None:
    changes = noise(2, 9)
    energy = (np.abs(fft.fft2(changes.numpy().astype(float))) ** 2).sum(1) / 81
    np.testing.assert_allclose(spectral_energy(changes).numpy(), energy, rtol=1e-9)
    radius = np.hypot(*np.meshgrid(fft.fftfreq(9, 1 / 9), fft.fftfreq(9, 1 / 9)))
    np.testing.assert_allclose(frequencies(9).numpy(), radius, atol=1e-12)
    centroid = (energy * radius).sum((1, 2)) / energy.sum((1, 2))
    np.testing.assert_allclose(frequency_scores(spectral_energy(changes))["centroid"], centroid, rtol=1e-9)


def test_neither_size_nor_place_nor_a_quarter_turn_matters() -> None:
    changes = noise()
    base = frequency_scores(spectral_energy(changes))
    for same in (1e-12 * changes, changes.roll((3, 5), (2, 3)), changes.rot90(dims=(2, 3)), -changes):
        np.testing.assert_allclose(frequency_scores(spectral_energy(same)), base, rtol=1e-6)


def test_no_change_has_no_spectrum() -> None:
    energy = spectral_energy(torch.zeros(1, 3, 4, 4))
    assert np.isnan(radial_spectrum(energy)).all()
    assert frequency_scores(energy).isna().all(axis=None)


@pytest.mark.parametrize("wrong", [torch.zeros(1, 3, 4, 5), torch.zeros(3, 4, 4), torch.full((1, 3, 4, 4), torch.nan)])
def test_what_has_no_radial_spectrum_is_refused(wrong: Tensor) -> None:
    with pytest.raises(InputError, match="have no radial spectrum"):
        spectral_energy(wrong)
    with pytest.raises(InputError, match="cut cannot be -1"):
        frequency_scores(spectral_energy(torch.ones(1, 3, 4, 4)), cut=-1)
