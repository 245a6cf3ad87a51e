"""Images moved, turned, resized and faded: the paths along which a category's manifold is walked."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nbtools.checks import check_choice, check_pixels
from nbtools.data.images.bands import check_square

# In even steps. Shifts (to the right) and shares of the side, so that those of sides divisible by 32 are whole pixels;
# degrees (counter-clockwise); factors of size; factors of contrast, none above 1: nothing leaves [0, 1].
PATHS: dict[str, tuple[float, ...]] = {
    "translation": tuple(step / 32 for step in range(-4, 5)),
    "rotation": tuple(5.0 * step for step in range(-4, 5)),
    "scale": tuple(2 ** (step / 16) for step in range(-4, 5)),
    "contrast": tuple(0.1 * step for step in range(2, 11)),
}


def transformed(pixels: Tensor, kind: str, amount: float) -> Tensor:
    """Transform images.

    Parameters
    ----------
    pixels : Tensor (n, 3, side, side)
        In [0, 1].
    kind : str
        Of `PATHS`.
    amount : float
        How much: ``"translation"`` in sides of the image, ``"rotation"`` in degrees, ``"scale"`` and ``"contrast"`` as
        factors; contrast about each image's mean.

    Returns
    -------
    Tensor (n, 3, side, side)
        In [0, 1]. What comes in from beyond a border is mirrored there; between pixels, bicubic.

    Raises
    ------
    InputError
        If there is no such transformation, pixels leave [0, 1], or images are not square.
    """
    check_choice("unknown transformation", kind, PATHS)
    check_pixels(pixels)
    check_square(pixels)
    if kind == "contrast":
        mean = pixels.mean((1, 2, 3), keepdim=True)
        return (mean + amount * (pixels - mean)).clamp(0, 1)
    turn = math.radians(amount) if kind == "rotation" else 0.0
    size = amount if kind == "scale" else 1.0
    shift = -2 * amount if kind == "translation" else 0.0  # the grid says where a pixel comes from; a side is 2 long
    rows = [[math.cos(turn) / size, -math.sin(turn) / size, shift], [math.sin(turn) / size, math.cos(turn) / size, 0.0]]
    grid = F.affine_grid(torch.tensor([rows], device=pixels.device), [1, *pixels.shape[1:]], align_corners=False)
    grid = grid.expand(len(pixels), -1, -1, -1)
    return F.grid_sample(pixels, grid, "bicubic", padding_mode="reflection", align_corners=False).clamp(0, 1)
