"""Several models at once: loaded from their runs, and read out on the same images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import Tensor

from nbtools.models.networks import Network, load_model
from nbtools.models.read_outs import read_out

Key = TypeVar("Key")


class InFolder(Protocol):
    """What lies in a folder of its own: a run."""

    @property
    def folder(self) -> Path:
        """Where its model lies."""


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
        As `read_out`.
    """
    return {key: read_out(network, pixels, [name])[name].numpy() for key, network in networks.items()}


def load_models(found: Mapping[Key, InFolder]) -> dict[Key, Any]:
    """Rebuild the model of every run, frozen.

    Parameters
    ----------
    found : mapping of key → run
        Such as ``run.upstreams`` returns it.

    Returns
    -------
    dict of key → model
        In the same order.

    Raises
    ------
    InputError
        As `load_model`.
    """
    return {key: load_model(run.folder) for key, run in found.items()}
