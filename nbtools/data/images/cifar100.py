"""CIFAR-100: its binary version turned into folders of images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from nbtools.data.archives import build, read_files
from nbtools.data.images.files import on_all_cores
from nbtools.data.images.folders import SPLITS
from nbtools.data.images.prepare import report_on
from nbtools.errors import InputError
from nbtools.files import written

CIFAR_IMAGES = {"train": 50_000, "test": 10_000}
_SIDE = 32


def unpack_cifar100(archive: Path, target: Path) -> pd.DataFrame:
    """Turn CIFAR-100's binary version into folders of PNG images; its test images are for validation.

    Parameters
    ----------
    archive : Path
        ``cifar-100-binary.tar.gz``: ``train.bin`` and ``test.bin``, records of a coarse label, a fine label and
        32 × 32 pixels plane by plane; and ``fine_label_names.txt``.
    target : Path
        Folder to make.

    Returns
    -------
    DataFrame
        As `report_on` gives it.

    Raises
    ------
    InputError
        If the archive is damaged, lacks a file, or one has another length, a label out of range or an odd name.
    """

    def fill(part: Path) -> pd.DataFrame:
        records, classes = _read(archive)
        places = {
            f"{split}/{classes[record[1]]}/{row:05d}.png": record
            for split, stem in zip(SPLITS, CIFAR_IMAGES, strict=True)
            for row, record in enumerate(records[stem])
        }
        on_all_cores(lambda place: _draw(places[place], part / place), places, "writing images")
        return report_on(places, {}, classes)

    return build(target, {"archive": str(archive.resolve())}, fill)


def _read(archive: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    files = read_files(archive)
    classes = files.get("fine_label_names.txt", b"").decode("ascii", "replace").split()
    records, length = {}, 2 + 3 * _SIDE**2
    for stem, n in CIFAR_IMAGES.items():
        raw = files.get(f"{stem}.bin", b"")
        if len(raw) == n * length:
            records[stem] = np.frombuffer(raw, np.uint8).reshape(n, length)
    named = len(set(classes)) == 100 and all(re.fullmatch("[a-z_]+", name) for name in classes)
    if len(records) < len(CIFAR_IMAGES) or not named or any(labels[:, 1].max() > 99 for labels in records.values()):
        raise InputError(
            "this is not CIFAR-100's binary version",
            file=archive,
            expected=f"{', '.join(f'{stem}.bin of {n * length} bytes' for stem, n in CIFAR_IMAGES.items())}, "
            "labels from 0 to 99, fine_label_names.txt with 100 names",
            got=", ".join(f"{name} of {len(raw)} bytes" for name, raw in files.items()) or "nothing",
            fix="take cifar-100-binary.tar.gz, neither the Python nor the Matlab version",
        )
    return records, classes


def _draw(record: np.ndarray, place: Path) -> None:
    if not place.exists():
        with written(place) as beside:
            Image.fromarray(record[2:].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0)).save(beside, "PNG")
