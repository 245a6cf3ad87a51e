"""What the attack explorer's page is sent: everything about one choice at every ε, so that ε moves without a kernel."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from nbtools.attacks.meaning import MEANING
from nbtools.attacks.table import ATTACKS
from nbtools.data.images.sets import ImageSet
from nbtools.plots.images import png_uri
from nbtools.plots.looks import color
from nbtools.widgets.attack_class import ClassView, class_view, foreign, together
from nbtools.widgets.attack_networks import condition_of, seed_of
from nbtools.widgets.attack_state import CLASS, OWN, STEPS, Bench, Choice
from nbtools.widgets.attack_view import View, view

THUMBNAIL = 64  # pixels a side
EXACT = 1_100_000  # bytes: more is sent with a loss that no eye sees, as Jupyter drops what exceeds 3 MB in 3 s
_QUALITY = 82

Scene = dict[str, Any]


def menu(bench: Bench, order: Sequence[str], title: str, seed: int) -> Scene:
    """Return what there is to choose from, with a line about each attack; `seed` is the networks' usual one."""
    networks = [
        {"name": name, "seed": seed_of(name, seed), "ink": color(condition_of(name), order)} for name in bench.networks
    ]
    return {
        "title": title,
        "networks": networks,
        "attacks": [{"name": name, "says": MEANING[name], "steps": _follows(name)} for name in ATTACKS],
        "classes": list(bench.classes),
        "steps": list(STEPS),
        "levels": [0.0, *bench.levels],
        "crowd": len(bench.crowd()),
    }


def _follows(attack: str) -> bool:
    """Say whether an attack takes as many steps as it is told."""
    return ATTACKS[attack].steps > 1


def thumbnails(images: ImageSet) -> list[dict[str, str]]:
    """Return what the tray shows: each image's id, its thumbnail and a text for who cannot see it."""
    names = [images.classes[label] if label >= 0 else "no label" for label in images.labels.tolist()]
    step = -(-images.pixels.shape[-1] // THUMBNAIL)  # rows and columns are left out until an image is small enough
    return [
        {"id": str(image_id), "source": png_uri(pixels), "text": f"{name}: {image_id}"}
        for image_id, pixels, name in zip(images.ids, images.to_numpy()[:, ::step, ::step], names, strict=True)
    ]


def scene(bench: Bench, choice: Choice, order: Sequence[str]) -> Scene:
    """Return what to draw for a choice whose paths have been computed."""
    inks = {name: color(condition_of(name), order) for name in choice.networks}
    unit = "1/255" if ATTACKS[choice.attack].norm != 2 else "1/255, root mean square"
    common = {"tab": choice.tab, "axis": f"attack budget ε ({unit})", "attack": choice.attack}
    if choice.tab == CLASS:
        return common | {"note": together(choice)} | _class_scene(class_view(bench, choice), inks)
    seen = view(bench, choice)
    note = "" if seen.label else foreign(bench.classes)
    return common | {"note": note, "image": choice.image.removeprefix(OWN)} | _image_scene(seen, inks)


def _image_scene(seen: View, inks: Mapping[str, str]) -> Scene:
    panels = []
    for panel in seen.panels:
        path = seen.path[seen.path["condition"] == panel.network]
        panels.append(
            {
                "network": panel.network,
                "ink": inks[panel.network],
                "sheet": sheet(np.concatenate([panel.after, panel.difference], axis=2)),
                "probabilities": panel.probabilities.tolist(),
                "verdicts": list(panel.verdicts),
                "fooled": list(panel.fooled),
                "flip": panel.flip,
                "label": path["label"].iloc[0],
                "rival": path["rival"].iloc[0],
                "curve": path["probability"].tolist(),
                "rivals": path["rival_probability"].tolist(),
                "turns": path["prediction"].tolist(),
            }
        )
    size = list(seen.panels[0].after.shape[1:3])
    return {
        "budgets": list(seen.budgets),
        "label": seen.label,
        "classes": list(seen.classes),
        "amplify": seen.amplify,
        "size": size,
        "panels": panels,
    }


def _class_scene(seen: ClassView, inks: Mapping[str, str]) -> Scene:
    panels = [
        {
            "network": panel.network,
            "ink": inks[panel.network],
            # the images of one ε side by side
            "sheet": sheet(panel.tiles.transpose(0, 2, 1, 3, 4).reshape(*panel.tiles.shape[:1], *_strip(panel.tiles))),
            "says": [list(row) for row in panel.says],
            "stands": panel.stands.tolist(),
            "counts": list(panel.counts),
            "words": list(panel.words),
        }
        for panel in seen.panels
    ]
    return {
        "budgets": list(seen.budgets),
        "ids": list(seen.ids),
        "labels": list(seen.labels),
        "size": list(seen.panels[0].tiles.shape[2:4]),
        "difference": list(seen.difference),
        "panels": panels,
    }


def _strip(tiles: np.ndarray) -> tuple[int, int, int]:
    _, n, height, width, colors = tiles.shape
    return height, n * width, colors


def sheet(frames: np.ndarray) -> bytes:
    """Return pictures below each other, uint8 (n_levels, height, width, 3), as one encoded image.

    Up to `EXACT` bytes of pixels nothing is lost; of more WebP keeps what can be seen.
    """
    whole, buffer = Image.fromarray(frames.reshape(-1, *frames.shape[2:])), io.BytesIO()
    if frames.nbytes <= EXACT:
        whole.save(buffer, format="png", compress_level=1)
    else:
        whole.save(buffer, format="webp", quality=_QUALITY, method=0)
    return buffer.getvalue()
