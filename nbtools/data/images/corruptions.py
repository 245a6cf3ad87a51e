"""Corrupted images in folders laid out as ImageNet-C is: listed, and read one corruption at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

from nbtools.data.images.files import check_side, fitted, read_image
from nbtools.data.images.folders import images_below, subfolders
from nbtools.data.images.sets import ImageSet, read_classes
from nbtools.errors import InputError

SEVERITIES = range(1, 6)


def corruptions(folder: Path) -> pd.DataFrame:
    """List the corruptions in a folder laid out as ImageNet-C is.

    Parameters
    ----------
    folder : Path
        Holds ``<corruption>/<severity>/<class>/*`` or ``<group>/<corruption>/<severity>/<class>/*``, severity 1 to 5.

    Returns
    -------
    DataFrame
        ``corruption``, ``severity`` (int) and ``path`` (below `folder`), sorted.

    Raises
    ------
    InputError
        If there is none, or one is there twice.
    """
    tops = [top for top in subfolders(folder) for top in (top, *subfolders(top)) if not top.name.isdecimal()]
    rows = [(top.name, severity, top / str(severity)) for top in tops for severity in SEVERITIES]
    table = pd.DataFrame([row for row in rows if row[2].is_dir()], columns=["corruption", "severity", "path"])
    if table.empty or table.duplicated(["corruption", "severity"]).any():
        raise InputError(
            "no corruptions, or one of them twice",
            file=folder,
            expected="<corruption>/<severity from 1 to 5>/<class>/<image>, as in ImageNet-C",
            got=f"{', '.join(str(path.relative_to(folder)) for path in table['path']) or 'no such folder'}",
            fix="unpack ImageNet-C's archives into this folder",
        )
    table["path"] = [path.relative_to(folder).as_posix() for path in table["path"]]
    return table.sort_values(["corruption", "severity"], ignore_index=True)


def load_corruption(folder: Path, corruption: str, severity: int, size: int, classes: Sequence[str]) -> ImageSet:
    """Read the images of one corruption at one severity, of some of its classes.

    Parameters
    ----------
    folder : Path
        As `corruptions` takes it.
    corruption, severity : str, int
        As `corruptions` lists them.
    size : int
        Side in pixels. ImageNet-C's images are cropped already: a square image is resized whole, another one is
        fitted as `load_folder` fits it.
    classes : sequence of str
        The classifier's, in its order; other classes are left out.

    Returns
    -------
    ImageSet
        Labels index `classes`; ids are ``<class>/<name>``, as in the clean set.

    Raises
    ------
    InputError
        If there is no such corruption, a class has no image there, an image cannot be read or have the size.
    """
    check_side(size)
    table = corruptions(folder)
    match = table[(table["corruption"] == corruption) & (table["severity"] == severity)]
    place = folder / match["path"].iloc[0] if len(match) else folder
    files = {name: images_below(place / name) if len(match) else [] for name in classes}
    missing = [name for name, found in files.items() if not found]
    if missing:
        raise InputError(
            "the corrupted images lack classes" if len(match) else "there is no such corruption",
            file=place,
            expected=f"one of {', '.join(table['path'])}, with images of {', '.join(classes)}",
            got=f"{corruption} at {severity}, none of {', '.join(missing)}",
            fix="choose a corruption that is there, made from the classes the network knows",
        )
    return read_classes(place, files, lambda file: whole(read_image(file), size), corruption)


def whole(pixels: Tensor, size: int) -> Tensor:
    """Resize a square image (3, side, side), which was cropped already, as it is; fit any other as `fitted` does."""
    square = pixels.shape[1] == pixels.shape[2]
    return v2.resize(pixels, [size, size], antialias=True) if square else fitted(pixels, size)
