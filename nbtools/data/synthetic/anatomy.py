"""The simulated brain: an ellipsoid in which the atlas's labels are grown as blobs in both hemispheres."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from nbtools.conditions import HIERARCHY, ROI_LABELS
from nbtools.data.synthetic.recipe import DEAD, DORSAL_REGIONS, VOXELS, Settings

SHAPE = (28, 34, 26)  # voxels along x (left to right), y (back to front), z (bottom to top)
VOXEL = 1.8  # mm
SPILL = 0.12  # share of labelled voxels, beyond those asked for, that fall outside nsdgeneral
UNLABELLED, OUTSIDE = 0, -1
_MIDDLE, _SEMI_AXES = (np.array(SHAPE) - 1) / 2, (np.array(SHAPE) - 2) / 2  # of the brain, voxels

# Where each label grows from, in semi-axes of the brain from its middle: (distance to the midline, y, z).
SEEDS: dict[int, tuple[float, float, float]] = {
    1: (0.18, -0.82, -0.10),
    2: (0.18, -0.78, 0.25),
    3: (0.28, -0.66, -0.38),
    4: (0.28, -0.60, 0.52),
    7: (0.48, -0.45, -0.52),
    8: (0.40, -0.20, -0.70),
    9: (0.46, -0.02, -0.68),
    10: (0.34, 0.18, -0.68),
    11: (0.34, 0.36, -0.62),
    14: (0.66, -0.42, 0.10),
    15: (0.58, -0.58, 0.16),
    12: (0.80, 0.02, 0.02),
    13: (0.78, -0.18, 0.10),
    17: (0.26, -0.50, 0.74),
    16: (0.54, -0.38, 0.64),
    18: (0.32, -0.16, 0.86),
}


@dataclass(frozen=True)
class Anatomy:
    """Label volumes and the planted voxels.

    Attributes
    ----------
    kastner, nsdgeneral : (28, 34, 26) int16 arrays
        Atlas labels, and 1 in visual cortex; 0 elsewhere in the brain, −1 outside it.
    live, dead : dict of str to (n_voxels, 3) int64 arrays
        Each region's voxels (i, j, k) with a signal, and constant ones, each in the order of ``np.argwhere``.
    """

    kastner: NDArray[np.int16]
    nsdgeneral: NDArray[np.int16]
    live: dict[str, NDArray[np.int64]]
    dead: dict[str, NDArray[np.int64]]

    @property
    def scanned(self) -> NDArray[np.int64]:
        """Voxels (i, j, k) that carry signal or noise: (n, 3), in the order of ``np.argwhere``."""
        return np.argwhere((self.nsdgeneral == 1) | (self.kastner > 0))


def build_anatomy(settings: Settings) -> Anatomy:
    """Grow the regions and choose the dead voxels.

    Parameters
    ----------
    settings : Settings
        Only the seed matters.

    Returns
    -------
    Anatomy
    """
    brain = _brain()
    kastner = np.where(brain, UNLABELLED, OUTSIDE).astype(np.int16)
    spilled = np.zeros(SHAPE, bool)
    for name in HIERARCHY:
        for label, side, count in _blobs(name):
            voxels = _grow(kastner, label, side, int(np.ceil(count * (1 + SPILL))))
            kastner[tuple(voxels.T)] = label
            spilled[tuple(voxels[count:].T)] = True  # grown last: the rim farthest from the seed
    visual = binary_dilation(kastner > 0) & brain & ~spilled
    nsdgeneral = np.where(brain, visual, OUTSIDE).astype(np.int16)
    live, dead = {}, {}
    for name in HIERARCHY:
        voxels = np.argwhere(np.isin(kastner, ROI_LABELS[name]) & visual)
        silent = settings.generator("dead voxels", name).permutation(len(voxels)) < DEAD.get(name, 0)
        live[name], dead[name] = voxels[~silent], voxels[silent]
    return Anatomy(kastner, nsdgeneral, live, dead)


def build_dorsal(ventral: Anatomy) -> Anatomy:
    """Grow the dorsal regions where nothing was scanned, so that no voxel of the others changes.

    Returns
    -------
    Anatomy
        Of these regions alone: labels and nsdgeneral are 0 in the rest of the brain.
    """
    outside = (ventral.kastner == OUTSIDE) | (ventral.kastner > 0) | (ventral.nsdgeneral == 1)
    grown = np.where(outside, OUTSIDE, UNLABELLED).astype(np.int16)
    for name in DORSAL_REGIONS:
        for label, side, count in _blobs(name):
            grown[tuple(_grow(grown, label, side, count).T)] = label
    live = {name: np.argwhere(np.isin(grown, ROI_LABELS[name])) for name in DORSAL_REGIONS}
    labels = np.maximum(grown, UNLABELLED)
    return Anatomy(labels, (labels > 0).astype(np.int16), live, {name: voxels[:0] for name, voxels in live.items()})


def _blobs(name: str) -> list[tuple[int, int, int]]:
    """Label, side and number of voxels of each blob that a region is grown from."""
    blobs = [(label, side) for label in ROI_LABELS[name] for side in (-1, 1)]
    counts = np.diff(np.linspace(0, VOXELS + DEAD.get(name, 0), len(blobs) + 1).round().astype(int))
    return [(label, side, int(count)) for (label, side), count in zip(blobs, counts, strict=True)]


def affine() -> NDArray[np.float64]:
    """Return the 4×4 matrix from voxel indices to millimetres, the brain's middle at the origin."""
    matrix = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
    matrix[:3, 3] = -VOXEL * (np.array(SHAPE) - 1) / 2
    return matrix


def _brain() -> NDArray[np.bool_]:
    centred = np.moveaxis(np.indices(SHAPE), 0, -1) - _MIDDLE
    return np.square(centred / _SEMI_AXES).sum(axis=-1) < 1


def _grow(kastner: NDArray[np.int16], label: int, side: int, count: int) -> NDArray[np.int64]:
    """Grow a connected blob of unlabelled brain voxels around a label's seed: (count, 3), nearest first."""
    seed = _MIDDLE + np.array([side, 1, 1]) * np.array(SEEDS[label]) * _SEMI_AXES
    free = kastner == UNLABELLED
    candidates = np.argwhere(free)
    start = tuple(int(c) for c in candidates[np.square(candidates - seed).sum(axis=1).argmin()])
    queue, seen = [(0.0, start)], {start}
    blob: list[tuple[int, ...]] = []
    while len(blob) < count:
        voxel = heapq.heappop(queue)[1]
        blob.append(voxel)
        for axis in range(3):
            for step in (-1, 1):
                near = tuple(c + step * (a == axis) for a, c in enumerate(voxel))
                if near not in seen and free[near]:
                    seen.add(near)
                    heapq.heappush(queue, (float(np.square(near - seed).sum()), near))
    return np.array(blob)
