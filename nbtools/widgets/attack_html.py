"""The attack explorer's pictures and messages as HTML: captions and alternative texts, all text escaped."""

from __future__ import annotations

from html import escape

import numpy as np

from nbtools.data.images.sets import ImageSet
from nbtools.plots.images import png_uri
from nbtools.widgets.attack_view import Panel, View

THUMBNAIL = 64  # pixels a side


def pictures(view: View) -> str:
    """Return every network's pictures: the image before and after the attack, and what changed."""
    return f'<div class="nbtools-pictures">{"".join(_section(panel, view) for panel in view.panels)}</div>'


def _section(panel: Panel, view: View) -> str:
    name, label = escape(panel.network), escape(view.label or "image")
    shown = (
        (panel.before, "original", f"the original {label}"),
        (panel.after, f"ε = {view.budget}" if view.level else "clean", f"{label} as changed against network {name}"),
        (panel.difference, f"difference × {panel.amplify:.3g}", "what was changed, amplified; grey where nothing was"),
    )
    figures = "".join(_figure(image, caption, text) for image, caption, text in shown)
    verdict = f'<p class="nbtools-verdict">{escape(panel.verdict)}</p><p class="nbtools-flip">{escape(panel.flip)}</p>'
    return f'<section aria-label="network {name}"><h4>{name}</h4>{figures}{verdict}</section>'


def _figure(image: np.ndarray, caption: str, text: str) -> str:
    picture = f'<img src="{png_uri(image)}" alt="{text}">'
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def thumbnails(images: ImageSet) -> list[dict[str, str]]:
    """Return what the tray shows: each image's id, its thumbnail and a text for who cannot see it."""
    names = [images.classes[label] if label >= 0 else "no label" for label in images.labels.tolist()]
    step = -(-images.pixels.shape[-1] // THUMBNAIL)  # rows and columns are left out until an image is small enough
    return [
        {"id": str(image_id), "source": png_uri(pixels), "text": f"{name}: {image_id}"}
        for image_id, pixels, name in zip(images.ids, images.to_numpy()[:, ::step, ::step], names, strict=True)
    ]


def message(text: str, *, alert: bool = False) -> str:
    """Return a message to the reader; an alert is read aloud at once."""
    return f'<div class="nbtools-message" role="{"alert" if alert else "status"}">{escape(text)}</div>'
