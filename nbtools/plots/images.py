"""Figures of images: a grid of tiles, and what an attack changed."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from nbtools.checks import check_range
from nbtools.errors import InputError
from nbtools.plots.style import Panel, panels


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
    fig, places = panels(title, len(images), min(columns, len(images)), heads=list(map(str, labels)), **_TILES)
    for image, label, place in zip(images, labels, places, strict=True):
        _add_tile(fig, image, label, place)
    return _bare(fig)


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
    pixels = np.concatenate([np.round(255 * np.clip(row, 0, 1)) for row in rows.values()]).astype(np.uint8)
    n = len(original)
    fig, places = panels(title, 3 * n, n, heads=[*captions, *[""] * (3 * n - len(captions))], **_TILES)
    for i, (image, place) in enumerate(zip(pixels, places, strict=True)):
        name = list(rows)[i // n]
        _add_tile(fig, image, name.replace("<br>", " "), place)
        if i % n == 0:
            beside = {"xref": "paper", "x": 0, "xshift": -8, "xanchor": "right", "align": "right", "y": 0.5}
            fig.add_annotation(text=name, yref=f"{fig.data[-1].yaxis} domain", showarrow=False, **beside)
    return _bare(fig).update_layout(margin={"l": 110})


# Rows of tiles: squares as large as their place is wide, up to a height.
_TILES: dict[str, Any] = {"row": 160, "gap": 6, "horizontal_spacing": 0.01}


def _add_tile(fig: go.Figure, image: np.ndarray, name: str, place: Panel) -> None:
    """Draw a uint8 image in its panel; without smoothing small ones stay crisp."""
    fig.add_image(source=png_uri(image), zsmooth=False, hoverinfo="name", name=name, **place)


def _bare(fig: go.Figure) -> go.Figure:
    fig.update_xaxes(visible=False, constrain="domain").update_yaxes(visible=False, constraintoward="top")
    return fig.update_layout(height=fig.layout.height - 55, margin={"l": 20, "r": 20, "b": 15})


def png_uri(image: np.ndarray) -> str:
    """Return a uint8 image (height, width, 3) as a data URI of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


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
