"""Images of the same objects with other statistics, made from the images themselves: some frequencies, edges alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from skimage.feature import canny
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

from nbtools.data.images.bands import PASSES, check_square, filtered, pass_gain
from nbtools.data.images.sets import ImageSet, to_float

CUT = 1 / 8  # of a cycle per pixel: two octaves below Nyquist's frequency
EDGE_SD = 2**0.5  # pixels: MATLAB's, whose extractor Geirhos et al. (2019) took
EDGES = 0.8, 0.9  # quantiles of the gradient that a faint edge, and one that stands by itself, exceed
_AT_ONCE = 256  # images, to bound memory


def other_statistics(images: ImageSet) -> dict[str, ImageSet]:
    """Filter images, and draw their edges.

    Parameters
    ----------
    images : ImageSet
        Square images of 8 pixels a side or more.

    Returns
    -------
    dict of str → ImageSet
        ``"low pass"``, ``"high pass"``, ``"band pass"`` and ``"line drawing"`` of the images, each with its image's id
        and label. Filters cut at, or pass the octave around, `CUT`; they keep the mean of each channel
        (`bands.filtered`), and what leaves [0, 1] is clipped. Edges (Canny 1986) of the luminance are black on white.

    Raises
    ------
    InputError
        If images are not square, or too small.
    """
    side = check_square(images.pixels)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        f"{kind} pass": partial(filtered, gain=pass_gain(kind, CUT * side, side)) for kind in PASSES
    }
    return {name: _changed(images, way) for name, way in {**ways, "line drawing": _lines}.items()}


def _changed(images: ImageSet, way: Callable[[Tensor], Tensor]) -> ImageSet:
    made = [(255 * way(to_float(some)).clamp(0, 1)).round().byte() for some in images.pixels.split(_AT_ONCE)]
    return replace(images, pixels=torch.cat(made))


def _lines(pixels: Tensor) -> Tensor:
    low, high = EDGES
    found = [
        canny(grey, EDGE_SD, low, high, use_quantiles=True, mode="nearest")
        for grey in rgb_to_grayscale(pixels)[:, 0].numpy()
    ]
    return torch.from_numpy(1 - np.stack(found).astype(np.float32))[:, None].repeat(1, 3, 1, 1)
