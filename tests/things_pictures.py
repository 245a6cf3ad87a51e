"""Files of THINGS in their true format, with planted contents: what tests of its brains and pictures are made from."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def picture_names(concept: str, n: int) -> list[str]:
    """Return the first of a concept's pictures: dog/dog_01b.jpg, dog/dog_02s.jpg, …"""
    return [f"{concept}/{concept}_{i:02d}{'b' if i == 1 else 's'}.jpg" for i in range(1, n + 1)]


def write_pictures(folder: Path, places: Iterable[str], side: int = 20) -> Path:
    """Write pictures, each of its own colours, told by its place alone."""
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(picture(place, side))
    return folder


def picture(place: str, side: int = 20) -> bytes:
    """Return a JPEG (side, side) of four colours that the place's letters draw, in blocks as fine as a photograph's."""
    rng = np.random.default_rng(list(place.encode()))
    grid = rng.integers(0, 256, (max(side // 20, 2), max(side // 20, 2), 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def colours(raw: bytes) -> np.ndarray:
    """Return what a network can see in a picture: mean and SD of each colour (6,)."""
    pixels = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"), float).reshape(-1, 3)
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])


def write_categories(
    file: Path,
    members: Mapping[str, Iterable[str]],
    *,
    columns: Iterable[str] = ("category", "uniqueID", "Word"),
    end: str = "\n",
    mark: str = "",
) -> Path:
    """Write ``category53_long-format.tsv``; `end` ends its lines, `mark` begins it."""
    rows = [
        {"category": name, "uniqueID": concept, "Word": concept.replace("_", " ")}
        for name, concepts in members.items()
        for concept in concepts
    ]
    columns = list(columns)
    lines = ["\t".join(columns), *("\t".join(row.get(column, "1") for column in columns) for row in rows)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes((mark + end.join([*lines, ""])).encode())
    return file
