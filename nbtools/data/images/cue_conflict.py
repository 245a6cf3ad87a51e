"""Cue-conflict images: the shape of one class with the texture of another, told apart by their file names."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from nbtools.data.archives import build, unpack
from nbtools.data.images.folders import images_below
from nbtools.errors import InputError

CUE_CONFLICT_IMAGES = 1280
_PUBLISHED = re.compile(r"([a-z]+)\d+-[a-z]+\d+\.png")
# What follows the shape in a name: as published and as rendered, or as `make_cue_conflict` writes it for any class.
_AFTER_SHAPE = re.compile(r"\d*-([a-z]+)\d*(?:-\d+)?|_\d+-(.+)_\d+", re.IGNORECASE)


def cue_conflict_names(ids: np.ndarray) -> pd.DataFrame:
    """Read shape and texture from image ids.

    Parameters
    ----------
    ids : array (n_images,) of str
        Paths below the set's folder as `load_folder` gives them: ``cat/cat4-truck3.png`` (Geirhos et al. 2019:
        fourth cat, texture of the third truck), ``disk/disk-star-007.png`` (the embedded study) or
        ``n02690373/n02690373_4-n02504458_3.png`` (`make_cue_conflict`). The folder is the shape.

    Returns
    -------
    DataFrame
        One row per image: ``image_id``, ``shape``, ``texture`` (category names). Where both are the same, the image
        holds no conflict and is no part of the shape bias.

    Raises
    ------
    InputError
        If a name cannot be read, or its shape is not that of its folder.
    """
    rows = []
    for name in map(str, ids):
        path = Path(name)
        shape = path.parent.name
        found = _AFTER_SHAPE.fullmatch(path.stem.removeprefix(shape))
        if not found or not shape:
            raise InputError(
                "this is not the name of a cue-conflict image",
                file=name,
                expected="such as cat/cat4-truck3.png, or cat/cat_4-truck_3.png for classes of any name",
                got=name,
                fix="sort images into a folder per shape, and name shape and texture",
            )
        rows.append({"image_id": name, "shape": shape, "texture": found[1] or found[2]})
    return pd.DataFrame(rows)


def unpack_cue_conflict(archive: Path, target: Path) -> pd.DataFrame:
    """Take the cue-conflict images of Geirhos et al. (2019) out of what they are published in.

    Parameters
    ----------
    archive : Path
        ``cue-conflict.tar.gz`` of model-vs-human, or a checkout or .tar.gz of the repository texture-vs-shape.
    target : Path
        Folder to make: ``<shape>/<shape><number>-<texture><number>.png``.

    Returns
    -------
    DataFrame
        One row per image, as `cue_conflict_names` reads it from the name.

    Raises
    ------
    InputError
        If the archive is damaged, or does not hold 1,280 such images, all sound.
    """
    # torch imports slowly, and whoever only reads names should not wait for it
    from nbtools.data.images.prepare import place_sound

    def fill(part: Path) -> pd.DataFrame:
        if archive.is_dir():
            wanted = {place: file for file in images_below(archive) if (place := _place(file.as_posix()))}
        else:
            wanted = unpack(archive, part, _place)
        flaws = place_sound(wanted, part)
        if len(wanted) != CUE_CONFLICT_IMAGES or flaws:
            raise InputError(
                "these are not the cue-conflict images",
                file=archive,
                expected=f"{CUE_CONFLICT_IMAGES} sound images such as cat/cat4-truck3.png",
                got=f"{len(wanted)} images; damaged: {', '.join(flaws) or 'none'}",
                fix="take cue-conflict.tar.gz from model-vs-human's releases",
            )
        return cue_conflict_names(np.array(sorted(wanted)))

    return build(target, {"archive": str(archive.resolve())}, fill)


def _place(name: str) -> str | None:
    path = PurePosixPath(name)
    found = _PUBLISHED.fullmatch(path.name)
    return f"{found[1]}/{path.name}" if found and found[1] == path.parent.name else None
