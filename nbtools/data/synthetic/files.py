"""Writers of the study's files: the same bytes every time, written beside and renamed."""

from __future__ import annotations

import gzip
import io
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


def write_nifti(path: Path, voxels: NDArray[np.int16]) -> None:
    """Write a gzipped NIfTI-1 volume, x fastest.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz``.
    voxels : (x, y, z) or (x, y, z, trials) int16 array
    """
    image = nib.Nifti1Image(voxels, affine(), dtype=np.int16)
    image.header["descrip"] = b"SIMULATED by nbtools: no brain was measured"
    image.header.set_xyzt_units("mm")
    write_bytes(path, gzip.compress(image.to_bytes(), LEVEL, mtime=0))


def write_hdf5(path: Path, name: str, values: NDArray[np.generic], *, compress: bool = False) -> None:
    """Write one dataset to an HDF5 file, with a note that it is simulated.

    Parameters
    ----------
    path : Path
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
    write_bytes(path, buffer.getvalue())


def write_mat(path: Path, variables: Mapping[str, NDArray[np.integer]]) -> None:
    """Write a MATLAB v5 file; its header says nothing of when and where."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, dict(variables))
    content = buffer.getvalue()
    write_bytes(path, MAT_HEADER + content[len(MAT_HEADER) :])


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write one (size, size, 3) picture."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=LEVEL)
    write_bytes(path, buffer.getvalue())


def write_tensors(path: Path, tensors: Mapping[str, NDArray[np.generic]]) -> None:
    """Write named arrays as safetensors."""
    contiguous = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    # One entry of metadata only: safetensors does not keep the order of several.
    write_bytes(path, safetensors.numpy.save(contiguous, metadata={"note": NOTE}))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as parquet."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())
