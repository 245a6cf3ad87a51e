"""THINGS' object images (Hebart et al. 2019), taken out of the encrypted archive in which they are published."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from nbtools.data.archives import REPORT, build, unpack
from nbtools.errors import InputError

PICTURES, CONCEPTS = 26_107, 1_854  # published
# Stands openly beside the archive, and for its terms: whoever uses it has agreed to them.
PASSWORD = b"things4all"
_LARGEST = 64 * 2**20  # bytes of a picture, which is in memory while it is decrypted
_PUBLISHED = re.compile(r"(?:.+/)?object_images/([^/]+/[^/.][^/]*\.jpg)")


def unpack_things(archive: Path, target: Path) -> pd.DataFrame:
    """Unpack the pictures into a folder per concept: ``<target>/dog/dog_12s.jpg``.

    Parameters
    ----------
    archive : Path
        ``images_THINGS.zip``.
    target : Path
        Folder to make, whole or not at all; after a kill the next call goes on where it stopped.

    Returns
    -------
    DataFrame
        A row per picture: ``picture`` (``dog/dog_12s.jpg``).

    Raises
    ------
    InputError
        If the archive is damaged or hostile, opens with another password, or holds no such pictures; if a file is
        damaged, with its name; if something else lies at `target`.
    """

    def fill(part: Path) -> pd.DataFrame:
        found = unpack(archive, part, _place, password=PASSWORD, largest=_LARGEST)
        if not found:
            raise InputError(
                "these are not THINGS' pictures",
                file=archive,
                expected="files such as object_images/dog/dog_12s.jpg",
                got="none",
                fix="take images_THINGS.zip from https://osf.io/jum2f",
            )
        for place, file in found.items():
            if file.exists():
                (part / place).parent.mkdir(exist_ok=True)
                file.replace(part / place)
        return pd.DataFrame({"picture": sorted(found)})

    return build(target, {"archive": archive.name}, fill)


def is_unpacked(target: Path) -> bool:
    """Say whether the pictures are there, all of them."""
    return (target / REPORT).exists()


def _place(name: str) -> str | None:
    found = _PUBLISHED.fullmatch(name)
    return found and found[1]
