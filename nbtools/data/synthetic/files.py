"""The bytes of the study's files, the same every time, and how they are put in their place."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import safetensors.numpy
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from nbtools.data.synthetic.anatomy import affine
from nbtools.data.synthetic.recipe import NOTE
from nbtools.files import PREFIX, written

MAT_HEADER = "MATLAB 5.0 MAT-file, SIMULATED by nbtools".ljust(116).encode()
LEVEL = 1  # of gzip: noise hardly shrinks further


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with written(path) as beside:
        beside.write_bytes(content)


def sweep(folder: Path) -> None:
    """Remove what an interrupted run left half-written under `folder`."""
    for path in folder.rglob(PREFIX + "*"):
        path.unlink()


def as_nifti(voxels: NDArray[np.int16]) -> bytes:
    """Return a gzipped NIfTI-1 volume, x fastest, of voxels (x, y, z) or (x, y, z, trials)."""
    image = nib.Nifti1Image(voxels, affine(), dtype=np.int16)
    image.header["descrip"] = b"SIMULATED by nbtools: no brain was measured"
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), LEVEL, mtime=0)


def as_hdf5(name: str, values: NDArray[np.generic], *, compress: bool = False) -> bytes:
    """Return an HDF5 file of one dataset, with a note that it is simulated.

    Parameters
    ----------
    name : str
        Of the dataset.
    values : array
        Stored with its own shape and dtype.
    compress : bool
        Whether to deflate it, in chunks of 50 along the first axis.
    """
    options = {"chunks": (min(50, len(values)), *values.shape[1:]), "compression": LEVEL} if compress else {}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["note"] = NOTE
        file.create_dataset(name, data=values, track_times=False, **options)
    return buffer.getvalue()


def as_mat(variables: Mapping[str, NDArray[np.integer]]) -> bytes:
    """Return a MATLAB v5 file; its header says nothing of when and where."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, dict(variables))
    return MAT_HEADER + buffer.getvalue()[len(MAT_HEADER) :]


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return one (size, size, 3) picture."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=LEVEL)
    return buffer.getvalue()


def as_tensors(tensors: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Return named arrays as safetensors."""
    contiguous = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    # One entry of metadata only: safetensors does not keep the order of several.
    return safetensors.numpy.save(contiguous, metadata={"note": NOTE})


def as_parquet(table: pd.DataFrame) -> bytes:
    """Return a table as parquet."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def as_json(value: object) -> bytes:
    """Return JSON, an entry a line."""
    return (json.dumps(value, indent=1) + "\n").encode()
