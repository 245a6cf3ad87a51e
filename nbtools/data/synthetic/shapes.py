"""Ten shapes as inside/outside functions, six that the study does not show, and ten texture families."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Shapes live in the object's frame: about one unit from centre to rim, v points down as image rows do.
# `j` in [-1, 1], shaped (n, 1, 1), jitters the proportions of each instance.


def _disk(u: Array, v: Array, j: Array) -> Mask:
    return np.square(u * (1 + 0.1 * j)) + np.square(v * (1 - 0.1 * j)) < 0.85**2


def _bar(u: Array, v: Array, j: Array) -> Mask:
    return (np.abs(u) < 1.15) & (np.abs(v) < 0.27 * (1 + 0.25 * j))


def _triangle(u: Array, v: Array, j: Array) -> Mask:
    v = v * (1 + 0.12 * j)
    slope = np.float32(np.sqrt(0.75))
    return (-v < 0.5) & (slope * u + 0.5 * v < 0.5) & (-slope * u + 0.5 * v < 0.5)


def _square(u: Array, v: Array, j: Array) -> Mask:
    return (np.abs(u) < 0.72 * (1 + 0.1 * j)) & (np.abs(v) < 0.72 * (1 - 0.1 * j))


def _star(u: Array, v: Array, j: Array) -> Mask:
    # Fold the plane into half a point (36°); inside is the origin's side of the line from tip to notch.
    tip, notch = 1.08, 0.45 * (1 + 0.15 * j)
    half = np.pi / 5
    angle = np.abs(np.mod(np.arctan2(u, -v) + half, 2 * half) - half)
    radius = np.hypot(u, v)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    return (notch * np.cos(half) - tip) * y - notch * np.sin(half) * (x - tip) > 0


def _flower(u: Array, v: Array, j: Array) -> Mask:
    return np.hypot(u, v) < 0.72 + 0.25 * (1 + 0.2 * j) * np.cos(6 * np.arctan2(u, v))


def _cross(u: Array, v: Array, j: Array) -> Mask:
    width = 0.27 * (1 + 0.2 * j)
    across, along = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    return (across < width) & (along < 1.0)


def _ring(u: Array, v: Array, j: Array) -> Mask:
    radius = np.hypot(u, v)
    return (radius < 0.95) & (radius > 0.52 * (1 + 0.15 * j))


def _crescent(u: Array, v: Array, j: Array) -> Mask:
    bite = np.hypot(u - 0.45 * (1 + 0.12 * j), v)
    return (np.hypot(u, v) < 0.98) & (bite > 0.74)


def _heart(u: Array, v: Array, j: Array) -> Mask:
    x, y = 1.3 * (1 + 0.08 * j) * u, 0.12 - 1.3 * v
    return (x * x + y * y - 1) ** 3 < x * x * y**3


def _dome(u: Array, v: Array, j: Array) -> Mask:
    return (np.hypot(u, v - 0.4) < 0.98 * (1 + 0.08 * j)) & (v < 0.4)


def _hourglass(u: Array, v: Array, j: Array) -> Mask:
    return (np.abs(v) < 0.88) & (np.abs(u) < 0.14 + 0.72 * np.abs(v) * (1 + 0.15 * j))


def _ell(u: Array, v: Array, j: Array) -> Mask:
    width = 0.26 * (1 + 0.2 * j)
    return (np.abs(v) < 0.92) & (np.abs(u) < 0.72) & ((u < 2 * width - 0.72) | (v > 0.92 - 2 * width))


def _tee(u: Array, v: Array, j: Array) -> Mask:
    width = 0.26 * (1 + 0.2 * j)
    return (np.abs(v) < 0.92) & (np.abs(u) < 0.92) & ((np.abs(u) < width) | (v < 2 * width - 0.92))


def _arrow(u: Array, v: Array, j: Array) -> Mask:
    head = (v > -1.0) & (v < 0.0) & (np.abs(u) < 0.8 * (1 + 0.12 * j) * (v + 1.0))
    return head | ((v >= 0.0) & (v < 1.0) & (np.abs(u) < 0.24))


def _horseshoe(u: Array, v: Array, j: Array) -> Mask:
    width = 0.21 * (1 + 0.2 * j)
    bow = (v > 0) & (np.abs(np.hypot(u, v) - 0.7) < width)
    return bow | ((v <= 0) & (v > -0.9) & (np.abs(np.abs(u) - 0.7) < width))


Shapes = dict[str, Callable[[Array, Array, Array], Mask]]
_ALL = (_disk, _bar, _triangle, _square, _star, _flower, _cross, _ring, _crescent, _heart)
SHAPES: Shapes = {shape.__name__.lstrip("_"): shape for shape in _ALL}
_FURTHER = (_dome, _hourglass, _ell, _tee, _arrow, _horseshoe)
FURTHER_SHAPES: Shapes = {shape.__name__.lstrip("_"): shape for shape in _FURTHER}  # in no image of the study itself

# Textures live in the image's frame: x and y in cycles of its period, phases included: (n, side, side).
# `draw(sigma)` gives smooth noise, sigma in periods, for the two families that are random.

Draw = Callable[[float], Array]
TURN = np.float32(2 * np.pi)


def _grating(x_cycles: float, y_cycles: float) -> Callable[[Array, Array, Draw], Array]:
    def texture(x: Array, y: Array, draw: Draw) -> Array:
        return np.sin(TURN * (x_cycles * x + y_cycles * y))

    return texture


def _check(x: Array, y: Array, draw: Draw) -> Array:
    return np.sin(TURN * x) * np.sin(TURN * y)


def _dots(x: Array, y: Array, draw: Draw) -> Array:
    spacing = 1.6
    return np.exp(2 * (np.cos(TURN * x / spacing) + np.cos(TURN * y / spacing)))


def _rings(x: Array, y: Array, draw: Draw) -> Array:
    middle_x, middle_y = x.mean(axis=(1, 2), keepdims=True), y.mean(axis=(1, 2), keepdims=True)
    # The phases, 0 to 1 cycles, move the common centre by up to 1.5 periods either way.
    shift_x, shift_y = 3 * (np.mod(middle_x, 1) - 0.5), 3 * (np.mod(middle_y, 1) - 0.5)
    return np.sin(TURN * np.hypot(x - middle_x - shift_x, y - middle_y - shift_y))


def _waves(x: Array, y: Array, draw: Draw) -> Array:
    return np.sin(TURN * (y + 0.4 * np.sin(TURN * x / 2.2)))


def _smoothed(sigma: float) -> Callable[[Array, Array, Draw], Array]:
    return lambda x, y, draw: draw(sigma)


DIAGONAL = float(np.sqrt(0.5))
TEXTURES: dict[str, Callable[[Array, Array, Draw], Array]] = {
    "horizontal": _grating(0, 1),
    "vertical": _grating(1, 0),
    "diagonal": _grating(-DIAGONAL, DIAGONAL),
    "antidiagonal": _grating(DIAGONAL, DIAGONAL),
    "check": _check,
    "dots": _dots,
    "noise": _smoothed(0.1),
    "rings": _rings,
    "waves": _waves,
    "blobs": _smoothed(0.45),
}


def smooth_noise(rng: np.random.Generator, sigma: Array, side: int) -> Array:
    """Draw periodic Gaussian noise, smoothed.

    Parameters
    ----------
    rng : Generator
    sigma : (n,) array
        Standard deviation of the Gaussian that smooths each field, pixels.
    side : int
        Side length, pixels.

    Returns
    -------
    (n, side, side) array
    """
    fields = rng.standard_normal((len(sigma), side, side), dtype=np.float32)
    for field, width in zip(fields, sigma, strict=True):
        gaussian_filter(field, width, output=field, mode="wrap")
    return fields
