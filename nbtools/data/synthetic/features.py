"""Feature blocks of the scenes: what the simulated voxels respond to."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

from nbtools.data.synthetic.scenes import CLASSES, LAYOUTS, silhouettes
from nbtools.data.synthetic.shapes import Array

Matrix = NDArray[np.float64]
PERIODS = (3.0, 5.0, 9.0)  # pixels at 32 px
ORIENTATIONS = 4
ENERGY_CELLS = 4  # a side of the grid on which V1's energy is pooled
# Few enough for a small network to learn from 3,000 noisy images, and gabor about as well as curv.
COMPONENTS = {"gabor": 50, "curv": 15, "scene": 11, "cat": 9, "position": 6, "size": 3}
CLASS_KEPT = 0.4  # of the distances between curv's class means: the class then has as small a part in it as in gabor


def feature_blocks(images: NDArray[np.uint8], latents: pd.DataFrame) -> dict[str, Matrix]:
    """Compute every feature block of the scenes.

    Parameters
    ----------
    images : (n, size, size, 3) uint8 array
    latents : DataFrame
        The scenes' latents, as `draw_latents` gives them.

    Returns
    -------
    dict of str to (n, n_components) array
        Principal components of the z-scored features of each block, variance adding up to 1: ``gabor``, local contrast
        by orientation and scale; ``curv``, the object's outline wherever it lies, with less of its class than it has;
        ``scene``, the background; ``cat``, the class.
    """
    raw = {
        "gabor": _energies(images),
        "curv": _boundaries(silhouettes(latents, 30)),
        "scene": _scene(latents),
        "cat": np.eye(len(CLASSES))[latents["shape"]],
    }
    blocks = {name: _components(_flat(block), COMPONENTS[name]) for name, block in raw.items()}
    return {**blocks, "curv": _muted(blocks["curv"], latents["shape"])}


def spatial_blocks(latents: pd.DataFrame) -> dict[str, Matrix]:
    """Compute what dorsal voxels respond to beside contrast, of the scenes' latents.

    Returns
    -------
    dict of str to (n, n_components) array
        As `feature_blocks`: ``position``, receptive fields on a 3×3 grid of where objects lie; ``size``, five fields
        along their scale.
    """
    middles = np.linspace(-0.16, 0.16, 3)
    across, down = (_fields(latents[name], middles, 0.1) for name in ("dx", "dy"))
    raw = {
        "position": across[:, :, None] * down[:, None],
        "size": _fields(latents["scale"], np.linspace(0.5, 0.68, 5), 0.05),
    }
    return {name: _components(_flat(block), COMPONENTS[name]) for name, block in raw.items()}


def _fields(values: pd.Series, middles: Matrix, width: float) -> Matrix:
    """Response (n, n_fields) of Gaussian receptive fields."""
    return np.exp(-(((values.to_numpy()[:, None] - middles) / width) ** 2) / 2)


def _flat(block: NDArray[np.floating]) -> Matrix:
    return block.reshape(len(block), -1).astype(np.float64)


def _muted(scores: Matrix, classes: pd.Series) -> Matrix:
    """Draw the class means of scores (n, n_components) together, to `CLASS_KEPT` of their distances."""
    means = pd.DataFrame(scores).groupby(classes.to_numpy()).transform("mean").to_numpy()
    return _scaled(scores - (1 - CLASS_KEPT) * means)


def _components(features: Matrix, count: int) -> Matrix:
    """Z-score, keep the first principal components, scale to total variance 1: (n, at most `count`)."""
    scored = features - features.mean(axis=0)
    spread = scored.std(axis=0)
    scored = scored[:, spread > 1e-9] / spread[spread > 1e-9]
    values, vectors = eigh(scored.T @ scored / len(scored))
    vectors = vectors[:, ::-1][:, : min(count, int((values > 1e-9 * values[-1]).sum()))]
    # The sign of an eigenvector is arbitrary: fix it, so that every LAPACK plants the same subject.
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    return _scaled(scored @ vectors)


def _scaled(scores: Matrix) -> Matrix:
    """Scale scores (n, n_components) to total variance 1."""
    return scores / np.sqrt(scores.var(axis=0).sum())


def _pool(fields: Array, cells: int) -> Array:
    """Average the last two axes over a grid of cells, whose borders may cut pixels: (…, cells, cells)."""
    size = fields.shape[-1]
    edges = np.linspace(0, size, cells + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)[None]
    weights = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None) * cells / size
    weights = weights.astype(np.float32)
    return weights @ fields @ weights.T


def _energies(images: NDArray[np.uint8]) -> Array:
    """Return log-Gabor amplitudes on a 4×4 grid: (n, 12, 4, 4)."""
    filters, parts = _log_gabor(images.shape[1]), []
    for start in range(0, len(images), 128):
        grey = images[start : start + 128].mean(axis=-1, dtype=np.float32) / 255
        amplitude = np.abs(np.fft.ifft2(np.fft.fft2(grey)[:, None] * filters)).astype(np.float32)
        parts.append(_pool(amplitude, ENERGY_CELLS))
    return np.concatenate(parts)


def _log_gabor(size: int) -> Array:
    """Return one-sided log-Gabor transfer functions: (12, size, size)."""
    row, column = np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None]
    radius, angle = np.hypot(row, column), np.arctan2(row, column)
    radius[0, 0] = 1e-9
    filters = []
    for period in PERIODS:
        center = 1 / (period * np.sqrt(size / 32))
        radial = np.exp(-(np.log(radius / center) ** 2) / (2 * np.log(0.6) ** 2))
        for step in range(ORIENTATIONS):
            off = np.angle(np.exp(1j * (angle - step * np.pi / ORIENTATIONS)))
            filters.append(radial * np.exp(-(off**2) / (2 * 0.4**2)))
    return np.stack(filters).astype(np.float32)


def _boundaries(masks: Array) -> Array:
    """Return the amount of boundary facing each of 8 directions, on a 5×5 grid: (n, 8, 5, 5)."""
    down, right = np.gradient(masks, axis=(1, 2))
    steepness, bins = np.hypot(down, right), np.round(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 8
    return np.stack([_pool(steepness * (bins == k), 5) for k in range(8)], axis=1)


def _scene(latents: pd.DataFrame) -> Matrix:
    position, polarity = latents["position"].to_numpy(), latents["polarity"].to_numpy()
    color = latents[["red", "green", "blue"]].to_numpy()
    layout = np.eye(len(LAYOUTS))[latents["layout"]]
    return np.column_stack([layout, position, polarity, position * polarity, color, color.mean(axis=1)])
