"""Feature blocks of the scenes: what the simulated voxels respond to."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

from nbtools.data.synthetic.scenes import CLASSES, FAMILIES, LAYOUTS, silhouettes
from nbtools.data.synthetic.shapes import Array

Matrix = NDArray[np.float64]
PERIODS = (3.0, 5.0, 9.0)  # pixels at 32 px
ORIENTATIONS = 4
ENERGY_CELLS = 4  # a side of the grid on which V1's energy is pooled
# Few enough for a small network to learn from 2,700 noisy images: with 150 of gabor, 60 of tex2 and 40 of curv,
# predictors of V1 to VO reached r .28 on validation images where that of TO reached .46.
COMPONENTS = {"gabor": 50, "tex2": 20, "curv": 20, "surf": 15, "scene": 11, "sil": 20, "silr": 20, "cat": 9}


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
        Principal components of the z-scored features of each block, variance adding up to 1.
    """
    gabor, tex2 = _image_features(images)
    tilted = silhouettes(latents, 30, upright=False)
    raw = {
        "gabor": gabor,
        "tex2": tex2,
        "curv": _boundaries(tilted),
        "surf": _surface(latents),
        "scene": _scene(latents),
        "sil": _pool(tilted, 10),
        "silr": _pool(silhouettes(latents, 30, upright=True), 10),
        "cat": np.eye(len(CLASSES))[latents["shape"]],
    }
    return {name: _components(_flat(block), COMPONENTS[name]) for name, block in raw.items()}


def _flat(block: NDArray[np.floating]) -> Matrix:
    return block.reshape(len(block), -1).astype(np.float64)


def _components(features: Matrix, count: int) -> Matrix:
    """Z-score, keep the first principal components, scale to total variance 1: (n, at most `count`)."""
    scored = features - features.mean(axis=0)
    spread = scored.std(axis=0)
    scored = scored[:, spread > 1e-9] / spread[spread > 1e-9]
    values, vectors = eigh(scored.T @ scored / len(scored))
    vectors = vectors[:, ::-1][:, : min(count, int((values > 1e-9 * values[-1]).sum()))]
    # The sign of an eigenvector is arbitrary: fix it, so that every LAPACK plants the same subject.
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    scores = scored @ vectors
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


def _image_features(images: NDArray[np.uint8]) -> tuple[Array, Array]:
    """Return log-Gabor amplitudes on a 4×4 grid (n, 12, 4, 4) and texture statistics (n, 312)."""
    filters = _log_gabor(images.shape[1])
    gabor, texture = [], []
    for start in range(0, len(images), 128):
        grey = images[start : start + 128].mean(axis=-1, dtype=np.float32) / 255
        amplitude = np.abs(np.fft.ifft2(np.fft.fft2(grey)[:, None] * filters)).astype(np.float32)
        gabor.append(_pool(amplitude, ENERGY_CELLS))
        texture.append(_texture_statistics(amplitude**2))
    return np.concatenate(gabor), np.concatenate(texture)


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


def _texture_statistics(energy: Array) -> Array:
    """Return log energies and log pairwise products of normalised energies, averaged over quadrants.

    Parameters
    ----------
    energy : (n, channels, size, size) array

    Returns
    -------
    (n, 4 · (channels + channels · (channels − 1) / 2)) array
    """
    n, channels, size, _ = energy.shape
    half = size // 2
    quadrants = energy[..., : 2 * half, : 2 * half].reshape(n, channels, 2, half, 2, half)
    quadrants = quadrants.transpose(0, 2, 4, 1, 3, 5).reshape(n, 4, channels, half * half)
    share = quadrants / (quadrants.sum(axis=2, keepdims=True) + 1e-9)
    products = share @ share.swapaxes(2, 3) / half**2
    first, second = np.triu_indices(channels, 1)
    parts = [np.log(quadrants.mean(axis=3) + 1e-8), np.log(products[:, :, first, second] + 1e-6)]
    return np.concatenate(parts, axis=2).reshape(n, -1)


def _boundaries(masks: Array) -> Array:
    """Return the amount of boundary facing each of 8 directions, on a 5×5 grid: (n, 8, 5, 5)."""
    down, right = np.gradient(masks, axis=(1, 2))
    steepness, bins = np.hypot(down, right), np.round(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 8
    return np.stack([_pool(steepness * (bins == k), 5) for k in range(8)], axis=1)


def _surface(latents: pd.DataFrame) -> Matrix:
    hue, contrast = latents["hue"].to_numpy(), latents["contrast"].to_numpy()
    columns = [np.cos(hue), np.sin(hue), np.sign(contrast), np.abs(contrast), latents["amplitude"].to_numpy()]
    return np.column_stack([*columns, np.eye(len(FAMILIES))[latents["texture"]]])


def _scene(latents: pd.DataFrame) -> Matrix:
    position, polarity = latents["position"].to_numpy(), latents["polarity"].to_numpy()
    color = latents[["red", "green", "blue"]].to_numpy()
    layout = np.eye(len(LAYOUTS))[latents["layout"]]
    return np.column_stack([layout, position, polarity, position * polarity, color, color.mean(axis=1)])
