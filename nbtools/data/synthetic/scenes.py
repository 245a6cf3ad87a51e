"""Rendered scenes: one textured object on a coloured, cloudy background, many at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nbtools.data.synthetic.shapes import FURTHER_SHAPES, SHAPES, TEXTURES, Array, smooth_noise

CLASSES: tuple[str, ...] = tuple(SHAPES)
FURTHER: tuple[str, ...] = tuple(FURTHER_SHAPES)
FAMILIES: tuple[str, ...] = tuple(TEXTURES)
LAYOUTS: tuple[str, ...] = ("horizon", "vertical", "diagonal", "disk")
HARMONICS = (2, 3, 4)
SUPERSAMPLING = 3
CHUNK_PIXELS = 256 * 32 * 32  # images are rendered this many pixels at a time, to bound memory


def draw_latents(
    rng: np.random.Generator, shape: NDArray[np.integer], texture: NDArray[np.integer], image_size: int
) -> pd.DataFrame:
    """Draw what there is to know about each scene.

    Parameters
    ----------
    rng : Generator
    shape, texture : (n,) int arrays
        Indices into `CLASSES`, then `FURTHER`, and into `FAMILIES`; the texture of class *k* is family *k*.
    image_size : int
        Side length in pixels; texture periods grow with sqrt(image_size / 32).

    Returns
    -------
    DataFrame
        One row per scene. Lengths (``scale``, ``dx``, ``dy``, ``position``) are in half image widths,
        ``rotation`` and ``hue`` in radians, ``period`` in pixels, ``phase_x`` and ``phase_y`` in cycles;
        ``contrast`` (object minus background), ``amplitude`` (sd of the texture), ``saturation`` and the
        background's ``red``, ``green`` and ``blue`` are on the scale 0 to 1.
    """
    n = len(shape)
    columns = {
        "shape": np.asarray(shape, np.int64),
        "texture": np.asarray(texture, np.int64),
        "scale": rng.uniform(0.50, 0.68, n),
        "dx": rng.uniform(-0.16, 0.16, n),
        "dy": rng.uniform(-0.16, 0.16, n),
        "rotation": rng.normal(0, 0.35, n),
        "proportion": rng.uniform(-1, 1, n),
        **{f"{wave}{k}": rng.normal(0, 0.03 / np.sqrt(2), n) for k in HARMONICS for wave in ("cos", "sin")},
        "period": rng.uniform(3.2, 4.2, n) * np.sqrt(image_size / 32),
        "amplitude": 0.065 * rng.uniform(0.8, 1.2, n),
        "phase_x": rng.uniform(0, 1, n),
        "phase_y": rng.uniform(0, 1, n),
        "contrast": rng.uniform(0.18, 0.35, n) * rng.choice([-1, 1], n),
        "hue": rng.uniform(0, 2 * np.pi, n),
        "saturation": rng.uniform(0.05, 0.15, n),
        **{channel: rng.uniform(0.35, 0.65, n) for channel in ("red", "green", "blue")},
        "layout": rng.integers(len(LAYOUTS), size=n),
        "position": rng.uniform(-0.5, 0.5, n),
        "polarity": rng.choice([-1, 1], n),
    }
    return pd.DataFrame(columns)


def balanced(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """Return the ten classes' indices, each (nearly) equally often, in random order: an (n,) array."""
    return rng.permutation(np.arange(n) % len(CLASSES))


