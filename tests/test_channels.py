"""Critical-band masking: noise in its band, filters that add up, planted channels found, by networks and by tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from nbtools import plots
from nbtools.data.images.bands import (
    GREY,
    PASSES,
    band_masks,
    band_noise,
    filtered,
    low_contrast,
    octave_centres,
    pass_gain,
)
from nbtools.data.images.sets import ImageSet
from nbtools.errors import InputError
from nbtools.metrics.decisions import channels
from nbtools.metrics.decisions.channels import (
    filtered_accuracy,
    masked_accuracy,
    noise_channel,
    noise_thresholds,
)
from nbtools.metrics.pixels.spectrum import frequencies, spectral_energy
from nbtools.probes.bands import decide_filtered, decide_masked

SIDE = 64
CLASSES = ("bar", "cup", "dog", "egg")


class Template(nn.Module):
    """A linear classifier of four classes that reads frequencies with a given power gain, and no others.

    A class's template has the gain's square root for its spectrum, and random phases. Half of a decision's noise is
    then the sum over bands of the noise's energy times the band's mean gain: what masking should find.
    """

    classes = CLASSES

    def __init__(self, gain: Callable[[Tensor], Tensor], side: int = SIDE, seed: int = 0):
        super().__init__()
        white = torch.randn(4, side, side, generator=torch.Generator().manual_seed(seed))
        flat = torch.fft.rfft2(white)
        flat = flat / flat.abs()
        spectrum = gain(frequencies(side)[:, : side // 2 + 1]).sqrt().float()
        self.templates = nn.Buffer(torch.fft.irfft2(flat * spectrum, s=(side, side)))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nhw,khw->nk", x.mean(1) - GREY, self.templates)


def gaussian(centre: float, bandwidth: float) -> Callable[[Tensor], Tensor]:
    """Power gain over log frequency, of 1 at the centre and a half at half the bandwidth (octaves) from it."""

    def gain(f: Tensor) -> Tensor:
        return torch.where(f > 0, 2.0 ** -((2 * (f.clamp(min=1e-9) / centre).log2() / bandwidth) ** 2), 0.0)

    return gain


def images_of(network: Template, n: int = 400, amplitude: float = 0.3) -> ImageSet:
    """Each class's template as a grey picture, of which a tenth of the pixels' energy is other images' own."""
    labels = torch.arange(n) % 4
    shapes = network.templates / network.templates.std((1, 2), keepdim=True)
    own = torch.randn(n, *shapes.shape[1:], generator=torch.Generator().manual_seed(1))
    pixels = (0.5 + amplitude * (0.9 * shapes[labels] + 0.3 * own) / 3).clamp(0, 1)
    stored = (pixels * 255).round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()
    return ImageSet(stored, labels, np.array([f"i{k:03d}" for k in range(n)]), CLASSES)


@pytest.mark.parametrize("side", [8, 32, 48, 33])
def test_noise_lies_in_its_band_and_has_its_sd(side: int) -> None:
    ids = ["a", "b", 7]
    noise = band_noise(ids, side)
    centres = octave_centres(side)
    assert noise.shape == (3, len(centres), side, side)
    torch.testing.assert_close(noise.square().mean((2, 3)).sqrt(), torch.ones(3, len(centres)))
    assert noise.mean((2, 3)).abs().max() < 1e-5
    energy, radius = spectral_energy(noise.reshape(-1, 1, side, side)), frequencies(side)
    for band, centre in enumerate(centres):
        inside = (radius > centre / 2**0.5 * (1 - 1e-9)) & (radius < centre * 2**0.5 * (1 + 1e-9))
        of_band = energy.reshape(3, len(centres), side, side)[:, band]
        torch.testing.assert_close((of_band * inside).sum((1, 2)), of_band.sum((1, 2)))


