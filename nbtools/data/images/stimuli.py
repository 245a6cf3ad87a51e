"""The scanner's images as they lie in their file: HDF5 with the dataset ``imgBrick``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from nbtools.errors import InputError
from nbtools.files import opened_hdf5

SHOWN = "shown"  # says of stimuli, and of responses to them, which pictures lie in which rows
UNREADABLE = "the stimuli cannot be read"
EXPECTED = {
    "expected": "an HDF5 file with the dataset imgBrick",
    "fix": "fetch nsd_stimuli.hdf5 again, or make the simulated study",
}


@contextmanager
def opened_stimuli(file: Path) -> Iterator[h5py.Dataset]:
    """Open the scanner's images (n_images, height, width, 3), uint8, of which rows are then read.

    Raises
    ------
    InputError
        If the file or its dataset is missing, damaged, of another form or in use.
    """
    with opened_hdf5(file, UNREADABLE, **EXPECTED) as store:
        brick = store.get("imgBrick")
        form = (brick.dtype, brick.shape) if isinstance(brick, h5py.Dataset) else sorted(store)
        if not isinstance(brick, h5py.Dataset) or brick.dtype != np.uint8 or brick.ndim != 4 or brick.shape[3] != 3:
            raise InputError(
                "the stimuli have another form",
                file=file,
                expected="imgBrick, uint8, (n, height, width, 3)",
                got=", ".join(map(str, form)) or "nothing",
                fix="use NSD's nsd_stimuli.hdf5 as released",
            )
        yield brick


def rows_mark(names: Iterable[str]) -> str:
    """Return the mark of pictures in this order, for `SHOWN`."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
