"""Networks' decisions on naturally corrupted images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from nbtools.checks import check_same_classes
from nbtools.data.images.corruptions import load_corruption
from nbtools.data.images.sets import ImageSet
from nbtools.metrics.samples.tables import stacked
from nbtools.models.networks import Network
from nbtools.models.read_outs import decided, predict
from nbtools.processes import Bar


def decide_corrupted(
    networks: Mapping[tuple[str, int], Network], clean: ImageSet, folder: Path, there: pd.DataFrame
) -> pd.DataFrame:
    """Let networks decide on clean images and on every corruption of them; each image is read once for all networks.

    Parameters
    ----------
    networks : mapping of (condition, seed) to Network
        In eval mode.
    clean : ImageSet
        The same images, uncorrupted: ids and labels are theirs.
    folder : Path
        In ImageNet-C's layout.
    there : DataFrame
        Rows of `data.corruptions(folder)`: ``corruption``, ``severity``.

    Returns
    -------
    DataFrame
        One row per network × image × corruption × severity: ``image_id``, ``label``, ``prediction``, ``margin`` (logit
        of the label − largest other), ``condition``, ``seed``, ``corruption``, ``severity``; the clean images stand as
        severity 0 of every corruption.

    Raises
    ------
    InputError
        If a network is not of the images' classes, or a corruption lacks an image.
    """
    check_same_classes(clean.classes, *networks.values())
    size, classes = clean.pixels.shape[-1], clean.classes
    parts = []
    for row in Bar(list(there.itertuples()), "corruptions"):
        images = load_corruption(folder, row.corruption, row.severity, size, classes)
        images = images[images.rows(clean.ids)]
        parts.append(decide(networks, images).assign(corruption=row.corruption, severity=row.severity))
    plain = decide(networks, clean)
    parts += [plain.assign(corruption=kind, severity=0) for kind in dict.fromkeys(there["corruption"])]
    return pd.concat(parts, ignore_index=True)


def decide(networks: Mapping[tuple[str, int], Network], images: ImageSet) -> pd.DataFrame:
    """Let networks decide on images: a row per network × image, as `decide_corrupted` says."""
    parts = {}
    for key, network in networks.items():
        found = decided(predict(network, images.pixels), images.labels)
        columns = {"label": images.labels.numpy(), **{name: value.numpy() for name, value in found.items()}}
        parts[key] = pd.DataFrame({"image_id": images.ids, **columns}).astype({"margin": np.float64})
    return stacked(parts, "condition", "seed")