def test_bands_are_those_of_the_paper_and_share_all_frequencies_but_the_lowest() -> None:
    assert octave_centres(224).tolist() == [112, 56, 28, 14, 7, 3.5, 1.75]
    for side in (32, 224):
        times = band_masks(side).long().sum(0)
        assert times.max() == 1
        low = frequencies(side)[:, : side // 2 + 1] <= octave_centres(side)[-1] / 2**0.5
        assert torch.equal(times == 0, low)


def test_noise_is_gaussian_and_an_image_s_own() -> None:
    together, alone = band_noise(["x", "y", "z"], 32, 1), band_noise(["z"], 32, 1)
    assert torch.equal(together[2], alone[0])
    assert not torch.equal(alone, band_noise(["z"], 32, 2))
    top = band_noise(range(40), 32)[:, 0].flatten()
    assert abs(float(top.pow(4).mean()) - 3) < 0.1  # a Gaussian's kurtosis
    first, second = band_noise(range(40), 32)[:, 1].flatten(1)[:2]
    assert abs(float((first * second).mean())) < 0.3


def test_filters_add_up_to_the_image() -> None:
    x = torch.rand(2, 3, SIDE, SIDE)
    mean = x.mean((2, 3), keepdim=True)
    low, high = (filtered(x, pass_gain(kind, 6, SIDE)) for kind in ("low", "high"))
    torch.testing.assert_close(low + high - mean, x)
    cuts = [4, 8, 16]
    parts = [filtered(x, pass_gain("band", cut, SIDE)) - mean for cut in cuts]
    ends = [filtered(x, pass_gain(*end, SIDE)) - mean for end in (("low", 4 / 2**0.5), ("high", 16 * 2**0.5))]
    torch.testing.assert_close(mean + sum(parts) + sum(ends), x)
    gains = {kind: pass_gain(kind, 8, SIDE)[0, [0, 2, 8, 32]].tolist() for kind in PASSES}  # at 0, 2, 8, 32 cycles
    assert gains["low"] == pytest.approx([1, 1, 0.5, 0], abs=1e-4)
    assert gains["high"] == pytest.approx([0, 0, 0.5, 1], abs=1e-4)
    assert gains["band"] == pytest.approx([0, 0.0002, 16 / 17 - 1 / 17, 0.0002], abs=1e-3)


def test_low_contrast_is_grey_about_one_mean() -> None:
    x = torch.rand(3, 3, 16, 16)
    grey = low_contrast(x, 0.2)
    assert torch.equal(grey[:, 0], grey[:, 2])
    torch.testing.assert_close(grey.mean((1, 2, 3)), torch.full((3,), GREY))
    luminance = (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    torch.testing.assert_close(grey[:, 0].std((1, 2)), 0.2 * luminance.std((1, 2)), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("centre", "bandwidth"), [(8, 1.5), (5, 2.5), (16, 1.5)])
def test_masking_finds_the_channel_of_a_network(centre: float, bandwidth: float) -> None:
    """Octaves of noise blur the planted gain: what is found is compared with its mean over each band."""
    network = Template(gaussian(centre, bandwidth))
    images = images_of(network)
    decisions = decide_masked({("none", 0): network}, images, np.geomspace(0.01, 0.64, 13).tolist(), contrast=0.3)
    found = noise_channel(decisions, n_boot=100).set_index("measure")
    radius = frequencies(SIDE)[:, : SIDE // 2 + 1]
    means = [float(gaussian(centre, bandwidth)(radius)[mask].mean()) for mask in band_masks(SIDE)]
    kept = np.log2(means) > np.log2(max(means)) - 6
    bend, rise, _ = np.polyfit(np.log2(octave_centres(SIDE))[kept], np.log2(means)[kept], 2)
    assert np.log2(found.loc["centre", "value"]) == pytest.approx(-rise / 2 / bend, abs=0.2)
    assert found.loc["bandwidth", "value"] == pytest.approx(2 / np.sqrt(-bend), rel=0.15)
    assert abs(np.log2(found.loc["centre", "value"] / centre)) < 0.35
    assert (found["ci_low"] <= found["value"]).all()
    assert (found["value"] <= found["ci_high"]).all()
