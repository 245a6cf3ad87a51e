"""Images from outside a study: a visitor's own file, read with care, and the photographs that ship inside Foolbox."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nbtools.data.images.files import FORMATS, check_side, decode_image, fitted, opened, readable
from nbtools.data.images.sets import NO_LABEL, ImageSet, joined
from nbtools.errors import InputError

MAX_BYTES = 8 * 2**20  # Jupyter's websocket takes 10 MB a message
MAX_PIXELS = 40_000_000
IMAGENET = 1000, "n01440764", "n15075141"  # its classes, and the first and last of their folders
LARGE = 96  # from this side on, a photograph can still be recognised
_WANTED = {
    "expected": f"an image of at most {MAX_BYTES // 2**20} MB and {MAX_PIXELS // 10**6} million pixels",
    "fix": "save it as PNG or JPEG, smaller if need be, and drop it again",
}


def read_image(data: bytes, name: str, size: int) -> Tensor:
    """Read one image file somebody brought along.

    Parameters
    ----------
    data : bytes
        The file's content.
    name : str
        Its name, for messages.
    size : int
        Side in pixels; the image is fitted as `load_folder` fits a study's images.

    Returns
    -------
    Tensor
        uint8, shape (3, size, size), RGB, as `decode_image` reads a study's images.

    Raises
    ------
    InputError
        If it is no image, damaged, too large, or has more than 8 bits per channel.
    """
    check_side(size)
    check_size(len(data), name)
    with readable(Path(name)), opened(data, FORMATS) as image:
        width, height = image.size
    fitted_to = (size * 8 / 7 / min(width, height)) ** 2  # of a ribbon, `fitted` first makes a giant
    if width * height * max(1, fitted_to) > MAX_PIXELS:  # before anything is unpacked
        raise InputError("this image is too large", file=name, got=f"{width} × {height} pixels", **_WANTED)
    return fitted(decode_image(data, Path(name)), size)


def check_size(n_bytes: int, name: str) -> None:
    """Raise `InputError` if a file of this size is larger than `MAX_BYTES`."""
    if n_bytes > MAX_BYTES:
        raise InputError("this file is too large", file=name, got=f"{n_bytes / 2**20:.1f} MB", **_WANTED)


def photographs(size: int, classes: tuple[str, ...]) -> ImageSet:
    """Return the twenty ImageNet photographs that ship inside Foolbox.

    Parameters
    ----------
    size : int
        Side in pixels; `LARGE` or more.
    classes : tuple of str
        The network's classes. The photographs have labels only where these are the folders of ImageNet's thousand.

    Raises
    ------
    InputError
        If the side is too small to recognise a photograph, or Foolbox came without them.
    """
    if size < LARGE:
        raise InputError(
            "the photographs are for larger images", expected=f"{LARGE} px or more", got=f"{size} px", fix="leave them"
        )
    found = find_spec("foolbox")
    folder = Path(found.origin or "").parent / "data" if found else Path()
    files = sorted(folder.glob("imagenet_*.jpg"))
    if not files:
        raise InputError(
            "Foolbox came without its photographs", file=folder, expected="imagenet_*.jpg", got="none", fix="reinstall"
        )
    pixels = torch.stack([read_image(file.read_bytes(), file.name, size) for file in files])
    numbers = [int(re.findall(r"\d+", file.stem)[-1]) for file in files]
    labelled = (len(classes), *classes[:1], *classes[-1:]) == IMAGENET
    labels = torch.tensor(numbers if labelled else [NO_LABEL] * len(files))
    return ImageSet(pixels, labels, np.array([f"foolbox/{file.name}" for file in files]), classes)


def with_photographs(images: ImageSet) -> ImageSet:
    """Add Foolbox's photographs to images that are large enough to recognise one; smaller ones are left alone."""
    size = int(images.pixels.shape[-1])
    if size < LARGE:
        return images
    return joined(images, photographs(size, images.classes))