def chunk_size(image_size: int) -> int:
    """Return the number of images to render at once."""
    return max(1, CHUNK_PIXELS // image_size**2)


def render(latents: pd.DataFrame, image_size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render scenes.

    Parameters
    ----------
    latents : DataFrame
        From `draw_latents`; at most `chunk_size` rows, or memory grows.
    image_size : int
        Side length, pixels.
    rng : Generator
        For what the latents leave open: the background's clouds, and the two random textures.

    Returns
    -------
    (n, image_size, image_size, 3) uint8 array
    """
    background = _background(latents, image_size, rng)
    inside = _inside(latents, _grid(SUPERSAMPLING * image_size)).astype(np.float32)
    texture = _texture(latents, image_size, rng)
    # pixel = background·(1 − cover) + colour·cover + amplitude·grain: only the last two need the fine grid.
    cover = _shrink(inside, image_size)[..., None]
    grain = _shrink(inside * texture, image_size)[..., None] * _column(latents, "amplitude")[..., None]
    pixels = background * (1 - cover) + _object_color(latents)[:, None, None, :] * cover + grain
    return np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def render_silhouettes(latents: pd.DataFrame, image_size: int) -> NDArray[np.uint8]:
    """Render the objects of scenes where they are, black on white: (n, image_size, image_size, 3)."""
    inside = _inside(latents, _grid(SUPERSAMPLING * image_size)).astype(np.float32)
    return np.round(255 * (1 - _shrink(inside, image_size))).astype(np.uint8)[..., None].repeat(3, axis=-1)


def silhouettes(latents: pd.DataFrame, side: int, *, extent: float = 1.3) -> Array:
    """Draw each object centred and at one size, white on black.

    Parameters
    ----------
    latents : DataFrame
        From `draw_latents`.
    side : int
        Side length, pixels.
    extent : float
        Half width of the picture, in object units.

    Returns
    -------
    (n, side, side) array
        1 inside, 0 outside.
    """
    grid = extent * _grid(side)
    posed = latents.assign(scale=1.0, dx=0.0, dy=0.0)
    parts = [posed.iloc[start : start + 1024] for start in range(0, len(posed), 1024)]
    return np.concatenate([_inside(part, grid) for part in parts]).astype(np.float32)


def _grid(side: int) -> Array:
    return ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1).astype(np.float32)


def _column(latents: pd.DataFrame, name: str) -> Array:
    """Return one latent as (n, 1, 1), to broadcast against pictures."""
    return latents[name].to_numpy(np.float32)[:, None, None]


def _shrink(fine: Array, size: int) -> Array:
    n, step = len(fine), fine.shape[1] // size
    return fine.reshape(n, size, step, size, step).mean(axis=(2, 4))


def _inside(latents: pd.DataFrame, grid: Array) -> NDArray[np.bool_]:
    """Return which points of the square grid lie inside the object: (n, side, side)."""
    x, y = grid[None, None, :] - _column(latents, "dx"), grid[None, :, None] - _column(latents, "dy")
    angle, scale = _column(latents, "rotation"), _column(latents, "scale")
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    u, v = cos * x + sin * y, cos * y - sin * x
    stretch = _warp(latents, u, v)
    u, v = u * stretch, v * stretch
    inside = np.empty(u.shape, bool)
    for index, shape in enumerate((*SHAPES.values(), *FURTHER_SHAPES.values())):
        rows = np.flatnonzero(latents["shape"].to_numpy() == index)
        if len(rows):
            inside[rows] = shape(u[rows], v[rows], _column(latents, "proportion")[rows])
    return inside


def _warp(latents: pd.DataFrame, u: Array, v: Array) -> Array:
    """Return the factor on coordinates that bends the contour: 1 / (1 + harmonics of the angle)."""
    direction = u + 1j * v
    direction /= np.maximum(np.abs(direction), 1e-6)
    power, bend = direction.copy(), np.ones(u.shape, np.float32)
    for k in HARMONICS:
        power *= direction
        bend += _column(latents, f"cos{k}") * power.real + _column(latents, f"sin{k}") * power.imag
    return np.reciprocal(bend)


def _texture(latents: pd.DataFrame, size: int, rng: np.random.Generator) -> Array:
    """Return each scene's texture over the whole frame, mean 0 and sd 1: (n, fine side, fine side)."""
    side = SUPERSAMPLING * size
    pixels = ((np.arange(side, dtype=np.float32) + 0.5) / SUPERSAMPLING)[None]
    period = latents["period"].to_numpy(np.float32)
    fields = np.empty((len(latents), side, side), np.float32)
    for index, family in enumerate(TEXTURES.values()):
        rows = np.flatnonzero(latents["texture"].to_numpy() == index)
        if not len(rows):
            continue
        x = pixels[:, None, :] / period[rows, None, None] + _column(latents, "phase_x")[rows]
        y = pixels[:, :, None] / period[rows, None, None] + _column(latents, "phase_y")[rows]

        def draw(sigma: float, rows: NDArray[np.intp] = rows) -> Array:
            coarse = smooth_noise(rng, sigma * period[rows], size)
            return coarse.repeat(SUPERSAMPLING, axis=1).repeat(SUPERSAMPLING, axis=2)

        x, y = np.broadcast_arrays(x, y)
        fields[rows] = family(x, y, draw)
    fields -= fields.mean(axis=(1, 2), keepdims=True)
    fields /= fields.std(axis=(1, 2), keepdims=True)
    return fields


def _object_color(latents: pd.DataFrame) -> Array:
    """Return each object's colour: background luminance plus contrast, and a little hue: (n, 3)."""
    luminance = latents[["red", "green", "blue"]].to_numpy().mean(axis=1) + latents["contrast"].to_numpy()
    angle = latents["hue"].to_numpy()[:, None] + np.array([0, 2, 4]) * np.pi / 3
    return (luminance[:, None] + latents["saturation"].to_numpy()[:, None] * np.cos(angle)).astype(np.float32)


def _background(latents: pd.DataFrame, size: int, rng: np.random.Generator) -> Array:
    """Return colour + 0.10 · (clouds + 0.6 · layout): (n, size, size, 3)."""
    color = latents[["red", "green", "blue"]].to_numpy(np.float32)[:, None, None, :]
    clouds = _clouds(rng, len(latents), size)
    return color + np.float32(0.10) * (clouds + np.float32(0.6) * _layout(latents, size)[..., None])


def _clouds(rng: np.random.Generator, n: int, size: int) -> Array:
    """Return noise, amplitude ∝ frequency^-1.2, mostly common to the channels: (n, size, size, 3)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((n, 4, size, size), dtype=np.float32)) * frequency**-1.2
    fields = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    fields /= fields.std(axis=(2, 3), keepdims=True)
    return np.moveaxis(np.float32(0.7) * fields[:, :1] + np.float32(0.5) * fields[:, 1:], 1, -1)


def _layout(latents: pd.DataFrame, size: int) -> Array:
    """Return the scene layout, from −1 to 1 across a soft edge: (n, size, size)."""
    x, y = _grid(size)[None, None, :], _grid(size)[None, :, None]
    distances = [y + 0 * x, x + 0 * y, (x + y) / np.sqrt(2), np.hypot(x, y) - 0.75]
    chosen = np.concatenate(distances)[latents["layout"].to_numpy()].astype(np.float32)
    return _column(latents, "polarity") * np.tanh((chosen - _column(latents, "position")) / np.float32(0.12))
