"""A network run over many images in batches: its output, or its named read-outs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nbtools.checks import check_eval
from nbtools.data.images.sets import to_float
from nbtools.models.networks import Network


@torch.no_grad()
def predict(model: nn.Module, pixels: Tensor, batch_size: int = 256) -> Tensor:
    """Return a frozen model's output for uint8 pixels (n, 3, h, w): float32 (n, width), on the CPU."""
    device = next(model.parameters()).device
    return torch.cat([model(to_float(chunk.to(device))).cpu() for chunk in pixels.split(batch_size)])


@torch.no_grad()
def read_out(model: Network, pixels: Tensor, names: Sequence[str], batch_size: int = 256) -> dict[str, Tensor]:
    """Run a frozen model over images in batches and keep some of its read-outs.

    Parameters
    ----------
    model : RoiPredictor or GuidedNet
        In eval mode.
    pixels : Tensor (n_images, 3, height, width)
        uint8, as an `ImageSet` holds them.
    names : sequence of str
        Read-outs as ``model.features`` names them; those the model lacks (``neural`` without guidance) are left out.
    batch_size : int
        Images at a time.

    Returns
    -------
    dict of str to Tensor (n_images, width)
        float32, on the CPU.

    Raises
    ------
    InputError
        If the model is in training mode.
    """
    check_eval(model)
    device = next(model.parameters()).device
    chunks = [model.features(to_float(chunk.to(device))) for chunk in pixels.split(batch_size)]
    return {name: torch.cat([chunk[name].cpu() for chunk in chunks]) for name in names if name in chunks[0]}
