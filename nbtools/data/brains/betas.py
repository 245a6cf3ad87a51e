"""Stream single-trial betas of a few thousand voxels out of a session file, which is never held whole.

A session of NSD is about 1 GB: 750 volumes of int16, of which all visual regions together are one voxel in
eighty. A ``.nii.gz`` can only be inflated from its start, so it is inflated once, volume by volume into one
buffer, and the wanted voxels are copied out of each. An ``.hdf5`` is read by chunks, where they are wanted.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path
from typing import IO, Any

import h5py
import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from nbtools.checks import reading
from nbtools.errors import InputError
from nbtools.files import opened_hdf5

TRIALS_PER_SESSION = 750
BETA_SCALE = 300  # betas are int16: percent signal change × 300
_AGAIN = "the copy is incomplete or damaged: download the file again"


def read_betas(
    file: Path, voxels: NDArray[np.integer], shape: tuple[int, ...], digest: Any = None
) -> NDArray[np.int16]:
    """Read the betas of some voxels from one session's file.

    Parameters
    ----------
    file : Path
        ``betas_sessionYY.nii.gz`` or ``.hdf5``.
    voxels : (n_voxels, 3) int
        i, j, k of the voxels, all inside `shape`.
    shape : (3,) ints
        Shape (x, y, z) of the volume the voxels are taken from: the masks'.
    digest : hashlib object, optional
        Is updated with all of the file's bytes, on the same pass over a ``.nii.gz``.

    Returns
    -------
    (750, n_voxels) int16
        Percent signal change × 300, voxels in the order asked for.

    Raises
    ------
    InputError
        If the file is truncated, damaged or too long, is not int16 × 300, or has another shape.
    """
    shape = tuple(int(n) for n in shape)
    expected, fix = "a file that can be read", "look for a broken link or missing rights, or download the file again"
    # no such file, no right to read it, a folder, a link in a circle
    with reading("the betas cannot be opened", OSError, file=file, expected=expected, fix=fix):
        if file.suffix != ".hdf5":
            return _read_nifti(file, voxels, shape, digest)
        if digest is not None:
            with file.open("rb") as raw:
                hashlib.file_digest(raw, lambda: digest)
        return _read_hdf5(file, voxels, shape)


class _Hashed(io.RawIOBase):
    """A file that tells a digest of every byte read from it."""

    def __init__(self, file: IO[bytes], digest: Any):
        self.file, self.digest = file, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self.file.readinto(buffer)  # type: ignore[attr-defined]
        self.digest.update(memoryview(buffer)[:n])
        return n


def _read_nifti(file: Path, voxels: NDArray[np.integer], shape: tuple[int, ...], digest: Any) -> NDArray[np.int16]:
    # isal's stub takes its exception for an instance.
    kinds: Any = EOFError, gzip.BadGzipFile, isal_zlib.error
    with (
        reading("the betas cannot be inflated", *kinds, file=file, expected="an intact gzip file", fix=_AGAIN),
        file.open("rb") as raw,
        igzip.open(raw if digest is None else _Hashed(raw, digest), "rb") as stream,
    ):
        dtype = _read_header(file, stream, shape)
        betas = _gather(file, stream, dtype, voxels, shape)
        # Reading to the end also makes gzip compare its checksum.
        extra = len(stream.read(1))
    if extra:
        raise InputError(
            "the betas go on after the last volume",
            file=file,
            expected=f"{TRIALS_PER_SESSION} volumes of shape {shape}, as the header says, and no more",
            got="more data",
            fix="the header does not fit the data: download the file again",
        )
    return betas


def _read_header(file: Path, stream: IO[bytes], shape: tuple[int, ...]) -> np.dtype:
    """Check the NIfTI header, leave the stream at the first voxel, return the dtype with its byte order."""
    raw = stream.read(nib.Nifti1Header.template_dtype.itemsize)
    kinds = (nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError)
    absurd = (OverflowError, ValueError, MemoryError)  # of where the first voxel is said to lie
    with reading("the betas have no NIfTI header", *kinds, *absurd, file=file, expected="NIfTI-1", fix=_AGAIN):
        header = nib.Nifti1Header.from_fileobj(io.BytesIO(raw))
        dtype = header.get_data_dtype()
        stream.read(max(0, int(header["vox_offset"]) - len(raw)))
    _check_layout(file, header.get_data_shape(), (*shape, TRIALS_PER_SESSION), dtype)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if (np.isfinite(slope) and slope not in (0, 1)) or (np.isfinite(intercept) and slope != 0 and intercept != 0):
        raise InputError(
            "the betas' header rescales them",
            file=file,
            expected=f"int16 holding percent signal change × {BETA_SCALE}: scl_slope 0 or 1, scl_inter 0",
            got=f"scl_slope {slope:g}, scl_inter {intercept:g}",
            fix="use NSD's own file, or write the stored integers without a slope",
        )
    return dtype


def _gather(
    file: Path, stream: IO[bytes], dtype: np.dtype, voxels: NDArray[np.integer], shape: tuple[int, ...]
) -> NDArray[np.int16]:
    # NIfTI is stored with x running fastest.
    flat = np.ravel_multi_index(tuple(voxels.T), shape, order="F")
    betas = np.empty((TRIALS_PER_SESSION, len(flat)), np.int16)
    volume = np.empty(int(np.prod(shape)), dtype)
    view = volume.view(np.uint8).data
    for trial in range(TRIALS_PER_SESSION):
        if stream.readinto(view) < len(view):  # type: ignore[attr-defined]
            raise InputError(
                "the betas end early",
                file=file,
                expected=f"{TRIALS_PER_SESSION} volumes of shape {shape}, as the header says",
                got=f"{trial} whole volumes",
                fix=_AGAIN,
            )
        betas[trial] = volume[flat]
    return betas


def _read_hdf5(file: Path, voxels: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.int16]:
    with opened_hdf5(file, "the betas cannot be read", expected="an intact HDF5 file", fix=_AGAIN) as tree:
        dataset = tree.get("betas")
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(
                "the HDF5 file holds no betas",
                file=file,
                expected="a dataset 'betas'",
                got=", ".join(tree) or "an empty file",
                fix="use NSD's betas_sessionYY.hdf5",
            )
        _check_layout(file, dataset.shape, (TRIALS_PER_SESSION, *shape[::-1]), dataset.dtype)
        return _gather_chunks(dataset, voxels)


def _gather_chunks(dataset: h5py.Dataset, voxels: NDArray[np.integer]) -> NDArray[np.int16]:
    """Read blocks that cut no chunk in trials and z, each no wider than the wanted voxels in it.

    So no chunk is inflated twice, be the file chunked by voxel (all trials of one) or by trial (one volume).
    """
    x, y, z = voxels.T
    n_trials, n_z = dataset.shape[:2]
    trial_step, z_step = dataset.chunks[:2] if dataset.chunks else (1, n_z)
    betas = np.empty((n_trials, len(voxels)), np.int16)
    for z0 in range(0, n_z, z_step):
        inside = np.flatnonzero((z >= z0) & (z < z0 + z_step))
        if not len(inside):
            continue
        x0, y0 = x[inside].min(), y[inside].min()
        corner = (z[inside] - z0, y[inside] - y0, x[inside] - x0)
        box = slice(z0, z0 + z_step), slice(y0, y[inside].max() + 1), slice(x0, x[inside].max() + 1)
        for trial in range(0, n_trials, trial_step):
            block = dataset[(slice(trial, trial + trial_step), *box)]
            betas[trial : trial + trial_step, inside] = block[(slice(None), *corner)]
    return betas


def _check_layout(file: Path, got: tuple[int, ...], expected: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise unless shape and dtype are those of NSD's betas; name the usual mistake it looks like."""
    fix = "masks and betas must be of one subject and one space (func1pt8mm)"
    if got == expected[::-1]:
        fix = "the axes are reversed: a .nii.gz is x, y, z, trials; an .hdf5, read by h5py, is trials, z, y, x"
    elif len(got) == 4 and sorted(set(got) - set(expected)) and got.count(TRIALS_PER_SESSION) == 0:
        fix = f"a session has {TRIALS_PER_SESSION} trials: download the whole file again"
    if got != expected:
        raise InputError("the betas have another shape", file=file, expected=expected, got=got, fix=fix)
    if dtype.kind != "i" or dtype.itemsize != 2:
        raise InputError(
            "the betas are not 16-bit integers",
            file=file,
            expected=f"int16 holding percent signal change × {BETA_SCALE}",
            got=f"{dtype.name}, probably percent signal change already",
            fix="use NSD's own file; a converted one may hold NaN or be scaled already",
        )
