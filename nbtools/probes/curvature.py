"""How sharply networks bend what images do when they are moved, turned, resized or faded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import pandas as pd
import torch
from torch import Tensor

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
    readouts, parts = as_names(readouts), []
    for network in networks.values():
        check_eval(network)
        network.to(best_device()).backbone.read([name for name in readouts if name not in HEADS])
    batches = [images[slice(start, start + batch_size)] for start in range(0, len(images), batch_size)]
    for rows, kind in Bar(list(product(batches, PATHS)), "curvature", unit="path"):
        x = to_float(rows.pixels.to(best_device()))
        steps = [transformed(x, kind, amount) for amount in PATHS[kind]]
        bent = _bent({PIXELS: [step.flatten(1) for step in steps]}, rows)
        for (condition, seed), network in networks.items():
            seen = [network.features(step.to(home_of(network, step))) for step in steps]
            maps = {name: [each[name] for each in seen] for name in readouts if name in seen[0]}
            named = {"condition": condition, "seed": seed, "transformation": kind}
            parts += [table.assign(**named) for table in (bent, _bent(maps, rows))]
    return pd.concat(parts, ignore_index=True)


def _bent(paths: Mapping[str, list[Tensor]], images: ImageSet) -> pd.DataFrame:
    """Measure paths of n images, each read-out's points (n, width) in their order."""
    labels, parts = {"image_id": images.ids.astype(str), "label": images.labels.numpy()}, []
    for readout, points in paths.items():
        path = torch.stack(points, dim=1).double().cpu().numpy()
        for measure, angles in MEASURES.items():
            named = {"readout": readout, "measure": measure, "value": angles(path).mean(axis=-1)}
            parts.append(pd.DataFrame({**labels, **named}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
