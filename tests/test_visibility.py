"""Visibility: contrasts in closed form, SSIM by its published formula, and never a number from bad input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from nbtools.errors import InputError
from nbtools.metrics.pixels.visibility import MEASURES, mean_visibility, visibility


def pixels(n: int = 4, side: int = 24) -> Tensor:
    return 0.2 + 0.6 * torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def grey(luminance: np.ndarray) -> Tensor:
    return torch.tensor(luminance, dtype=torch.float32)[None, None].repeat(1, 3, 1, 1)


def test_an_unchanged_image_is_the_same() -> None:
    table = visibility(pixels(), pixels())
    assert list(table.columns) == list(MEASURES)
    np.testing.assert_allclose(table["rms_contrast"], 0)
    np.testing.assert_allclose(table["relative_contrast"], 0)
    np.testing.assert_allclose(table["ssim"], 1)


def test_a_grating_has_the_contrast_it_was_given() -> None:
    """A sine of amplitude a has RMS contrast a/√2; the image is one of amplitude 0.4."""
    wave = np.sin(2 * np.pi * np.arange(32) / 8)
    image = 0.5 + 0.4 * np.tile(wave, (32, 1))
    table = visibility(grey(image), grey(image + 0.05 * np.tile(wave, (32, 1)).T))
    np.testing.assert_allclose(table["rms_contrast"], 0.05 / np.sqrt(2), rtol=1e-5)
    np.testing.assert_allclose(table["relative_contrast"], 0.05 / 0.4, rtol=1e-5)


def test_signs_of_one_epsilon_have_a_contrast_of_epsilon_where_the_channels_agree() -> None:
    x = pixels()
    signs = torch.randint(0, 2, (4, 1, 24, 24), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    np.testing.assert_allclose(visibility(x, x + 4 / 255 * signs)["rms_contrast"], 4 / 255, rtol=1e-4)


def test_luminance_is_that_of_bt709() -> None:
    x = pixels()
    green = x.clone()
    green[:, 1] += 0.1
    np.testing.assert_allclose(visibility(x, green)["rms_contrast"], 0.07152, rtol=1e-5)
    np.testing.assert_allclose(0.2126 + 0.7152 + 0.0722, 1)


def test_ssim_is_the_published_formula() -> None:
    """Wang et al. (2004), equation 13, with a Gaussian window; borders of half a window left out."""
    x = pixels(1)
    y = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    a, b = (np.einsum("chw,c->hw", z[0].double().numpy(), [0.2126, 0.7152, 0.0722]) for z in (x, y))

    def smooth(z: np.ndarray) -> np.ndarray:
        return gaussian_filter(z, 1.5, truncate=3.5)

    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b, cov = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2, smooth(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    np.testing.assert_allclose(visibility(x, y)["ssim"], index[5:-5, 5:-5].mean(), rtol=1e-6)


def test_more_noise_is_more_visible() -> None:
    x = pixels()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    weak, strong = (visibility(x, (x + size * noise).clamp(0, 1)) for size in (0.01, 0.05))
    assert (weak["rms_contrast"] < strong["rms_contrast"]).all()
    assert (weak["ssim"] > strong["ssim"]).all()


def test_means_and_intervals() -> None:
    x = pixels(30)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    parts = [
        visibility(x, (x + e * noise).clamp(0, 1)).assign(attack=name, epsilon=e)
        for name in ("LinfPGD", "L2PGD")
        for e in (0.01, 0.02)
    ]
    table = pd.concat(parts, ignore_index=True)
    summary = mean_visibility(table)
    assert len(summary) == 4 * len(MEASURES)
    assert ((summary["ci_low"] <= summary["mean"]) & (summary["mean"] <= summary["ci_high"])).all()
    row = summary[(summary["attack"] == "L2PGD") & (summary["epsilon"] == 0.02) & (summary["measure"] == "ssim")]
    assert row["mean"].item() == pytest.approx(parts[3]["ssim"].mean())
    assert row["n"].item() == 30
    pd.testing.assert_frame_equal(summary, mean_visibility(table))


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "grey levels": (lambda: visibility(pixels() * 255, pixels()), r"outside \[0, 1\]"),
    "NaN": (lambda: visibility(pixels(), pixels() * torch.nan), r"outside \[0, 1\]"),
    "other images": (lambda: visibility(pixels(4), pixels(3)), "cannot be compared"),
    "small images": (lambda: visibility(pixels(side=8), pixels(side=8)), "cannot be compared"),
    "a uniform image": (lambda: visibility(torch.full((2, 3, 16, 16), 0.5), pixels(2, 16)), "without contrast"),
    "no budget": (lambda: mean_visibility(visibility(pixels(), pixels())), "without attack, epsilon"),
    "one image": (
        lambda: mean_visibility(visibility(pixels(1), pixels(1)).assign(attack="L2PGD", epsilon=0.1)),
        "resampled",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    attempt, message = BAD[case]
    with pytest.raises(InputError, match=message):
        attempt()
