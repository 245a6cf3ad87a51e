"""Cue-conflict images: the shape of one class with the texture of another, told apart by their file names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from nbtools.errors import InputError

_NAME = re.compile(r"(?P<shape>[a-z]+)\d*-(?P<texture>[a-z]+)\d*(-\d+)?", re.IGNORECASE)


def cue_conflict_names(ids: np.ndarray) -> pd.DataFrame:
    """Read shape and texture from image ids.

    Parameters
    ----------
    ids : array (n_images,) of str
        Paths below the set's folder as `images.load_folder` gives them: ``cat/cat4-truck3.png`` (Geirhos et al. 2019:
        fourth cat, texture of the third truck) or ``disk/disk-star-007.png`` (the embedded study). The folder is the
        shape.

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
        found = _NAME.fullmatch(path.stem)
        if not found or found["shape"] != path.parent.name:
            raise InputError(
                "this is not the name of a cue-conflict image",
                file=name,
                expected="<shape>/<shape><number>-<texture><number>.png, such as cat/cat4-truck3.png",
                got=name,
                fix="sort images into a folder per shape, and name shape and texture",
            )
        rows.append({"image_id": name, "shape": found["shape"], "texture": found["texture"]})
    return pd.DataFrame(rows)
