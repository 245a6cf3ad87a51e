"""Image files: decoded, listed, checked, and put into their places."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pandas as pd
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2 import functional as v2
from tqdm.auto import tqdm

from nbtools.errors import InputError
from nbtools.files import written

SPLITS = ("train", "val")
# Whatever a file is called: Pillow hands PostScript to a program that runs it.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
# What Pillow raises where an image is damaged (TypeError: TIFF).
_DAMAGED = (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError)
_QUIET = "TQDM_DISABLE" in os.environ or None  # None: without a terminal


# --- one file -----------------------------------------------------------------------------------------------


def read_image(file: Path) -> Tensor:
    """Read an image file as `decode_image` does; a file that cannot be read is an `InputError` too."""
    try:
        return decode_image(file.read_bytes(), file)
    except OSError as error:
        raise unreadable(file, error) from error


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
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            if image.mode[0] in "IF":  # Pillow would clip these to 255
                raise ValueError(f"{image.mode}: more than 8 bits per channel")
            return v2.pil_to_tensor(image.convert("RGB"))
    except UnidentifiedImageError:
        unknown = ValueError(f"{len(raw)} bytes in none of the formats {', '.join(FORMATS)}")
        raise unreadable(file, unknown) from unknown
    except _DAMAGED as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, got: object) -> InputError:
    """Return the error that names an image which cannot be read."""
    return InputError(
        "an image cannot be read",
        file=file,
        expected=f"an image ({', '.join(FORMATS)}), 8 bits per channel",
        got=got,
        fix="replace, convert or remove the file",
    )


# --- folders of them ----------------------------------------------------------------------------------------


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, sorted, without hidden ones and links upwards; none if it is not there."""
    if not folder.is_dir():
        return []
    places = sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    return [place for place in places if not folder.resolve().is_relative_to(place.resolve())]


def images_below(folder: Path) -> list[Path]:
    """List the image files below a folder, sorted. Links to folders may lead in a circle and are not followed."""
    return sorted(
        Path(top) / name
        for top, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(IMG_EXTENSIONS) and not name.startswith(".")
    )


def choose_classes(there: Collection[str], classes: Sequence[str] | None, place: Path) -> list[str]:
    """Return the classes asked for, or all that are `there`, in the order in which ImageFolder takes them.

    Raises
    ------
    InputError
        Unless these are 2 to 1000 classes, each named once and found `there`.
    """
    chosen = sorted(there if classes is None else classes)
    unknown = sorted(set(chosen) - set(there))
    if unknown or not 2 <= len(chosen) <= 1000 or len(set(chosen)) < len(chosen):
        raise InputError(
            "these classes cannot be taken",
            file=place,
            expected=f"2 to 1000 of {', '.join(sorted(there)[:20])}{' …' * (len(there) > 20)}, each once",
            got=f"unknown: {', '.join(unknown[:20])}" if unknown else f"{len(chosen)}: {', '.join(chosen[:20])}",
            fix="name classes as their folders are named",
        )
    return chosen


# --- into their places --------------------------------------------------------------------------------------


def link(file: Path, place: Path) -> None:
    """Link a file: hard, else (from another disk, of another owner) by name, else copy it."""
    real = file.resolve()
    for attempt in (place.hardlink_to, place.symlink_to):
        with suppress(OSError):
            attempt(real)
            return
    with written(place) as beside:
        beside.write_bytes(real.read_bytes())


def place_sound(wanted: Mapping[str, Path], part: Path, bring: Callable[[Path, Path], object] = link) -> dict[str, str]:
    """Decode each image once and put the sound ones into their places.

    What is in its place already was found sound before a kill, and is not decoded again.

    Parameters
    ----------
    wanted : mapping of str to Path
        Place below `part`, and the file that goes there.
    part : Path
        Folder to fill.
    bring : callable
        Puts a file into its place.

    Returns
    -------
    dict of str to str
        Places of the images that are damaged, and what is wrong with them.
    """
    missing, flaws = [place for place in wanted if not (part / place).exists()], {}
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda place: _flaw(wanted[place]), missing)
        bar = tqdm(found, "checking images", len(missing), unit="image", leave=False, disable=_QUIET)
        for place, flaw in zip(missing, bar, strict=True):
            if flaw is None:
                (part / place).parent.mkdir(parents=True, exist_ok=True)
                bring(wanted[place], part / place)
            else:
                flaws[place] = flaw
    return flaws


def _flaw(file: Path) -> str | None:
    try:
        read_image(file)
    except InputError as error:
        return str(error.__cause__)
    return None


def report_on(wanted: Iterable[str], flaws: Mapping[str, str], classes: Sequence[str]) -> pd.DataFrame:
    """Count images by their places, ``<split>/<class>/<name>``.

    Returns
    -------
    DataFrame
        One row per split and class: ``split``, ``class``, ``images``, ``left_out`` (list of name and reason).

    Raises
    ------
    InputError
        If a class has no sound image in a split.
    """
    images = dict.fromkeys([(split, name) for split in SPLITS for name in classes], 0)
    left_out: dict[tuple[str, str], list[str]] = {pair: [] for pair in images}
    for place in wanted:
        split, name, file = place.split("/", 2)
        images[split, name] += place not in flaws
        left_out[split, name] += [f"{file}: {flaws[place]}"] if place in flaws else []
    empty = [f"{split}/{name} ({len(left_out[split, name])} damaged)" for (split, name), n in images.items() if n == 0]
    if empty:
        raise InputError(
            "classes without an image",
            expected=f"at least one image for each of {len(classes)} classes, to train and to validate on",
            got=f"none in {', '.join(empty)}",
            fix="leave these classes out, or complete the source",
        )
    rows = [(split, name, images[split, name], left_out[split, name]) for split, name in images]
    return pd.DataFrame(rows, columns=["split", "class", "images", "left_out"])
