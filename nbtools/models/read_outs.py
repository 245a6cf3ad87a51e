"""A network run over many images in batches: its output, or its named read-outs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from nbtools.checks import as_names, check_eval, check_range
from nbtools.classifiers import Classifier, home_of, logits_of
from nbtools.data.images.sets import to_float
from nbtools.errors import InputError
from nbtools.models.backbones import HEADS
from nbtools.models.networks import Network
from nbtools.processes import Bar

Key = TypeVar("Key")


def predict(model: nn.Module, pixels: Tensor, batch_size: int = 256) -> Tensor:
    """Return a model's output for uint8 pixels (n, 3, h, w): float32 (n, width), on the CPU.

    Raises
    ------
    InputError
        If the model is in training mode, or its output is not one tensor of finite numbers for each image.
    """
    check_eval(model)
    check_range("batch_size", batch_size, 1, whole=True)
    asked, device = Classifier(model), home_of(model, pixels).device
    chunks = _in_turn(pixels, batch_size)
    return torch.cat([logits_of(asked, to_float(chunk.to(device))).cpu() for chunk in chunks])


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
        Read-outs as ``model.features`` names them, or any node of the network (`Backbone.read`). Heads that the model
        lacks (``neural`` without guidance) are left out.
    batch_size : int
        Images at a time.

    Returns
    -------
    dict of str to Tensor (n_images, width)
        float32, on the CPU.

    Raises
    ------
    InputError
        If the model is in training mode, or another library's, or has no such node.
    """
    check_eval(model)
    check_range("batch_size", batch_size, 1, whole=True)
    if not isinstance(model, Network):
        raise InputError(
            "this network names no read-outs",
            expected="a RoiPredictor or GuidedNet of this package",
            got=type(model).__name__,
            fix="take the features of another network by its own library, or its output by predict",
        )
    model.backbone.read([name for name in as_names(names) if name not in HEADS])
    home = next(model.parameters())
    chunks = [model.features(to_float(chunk).to(home)) for chunk in _in_turn(pixels, batch_size)]
    known = [name for name in as_names(names) if name in chunks[0]]
    return {name: torch.cat([chunk[name].float().cpu() for chunk in chunks]) for name in known}


def read_each(networks: Mapping[Key, Network], pixels: Tensor, name: str = "pooled") -> dict[Key, np.ndarray]:
    """Return the same read-out of several networks.

    Parameters
    ----------
    networks : mapping of key → network
        In eval mode; each has this read-out.
    pixels : Tensor (n_images, 3, height, width)
        uint8.
    name : str
        The read-out.

    Returns
    -------
    dict of key → array (n_images, width)

    Raises
    ------
    InputError
        As `read_out`, or if one has no such head.
    """
    read = {
        key: read_out(network, pixels, [name])
        for key, network in Bar(networks.items(), "read-outs", unit="network", leave=False)
    }
    if without := [key for key, found in read.items() if name not in found]:
        raise InputError(
            f"these networks have no {name} head",
            expected="a read-out that all of them have, such as pooled",
            got=f"none in {', '.join(map(str, without))}",
            fix="take another read-out, or leave them out",
        )
    return {key: found[name].numpy() for key, found in read.items()}


def _in_turn(pixels: Tensor, batch_size: int) -> Bar:
    """Give images (n, 3, h, w) in batches, under a bar if they are several."""
    chunks = pixels.split(batch_size)
    return Bar(chunks, "images through a network", unit="batch", leave=False, disable=len(chunks) < 2)


def decided(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return ``prediction`` and ``margin`` (own logit − the largest other), each (n,), of logits (n, n_classes)."""
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return {"prediction": logits.argmax(1), "margin": own - others}
