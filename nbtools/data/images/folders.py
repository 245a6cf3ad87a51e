"""Folders of images: one walk, so that whoever loads, prepares, counts or compares images sees the same ones.

Nothing here imports torch: ``doctor`` and ``plan`` count images, and should not wait for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from nbtools.checks import check_names
from nbtools.errors import InputError
from nbtools.files import sha256_of
from nbtools.processes import Bar

SPLITS = ("train", "val")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's
# Folders that systems and archivers put among one's own.
_LITTER = {"@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"}


def class_files(folder: Path) -> dict[str, list[Path]]:
    """List the images below each class's folder, classes sorted by name as ImageFolder sorts them.

    Parameters
    ----------
    folder : Path
        Holds one folder per class; none there: no class.

    Raises
    ------
    InputError
        If a folder cannot be listed, a name is no text, or links lead to one folder of images from two classes.
    """
    found = {place.name: images_below(place) for place in subfolders(folder)}
    # Names become ids in tables, which hold text; of an image in two classes one label is wrong.
    names = [file.relative_to(folder).as_posix() for files in found.values() for file in files]
    odd = [name for name in names if re.search("[\ud800-\udfff]", name)]
    places = [place.resolve() for files in found.values() for place in {file.parent for file in files}]
    if odd or len(set(places)) < len(places):
        raise InputError(
            "these images cannot be told by their names",
            file=folder,
            expected="names in UTF-8, and every folder once",
            got=f"e.g. {odd[0]!r}" if odd else "a link to a folder that is in the set already",
            fix="rename the files, or remove the link",
        )
    return found


def check_splits(folder: Path) -> None:
    """Raise `InputError` unless ``train`` and ``val``, where both are there, hold the same classes."""
    train, val = ([place.name for place in subfolders(folder / split)] for split in SPLITS)
    if train and val:
        fix = "name the folders of a class alike in both: labels are joined by name"
        check_names("train and val do not hold the same classes", val, train, file=folder, fix=fix)


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder by name, without hidden ones and links upwards; none if it is not there."""
    _, below, _ = next(_walk(folder), ("", [], []))
    return _seen(folder, below)


def images_below(folder: Path) -> list[Path]:
    """List the images below a folder, sorted by folder and name: no hidden ones, each folder once where links lead."""
    found: list[Path] = []
    done: set[Path] = set()
    for top, below, names in _walk(folder):
        here = Path(top)
        if here.resolve() in done:
            below.clear()
            continue
        done.add(here.resolve())
        below[:] = [place.name for place in _seen(here, below)]
        found += [here / name for name in names if is_image(name)]
    return sorted(found, key=lambda file: (str(file.parent), file.name))


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    return os.walk(folder, followlinks=True, onerror=_refuse) if folder.is_dir() else iter(())


def _refuse(error: OSError) -> None:
    raise InputError(
        "a folder cannot be listed",
        file=error.filename,
        expected="a folder that may be read",
        got=error.strerror,
        fix="ask for the rights to it, or move it elsewhere",
    ) from error


def _seen(folder: Path, below: list[str]) -> list[Path]:
    """Return those folders below another that are neither hidden nor links upwards, by name on every system."""
    places = [folder / name for name in sorted(below) if not _is_hidden(name)]
    return [place for place in places if not folder.resolve().is_relative_to(place.resolve())]


def is_image(name: str) -> bool:
    """Whether a file is called as images are, and not hidden."""
    return name.lower().endswith(EXTENSIONS) and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _LITTER


def equal_files(files: Collection[Path], others: Collection[Path]) -> dict[Path, Path]:
    """Return which files are byte for byte one of the others, and that one; only files of equal size are read."""
    sizes = {file: file.stat().st_size for file in (*files, *others) if file.is_file()}
    common = {sizes.get(file) for file in files} & {sizes.get(file) for file in others} - {None}
    chosen = [file for file in sizes if sizes[file] in common]
    with ThreadPoolExecutor() as pool:
        read = zip(chosen, pool.map(_digest, chosen), strict=True)
        digests = dict(Bar(read, "comparing files", len(chosen), unit="file", leave=False))
    known = {digests[file]: file for file in others if digests.get(file)}
    return {file: known[digests[file]] for file in files if digests.get(file) in known}


def _digest(file: Path) -> str:
    """Return a file's SHA-256; nothing for one that cannot be read."""
    with suppress(OSError):
        return sha256_of(file)
    return ""
