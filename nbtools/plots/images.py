"""Figures of images: a grid of tiles, and what an attack changed."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from nbtools.checks import check_range
from nbtools.errors import InputError
from nbtools.plots.style import TOP, WIDTH, new_figure

Places = Sequence[tuple[float, float]]  # column, and row from the top, in sides of a tile


def image_grid(images: np.ndarray, labels: Sequence[str], columns: int = 6, *, title: str) -> go.Figure:
    """Show images as a grid of crisp tiles, a label above each.

    Parameters
    ----------
    images : uint8 array (n, height, width, 3)
        RGB pixels.
    labels : sequence of str (n,)
        Written above the images; long ones are wrapped.
    columns : int
        Tiles per row.
    title : str
        Title; begin or end it with `Study.title`.

    Raises
    ------
    InputError
        If images are not uint8 RGB, channels last, or labels differ from them in number.
    """
    _check_images(images, "images", np.uint8)
    if len(labels) != len(images):
        raise InputError(
            "labels and images differ in number",
            expected=f"{len(images)} labels",
            got=len(labels),
            fix="give one label per image",
        )
    check_range("columns", columns, 1)
    columns = min(columns, len(images))
    tile = min(150, (WIDTH - 40) // columns)
    wrapped, lines = _wrapped(labels, tile)
    head = lines + 0.06
    places = [(i % columns, (i // columns) * (1 + head) + head) for i in range(len(images))]
    fig = _tiles(images, places, list(labels), tile, title, left=20)
    for (x, y), label in zip(places, wrapped, strict=True):
        _note(fig, label, x=x + 0.48, y=y, yanchor="bottom", size=12)
    return fig


def perturbations(
    original: np.ndarray,
    adversarial: np.ndarray,
    amplify: float = 10,
    captions: Sequence[str] = (),
    *,
    title: str,
) -> go.Figure:
    """Show images before and after an attack, and the amplified difference (grey = unchanged).

    Parameters
    ----------
    original, adversarial : arrays (n, height, width, 3)
        RGB pixels in [0, 1], channels last.
    amplify : float
        Factor on the difference; shown is 0.5 + amplify × difference, clipped to [0, 1].
    captions : sequence of str (n,) or empty
        One above each column, such as ``"bear → truck"``.
    title : str
        Title, with `Study.title`.

    Raises
    ------
    InputError
        If pixels are not in [0, 1], channels last, or shapes or the number of captions differ.
    """
    for name, pixels in (("original", original), ("adversarial", adversarial)):
        _check_images(pixels, name, np.floating)
    if original.shape != adversarial.shape or len(captions) not in (0, len(original)):
        raise InputError(
            "originals, adversarial images and captions do not match",
            expected=f"adversarial {original.shape} and {len(original)} captions or none",
            got=f"adversarial {adversarial.shape}, {len(captions)} captions",
            fix="give the same images in the same order",
        )
    rows = {
        "original": original,
        "attacked": adversarial,
        f"difference<br>× {amplify:g}": 0.5 + amplify * (adversarial - original),
    }
    n, left = len(original), 110
    tile = min(150, (WIDTH - left - 20) // n)
    wrapped, lines = _wrapped(captions, tile)
    head = lines + 0.04
    places = [(i, row + head) for row in range(3) for i in range(n)]
    pixels = np.concatenate([np.round(255 * np.clip(row, 0, 1)) for row in rows.values()]).astype(np.uint8)
    names = [name.replace("<br>", " ") for name in rows for _ in range(n)]
    fig = _tiles(pixels, places, names, tile, title, left)
    for row, name in enumerate(rows):
        _note(fig, name, xref="paper", x=0, xshift=-8, y=row + head + 0.48, xanchor="right", align="right")
    for i, caption in enumerate(wrapped):
        _note(fig, caption, x=i + 0.48, y=head, yanchor="bottom", size=12)
    return fig


def _wrapped(texts: Sequence[str], tile: int) -> tuple[list[str], float]:
    """Wrap texts to the width of a tile (pixels), and say how high the longest is, in tiles."""
    wrapped = ["<br>".join(textwrap.wrap(str(text), max(6, tile // 7))) for text in texts]
    return wrapped, max((text.count("<br>") + 1 for text in wrapped), default=0) * 17 / tile


def _tiles(images: np.ndarray, places: Places, names: Sequence[str], tile: int, title: str, left: int) -> go.Figure:
    """Draw each uint8 image at its place; a tile and the left margin are given in pixels."""
    fig = new_figure(title)
    n_rows, n_columns = images.shape[1:3]
    dx, dy = 0.96 / n_columns, 0.96 / n_rows
    look = {"dx": dx, "dy": dy, "zsmooth": False, "hoverinfo": "name"}  # zsmooth=False keeps small images crisp
    for image, (x, y), name in zip(images, places, names, strict=True):
        # plotly puts x0, y0 at the middle of the first pixel
        fig.add_image(source=png_uri(image), x0=x + dx / 2, y0=y + dy / 2, name=name, **look)
    columns, rows = (max(place[i] for place in places) + 1 for i in (0, 1))
    fig.update_xaxes(visible=False, range=[0, columns], constrain="domain")
    fig.update_yaxes(visible=False, range=[rows, 0], constrain="domain", scaleanchor="x")
    width, top, bottom = max(left + 20 + round(columns * tile), WIDTH), TOP - 25, 15
    margin = {"l": left, "r": width - left - round(columns * tile), "t": top, "b": bottom}
    return fig.update_layout(width=width, height=top + bottom + round(rows * tile), margin=margin)


def png_uri(image: np.ndarray) -> str:
    """Return a uint8 image (height, width, 3) as a data URI of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _note(fig: go.Figure, text: str, size: int = 14, **where: object) -> None:
    fig.add_annotation(text=text, showarrow=False, font={"size": size}, **where)


def _check_images(images: np.ndarray, name: str, kind: type) -> None:
    """Raise unless images are (n, height, width, 3) of this kind, floats within [0, 1]."""
    shaped = isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[-1] == 3 and len(images) > 0
    typed = shaped and np.issubdtype(images.dtype, kind)
    if not typed or (kind is np.floating and not (images.min() >= 0 and images.max() <= 1)):
        got = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        if typed:
            got += f" from {images.min():.3g} to {images.max():.3g}"
        wanted = "floats in [0, 1]" if kind is np.floating else "uint8"
        raise InputError(
            f"the {name} are not pixels to show",
            expected=f"a NumPy array (n, height, width, 3), {wanted}",
            got=got,
            fix="move channels last, and give pixels before normalisation",
        )
