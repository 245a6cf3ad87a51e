"""How sharply networks bend what images do when they are moved, turned, resized or faded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch

from nbtools.checks import as_names, check_enough, check_eval, check_range
from nbtools.classifiers import home_of
from nbtools.data.images.sets import ImageSet, to_float
from nbtools.data.images.transformations import PATHS, transformed
from nbtools.devices import best_device
from nbtools.metrics.geometry.curvature import step_angles, tangent_angles
from nbtools.models.backbones import HEADS
from nbtools.models.networks import Network
from nbtools.processes import Bar

MEASURES = {"step angle": step_angles, "tangent angle": tangent_angles}
PIXELS = "pixels"  # stands before all read-outs


@torch.no_grad()
def measure_curvature(
    networks: Mapping[tuple[str, int], Network],
    images: ImageSet,
    readouts: Sequence[str],
    batch_size: int = 64,
) -> pd.DataFrame:
    """Measure how sharply each image's path bends along each transformation, at each read-out.

    Parameters
    ----------
    networks : mapping of (condition, seed) → Network
        In eval mode, of any classes.
    images : ImageSet
        Labelled, square.
    readouts : sequence of str
        As ``network.features`` names them, or any node; heads that a network lacks are left out.
    batch_size : int
        Images at a time.

    Returns
    -------
    DataFrame
        One row per network × transformation (of `data.PATHS`) × read-out (``"pixels"``, the images themselves, is one)
        × measure (of `MEASURES`) × image: ``image_id``, ``label``, ``condition``, ``seed``, ``transformation``,
        ``readout``, ``measure``, ``value`` (degrees, the mean along the path).

    Raises
    ------
    InputError
        If there is no network, one is in training mode or has no such node, images are not square, or one is not
        changed by a transformation.
    """
    check_enough("no network was given", len(networks), 1, fix="name one: {('TO', 0): network}")
    check_range("batch_size", batch_size, 1, whole=True)
    parts = []
    for (condition, seed), network in Bar(networks.items(), "curvature", unit="network", disable=None):
        check_eval(network)
        network.backbone.read([name for name in as_names(readouts) if name not in HEADS])
        for start, kind in product(range(0, len(images), batch_size), PATHS):
            rows = images[slice(start, start + batch_size)]
            labels = {"image_id": rows.ids.astype(str), "label": rows.labels.numpy()}
            named = {"condition": condition, "seed": seed, "transformation": kind}
            for readout, path in _paths(network.to(best_device()), rows, kind, as_names(readouts)).items():
                for measure, angles in MEASURES.items():
                    value = {"readout": readout, "measure": measure, "value": angles(path).mean(axis=-1)}
                    parts.append(pd.DataFrame({**labels, **named, **value}))
    return pd.concat(parts, ignore_index=True)


def _paths(network: Network, images: ImageSet, kind: str, readouts: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the images' paths (n, n_points, width) along a transformation, in pixels and at each read-out."""
    x = to_float(images.pixels.to(best_device()))
    steps = [transformed(x, kind, amount) for amount in PATHS[kind]]
    found = [{PIXELS: step.flatten(1), **network.features(step.to(home_of(network, step)))} for step in steps]
    known = [name for name in (PIXELS, *readouts) if name in found[0]]
    return {name: torch.stack([each[name].float().cpu() for each in found], dim=1).numpy() for name in known}
