"""Where in spatial frequency the energy of a change to an image lies: of an input gradient, of an attack."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nbtools.checks import check_range
from nbtools.errors import InputError

CUT = 8.0  # cycles/image: below it lie outlines and shading of an object that fills the image


def frequencies(side: int) -> Tensor:
    """Return the radial frequency of every coefficient of a square image's Fourier transform.

    Parameters
    ----------
    side : int
        Of the image, in pixels.

    Returns
    -------
    Tensor (side, side)
        float64, in cycles/image, laid out as `torch.fft.fft2` does; at most side / √2.
    """
    along = (torch.fft.fftfreq(side, dtype=torch.float64) * side).round()
    return torch.hypot(along[:, None], along)


def spectral_energy(changes: Tensor) -> Tensor:
    """Return how the energy of each change is spread over the coefficients of its Fourier transform.

    Parameters
    ----------
    changes : Tensor (n, channels, side, side)
        Gradients, or attacked minus clean pixels.

    Returns
    -------
    Tensor (n, side, side)
        float64, channels added: adds up to the change's squared L2 norm (Parseval).

    Raises
    ------
    InputError
        If the changes are not those of square images, or a value is not finite.
    """
    square = changes.ndim == 4 and changes.shape[-1] == changes.shape[-2]
    if not square or not changes.isfinite().all():
        raise InputError(
            "these changes have no radial spectrum",
            expected="finite values (n, channels, side, side): a cycle per image is as long down as across",
            got=f"{tuple(changes.shape)}, {int((~changes.isfinite()).sum())} values not finite",
            fix="crop images to squares; look for a diverged network",
        )
    return torch.fft.fft2(changes.double(), norm="ortho").abs().square().sum(1)


def radial_spectrum(energy: Tensor) -> np.ndarray:
    """Share each change's energy out among rings of frequencies one cycle/image wide.

    Parameters
    ----------
    energy : Tensor (n, side, side)
        From `spectral_energy`.

    Returns
    -------
    array (n, n_rings)
        Ring k holds the frequencies that round to k cycles/image; a row adds up to 1, or is missing (NaN) where there
        is no energy at all.
    """
    ring = frequencies(energy.shape[-1]).round().long().flatten()
    sums = torch.zeros(len(energy), int(ring.max()) + 1, dtype=energy.dtype).index_add_(1, ring, energy.flatten(1))
    return (sums / sums.sum(1, keepdim=True)).numpy()


def frequency_scores(energy: Tensor, cut: float = CUT) -> pd.DataFrame:
    """Summarise each change's spectrum in two numbers.

    Parameters
    ----------
    energy : Tensor (n, side, side)
        From `spectral_energy`.
    cut : float
        Cycles/image.

    Returns
    -------
    DataFrame
        A row per change: ``centroid`` (mean radial frequency, weighted by energy, cycles/image), ``below`` (share of
        the energy at frequencies up to the cut). Neither depends on the size of a change, nor on where in the image it
        is (but for its frame: what leaves on one side comes in on the other). Missing where there is no energy.

    Raises
    ------
    InputError
        If the cut is below 0.
    """
    check_range("cut", cut, 0)
    radius, total = frequencies(energy.shape[-1]), energy.sum((1, 2))
    weighted = {"centroid": energy * radius, "below": energy * (radius <= cut)}
    return pd.DataFrame({name: (part.sum((1, 2)) / total).numpy() for name, part in weighted.items()})


def white_spectrum(side: int) -> np.ndarray:
    """Return the radial spectrum (n_rings,) of white noise: each ring's share of the coefficients."""
    return radial_spectrum(torch.ones(1, side, side, dtype=torch.float64))[0]
