"""Phase-scrambled pictures: the spatial frequencies of a picture, none of its edges, shapes or places."""

from __future__ import annotations

import torch
from torch import Tensor


def scramble_phases(pixels: Tensor, rows: Tensor, seed: int) -> Tensor:
    """Turn each picture's Fourier phases by those of a random picture, the same for its three colours.

    Parameters
    ----------
    pixels : Tensor
        Shape (n, 3, h, w), in [0, 1].
    rows : Tensor
        Shape (n,): numbers of the images. With `seed`, each draws its random picture, always the same.
    seed : int
        Of the random pictures.

    Returns
    -------
    Tensor
        Shape (n, 3, h, w), clipped to [0, 1]. Before that, each colour's mean and amplitudes are the picture's own, and
        so are its colours' phases against each other; phases are uniform (Dakin et al. 2002, Curr. Biol. 12).
    """
    noise = torch.stack([_noise(pixels.shape[-2:], row, seed) for row in rows.tolist()])[:, None].to(pixels.device)
    turn = torch.sgn(torch.fft.rfft2(noise))  # of modulus 1, and 1 for the mean
    return torch.fft.irfft2(torch.fft.rfft2(pixels) * turn, s=pixels.shape[-2:]).clamp(0, 1)


def _noise(shape: torch.Size, row: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed * 1_000_003 + row))
