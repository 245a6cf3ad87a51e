"""Corruptions of the simulated study's images, in ImageNet-C's layout: five kinds, five severities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

# The strength at severity 1 to 5: sd of the noise, sd of the blur in pixels at 32 px, contrast left, light added, and
# the share of the side that is left.
STRENGTHS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.03, 0.05, 0.08, 0.12, 0.18),
    "gaussian_blur": (0.5, 0.7, 0.9, 1.2, 1.6),
    "contrast": (0.75, 0.6, 0.45, 0.3, 0.2),
    "brightness": (0.06, 0.12, 0.18, 0.24, 0.3),
    "pixelate": (0.8, 0.65, 0.5, 0.4, 0.3),
}


def corrupt(pixels: NDArray[np.uint8], kind: str, severity: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Corrupt images.

    Parameters
    ----------
    pixels : (n, size, size, 3) uint8
        Clean images.
    kind : str
        A key of `STRENGTHS`.
    severity : int
        1 to 5.
    rng : Generator
        Of the noise.
    """
    strength, clean = STRENGTHS[kind][severity - 1], pixels.astype(np.float32) / 255
    size = pixels.shape[1]
    if kind == "gaussian_noise":
        made = clean + rng.normal(0, strength, clean.shape)
    elif kind == "gaussian_blur":
        sd = strength * size / 32
        made = gaussian_filter(clean, (0, sd, sd, 0))
    elif kind == "contrast":
        mean = clean.mean(axis=(1, 2), keepdims=True)
        made = mean + strength * (clean - mean)
    elif kind == "brightness":
        made = clean + strength
    else:
        n = round(strength * size)
        block = np.arange(size) * n // size
        middle = ((block + 0.5) * size / n).astype(int)  # one pixel stands for its block
        made = clean[:, middle][:, :, middle]
    return np.round(made.clip(0, 1) * 255).astype(np.uint8)
