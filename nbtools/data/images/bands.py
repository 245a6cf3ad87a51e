"""Spatial frequencies in octaves: noise of one band each, filters that keep some, grey images of low contrast."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

from nbtools.checks import check_choice, check_pixels, check_range
from nbtools.errors import InputError
from nbtools.metrics.pixels.spectrum import frequencies

GREY = 0.449  # ImageNet's mean pixel
CONTRAST = 0.2  # of a photograph's own: the noise has room above and below
ORDER = 4  # of the Butterworth filters
PASSES: tuple[str, ...] = ("low", "high", "band")


def octave_centres(side: int) -> np.ndarray:
    """Return the centres of a square image's octave bands, high to low.

    Parameters
    ----------
    side : int
        Of the image, in pixels.

    Returns
    -------
    array (n_bands,)
        In cycles/image: side / 2 (Nyquist's frequency), half of that and so on, down to the last that is 1 or more. Of
        224 pixels 112, 56, 28, 14, 7, 3.5 and 1.75, those of Subramanian et al. (2023).

    Raises
    ------
    InputError
        If the image has fewer than 4 pixels a side.
    """
    check_range("the side of an image", side, 4, whole=True)
    return side / 2 / 2.0 ** np.arange(int(np.log2(side / 2)) + 1)


def band_masks(side: int) -> Tensor:
    """Say which coefficients of a square image's transform each octave band holds.

    Parameters
    ----------
    side : int
        Of the image, in pixels.

    Returns
    -------
    Tensor (n_bands, side, side // 2 + 1)
        bool, laid out as `torch.fft.rfft2` does: band c holds c / √2 < f ≤ c √2, f the radial frequency. Bands do not
        overlap; together they hold all but the lowest frequencies, of which the mean is one.
    """
    squares = frequencies(side)[:, : side // 2 + 1].square().round()  # whole: on an edge, rounding must not decide
    centres = torch.from_numpy(octave_centres(side))[:, None, None]
    return (squares > centres**2 / 2) & (squares <= 2 * centres**2)


def band_noise(ids: Iterable[object], side: int, seed: int = 0) -> Tensor:
    """Draw Gaussian noise of each octave band for each image.

    Parameters
    ----------
    ids : iterable (n,)
        Of the images. With `seed`, an id draws its noise, always the same: whatever the batch and the order.
    side : int
        Of the images, in pixels.
    seed : int
        Of the noise.

    Returns
    -------
    Tensor (n, n_bands, side, side)
        float32, of mean 0 and standard deviation 1 in each image and band: bands as in `octave_centres`. An image's
        bands are cut from one field of white noise by ideal filters: no energy lies outside a band.
    """
    masks = band_masks(side)
    return torch.stack([_noise(masks, side, crc32(str(name).encode()), seed) for name in ids])


def _noise(masks: Tensor, side: int, number: int, seed: int) -> Tensor:
    """Noise (n_bands, side, side) of one image: by itself, for a transform of many rounds by how many there are."""
    white = np.random.default_rng((seed, number)).standard_normal((side, side), dtype=np.float32)
    noise = torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(white)) * masks, s=(side, side))
    return noise / noise.square().mean((1, 2), keepdim=True).sqrt()


def low_contrast(pixels: Tensor, contrast: float = CONTRAST) -> Tensor:
    """Turn images grey, each about the same grey, and take contrast away.

    Parameters
    ----------
    pixels : Tensor (n, 3, height, width)
        In [0, 1].
    contrast : float
        Of the image's own, from 0 to 1.

    Returns
    -------
    Tensor (n, 3, height, width)
        In [0, 1]: `GREY` + contrast · (luminance − its mean), luminance that of ITU-R BT.601, as Pillow's.

    Raises
    ------
    InputError
        If pixels leave [0, 1], or the contrast does.
    """
    check_pixels(pixels)
    check_range("contrast", contrast, 0, 1)
    luminance = rgb_to_grayscale(pixels, num_output_channels=3)
    return (GREY + contrast * (luminance - luminance.mean((1, 2, 3), keepdim=True))).clamp(0, 1)


def pass_gain(kind: str, cut: float, side: int) -> Tensor:
    """Return the gain of a Butterworth filter.

    Parameters
    ----------
    kind : {"low", "high", "band"}
        What passes: frequencies below the cut, above it, or the octave around it.
    cut : float
        In cycles/image, from 1 to side / √2, the lowest and the highest that such an image has: where a low or a high
        pass lets half the amplitude through.
    side : int
        Of the image, in pixels.

    Returns
    -------
    Tensor (side, side // 2 + 1)
        float32, from 0 to 1, laid out as `torch.fft.rfft2` does. A low pass is 1 / (1 + (f / cut)^8), f the radial
        frequency (order 4; Gonzalez & Woods 2018, section 4.8), a high pass 1 minus that, a band the low pass at
        cut · √2 minus that at cut / √2: low and high pass add up to 1, and so do a low pass, all bands above it and a
        high pass.

    Raises
    ------
    InputError
        If there is no such filter, or images of that side have no such frequency.
    """
    check_choice("unknown filter", kind, PASSES)
    check_range(f"a cut, of images of {side} pixels,", cut, 1.0, side / 2**0.5, fix="choose a frequency that they have")
    edges = {"low": (cut, 0.0), "high": (np.inf, cut), "band": (cut * 2**0.5, cut / 2**0.5)}[kind]
    upper, lower = (_low_pass(edge, side) for edge in edges)
    return (upper - lower).float()


def _low_pass(cut: float, side: int) -> Tensor:
    """Gain of a low pass (side, side // 2 + 1); a cut of 0 stops everything, an infinite one nothing."""
    if not cut:
        return torch.zeros(side, side // 2 + 1, dtype=torch.float64)
    return 1 / (1 + (frequencies(side)[:, : side // 2 + 1] / cut) ** (2 * ORDER))


def filtered(pixels: Tensor, gain: Tensor) -> Tensor:
    """Filter images about their mean, which every filter keeps.

    Parameters
    ----------
    pixels : Tensor (n, channels, side, side)
        Square images.
    gain : Tensor (side, side // 2 + 1)
        From `pass_gain`, on the pixels' device.

    Returns
    -------
    Tensor (n, channels, side, side)
        Not clipped: filters whose gains add up to 1 give images that do, mean apart.

    Raises
    ------
    InputError
        If images are not square, or the filter is for another size.
    """
    side = check_square(pixels)
    if gain.shape != (side, side // 2 + 1):
        raise InputError(
            "the filter does not fit the images",
            expected=f"a gain ({side}, {side // 2 + 1})",
            got=tuple(gain.shape),
            fix="make it with pass_gain for the side of these images",
        )
    mean = pixels.mean((2, 3), keepdim=True)
    return mean + torch.fft.irfft2(torch.fft.rfft2(pixels - mean) * gain, s=pixels.shape[-2:])


def check_square(pixels: Tensor) -> int:
    """Return the side of images (n, channels, side, side), in pixels; raise `InputError` unless they are square."""
    if pixels.shape[-1] != pixels.shape[-2]:
        raise InputError(
            "these images have no radial frequency",
            expected="square images: a cycle per image is as long down as across",
            got=f"{pixels.shape[-2]} × {pixels.shape[-1]} pixels",
            fix="read them to a square: load_folder(folder, size)",
        )
    return pixels.shape[-1]
