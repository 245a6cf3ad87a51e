"""Image files: decoded, fitted to a size, linked.

Every image that comes out of a file goes through `decode_image`: a study's loader, its packs, `prepare` and the
explorer see the same pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageFile, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as v2
from tqdm.contrib.concurrent import thread_map

from nbtools.checks import check_range, reading
from nbtools.files import written
from nbtools.processes import Bar

# Whatever a file is called: Pillow hands PostScript to a program that runs it.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
Item = TypeVar("Item")
Result = TypeVar("Result")


# --- one file -----------------------------------------------------------------------------------------------


def read_image(file: Path) -> Tensor:
    """Read an image file (3, height, width) as `decode_image` does; one that cannot be read is an `InputError` too."""
    with readable(file):
        return decode_image(file.read_bytes(), file)


def decode_image(raw: bytes, file: Path) -> Tensor:
    """Decode an image as torchvision's ImageFolder does, which networks of ImageNet are trained and tested with.

    The pixels as they are stored, in RGB: not turned as EXIF notes, and under transparency the colour that is there. Of
    an animation, the first picture.

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
        if _is_deep(image):
            raise ValueError(f"{image.mode}: more than 8 bits per channel")
        return v2.pil_to_tensor(image.convert("RGB"))


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether there are more than 8 bits per channel: grey would be clipped to 255, colour lose its lower byte."""
    if image.mode[0] in "IF":
        return True
    # 16-bit colour has an 8-bit mode in Pillow: only what the decoder is given tells.
    for tile in image.tile:
        how, *more = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        bits_of_pixel = how == "BGR;16"  # BMP: 5 + 6 + 5
        if (";16" in str(how) and not bits_of_pixel) or (tile.codec_name.startswith("ppm") and more[0] > 255):
            return True
    return False


def opened(raw: bytes, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Open an image of one of these formats, undecoded; raise ValueError if it is of none of them."""
    try:
        return Image.open(io.BytesIO(raw), formats=formats)
    except UnidentifiedImageError as error:
        raise ValueError(f"{len(raw)} bytes in none of the formats {', '.join(formats)}") from error


def readable(file: Path) -> AbstractContextManager[None]:
    """Turn what reading a damaged image raises into an `InputError` that names it."""
    return reading(
        "an image cannot be read",
        Exception,  # Pillow raises nearly any
        file=file,
        expected=f"an image ({', '.join(FORMATS)}), 8 bits per channel",
        fix="replace, convert or remove the file",
    )


def fitted(pixels: Tensor, size: int) -> Tensor:
    """Bring uint8 pixels (3, height, width) to ``size × size``, as ImageNet validation does for 224 px.

    An image of that size is taken as it is; any other is resized to 8/7 of `size` (shorter side; bilinear,
    antialiased) and its centre cropped.
    """
    check_side(size)
    if pixels.shape[-2:] == (size, size):
        return pixels
    return v2.center_crop(v2.resize(pixels, [round(size * 8 / 7)], antialias=True), [size, size])


def check_side(size: int) -> None:
    """Raise `InputError` unless images can have this side in pixels."""
    fix = "give their side in pixels, such as 32 or 224"
    check_range("the side of images", size, 1, 4096, whole=True, fix=fix)


# --- many of them -------------------------------------------------------------------------------------------


def on_all_cores(work: Callable[[Item], Result], items: Iterable[Item], what: str) -> list[Result]:
    """Do the same for each image in threads, under a bar that says what is done; return the results in order."""
    return thread_map(work, items, desc=what, unit="image", leave=False, tqdm_class=Bar)


def link(file: Path, place: Path) -> None:
    """Link a file: hard, else (from another disk, of another owner) by name, else copy it."""
    real = file.resolve()
    for attempt in (place.hardlink_to, place.symlink_to):
        with suppress(OSError):
            attempt(real)
            return
    with written(place) as beside:
        beside.write_bytes(real.read_bytes())
