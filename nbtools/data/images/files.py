"""Image files: decoded, fitted to a size, listed, linked."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TypeVar

from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets.folder import is_image_file
from torchvision.transforms.v2 import functional as v2
from tqdm.contrib.concurrent import thread_map

from nbtools.checks import reading
from nbtools.files import written
from nbtools.processes import QUIET, Bar

# Whatever a file is called: Pillow hands PostScript to a program that runs it.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
# What Pillow raises where an image is damaged (TypeError: TIFF).
_DAMAGED = (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError)
Item = TypeVar("Item")
Result = TypeVar("Result")


# --- one file -----------------------------------------------------------------------------------------------


def read_image(file: Path) -> Tensor:
    """Read an image file as `decode_image` does; a file that cannot be read is an `InputError` too."""
    with readable(file):
        return decode_image(file.read_bytes(), file)


def decode_image(raw: bytes, file: Path) -> Tensor:
    """Decode an image; of an animation, the first picture.

    Parameters
    ----------
    raw : bytes
        What the file holds.
    file : Path
        Named in errors.

    Returns
    -------
    Tensor
        uint8, shape (3, height, width), RGB.

    Raises
    ------
    InputError
        If this is no image, a damaged one, or has more than 8 bits per channel.
    """
    with readable(file), opened(raw, FORMATS) as image:
        if image.mode[0] in "IF":  # Pillow would clip these to 255
            raise ValueError(f"{image.mode}: more than 8 bits per channel")
        return v2.pil_to_tensor(image.convert("RGB"))


def opened(raw: bytes, formats: tuple[str, ...]) -> Image.Image:
    """Open an image of one of these formats, undecoded; raise ValueError if it is of none of them."""
    try:
        return Image.open(io.BytesIO(raw), formats=formats)
    except UnidentifiedImageError as error:
        raise ValueError(f"{len(raw)} bytes in none of the formats {', '.join(formats)}") from error


def readable(file: Path) -> AbstractContextManager[None]:
    """Turn what reading a damaged image raises into an `InputError` that names it."""
    return reading(
        "an image cannot be read",
        *_DAMAGED,
        file=file,
        expected=f"an image ({', '.join(FORMATS)}), 8 bits per channel",
        fix="replace, convert or remove the file",
    )


def fitted(pixels: Tensor, size: int) -> Tensor:
    """Bring uint8 pixels (3, height, width) to ``size × size``, as ImageNet validation does for 224 px.

    An image of that size is taken as it is; any other is resized to 8/7 of `size` (shorter side; bilinear,
    antialiased) and its centre cropped.
    """
    if pixels.shape[-2:] == (size, size):
        return pixels
    return v2.center_crop(v2.resize(pixels, [round(size * 8 / 7)], antialias=True), [size, size])


# --- many of them -------------------------------------------------------------------------------------------


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, sorted, without hidden ones and links upwards; none if it is not there."""
    if not folder.is_dir():
        return []
    places = sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    return [place for place in places if not folder.resolve().is_relative_to(place.resolve())]


def images_below(folder: Path) -> list[Path]:
    """List the image files below a folder, sorted. Links to folders may lead in a circle and are not followed."""
    return sorted(Path(top) / name for top, _, names in os.walk(folder) for name in names if is_image(name))


def is_image(name: str) -> bool:
    """Whether a file is called as images are, and not hidden."""
    return is_image_file(name) and not name.startswith(".")


def on_all_cores(work: Callable[[Item], Result], items: Iterable[Item], what: str) -> list[Result]:
    """Do the same for each image in threads, under a bar that says what is done; return the results in order."""
    return thread_map(work, items, desc=what, unit="image", leave=False, disable=QUIET, tqdm_class=Bar)


def link(file: Path, place: Path) -> None:
    """Link a file: hard, else (from another disk, of another owner) by name, else copy it."""
    real = file.resolve()
    for attempt in (place.hardlink_to, place.symlink_to):
        with suppress(OSError):
            attempt(real)
            return
    with written(place) as beside:
        beside.write_bytes(real.read_bytes())
