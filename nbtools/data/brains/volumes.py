"""Volumes that are used voxel by voxel: read whole, as whole labels, and lying where the others lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from nbtools.checks import reading
from nbtools.errors import InputError

# What nibabel raises where a file is not of its format, or damaged.
NIBABEL_ERRORS = (
    *(OSError, EOFError, LookupError, RuntimeError, TypeError, ValueError, OverflowError, MemoryError),
    *(nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError),
    nib.freesurfer.mghformat.MGHError,
)
_APART = 0.1  # of a voxel: so far two headers' rounding may lay one voxel's centre apart
_ROUNDING = 0.01  # of a label: a header's slope multiplies it by a number of single precision


class Grid(NamedTuple):
    """Where voxels lie.

    Attributes
    ----------
    shape : (3,) ints
        x, y, z.
    affine : (4, 4) array
        From i, j, k to millimetres.
    placed : bool
        Whether the file says so; else the affine is what nibabel makes of the voxels' sizes.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    placed: bool = True

    def __str__(self) -> str:
        if not self.placed:
            return f"{self.shape} voxels"
        *_, origin = self.affine[:3].T.round(2).tolist()
        sizes, axes = nib.affines.voxel_sizes(self.affine).round(2), "".join(map(str, nib.aff2axcodes(self.affine)))
        return f"{self.shape} voxels, axes {axes}, {' × '.join(map(str, sizes))} mm, the first at {origin}"


def grid_of(image: nib.Nifti1Image) -> Grid:
    """Return where a NIfTI volume's voxels lie; of a series, those of one volume."""
    placed = int(image.header["sform_code"]) > 0 or int(image.header["qform_code"]) > 0
    return Grid(image.shape[:3], image.affine, placed)


def same_grid(first: Grid, second: Grid) -> bool:
    """Say whether voxels of the same i, j, k lie in the same place, as far as both say where they lie."""
    if first.shape != second.shape or not (first.placed and second.placed):
        return first.shape == second.shape
    # No voxel is moved by more than this sum of what each entry alone could move it by.
    moved = np.abs(first.affine - second.affine)[:3] @ [*first.shape, 1]
    return bool(moved.max() <= _APART * nib.affines.voxel_sizes(first.affine).min())


def check_grid(grid: Grid, other: Grid, *, file: Path | None = None, what: str, like: str) -> None:
    """Raise `InputError` unless voxels of the same i, j, k lie in the same place.

    Parameters
    ----------
    grid, other : Grid
        What is checked, and what it is to be like.
    file : Path, optional
        Whose grid it is.
    what, like : str
        Their names.
    """
    if not same_grid(grid, other):
        raise InputError(
            f"{what} and {like} differ in shape" if grid.shape != other.shape else f"{what} lies elsewhere than {like}",
            file=file,
            expected=f"{other}, as {like}",
            got=grid,
            fix="take both from the same subject and space, as released; bring a volume that was turned or resampled "
            "back to the other's voxels (nilearn.image.resample_to_img, nearest neighbour)",
        )


def inflated(file: Path) -> bytes:
    """Read a small gzip file whole, to its end, where its checksum is compared; damage is an OSError or EOFError."""
    broken: Any = isal_zlib.error  # isal's stub takes it for an instance
    try:
        with igzip.open(file, "rb") as stream:
            return stream.read()
    except broken as error:
        raise OSError(str(error)) from error


def read_volume(file: Path) -> nib.Nifti1Image:
    """Read a volume (x, y, z).

    Raises
    ------
    InputError
        If the file is missing, damaged or not three-dimensional.
    """
    expected, fix = "a NIfTI volume (x, y, z) of numbers", "download nsddata/ppdata/subjXX/func1pt8mm again"
    with reading("a region volume cannot be read", *NIBABEL_ERRORS, file=file, expected=expected, fix=fix):
        image = nib.Nifti1Image.from_bytes(inflated(file))
        image.get_fdata()  # is kept
    if image.ndim != 3:
        raise InputError(
            "a region volume is not three-dimensional",
            file=file,
            expected="(x, y, z)",
            got=image.shape,
            fix="use NSD's own file",
        )
    return image


def read_labels(file: Path) -> tuple[NDArray[np.int64], Grid]:
    """Read a volume of labels (x, y, z), and where its voxels lie.

    Raises
    ------
    InputError
        As `read_volume` and `whole_labels`.
    """
    image = read_volume(file)
    return whole_labels(image.get_fdata(), file), grid_of(image)


def whole_labels(values: NDArray[np.floating], file: Path) -> NDArray[np.int64]:
    """Return labels (any shape) as whole numbers, in that shape; NaN, as outside a brain, is no region: 0.

    Raises
    ------
    InputError
        If a label is further from a whole number than rounding lays it.
    """
    values = np.where(np.isnan(values), 0, values)
    labels = np.round(values)
    with np.errstate(invalid="ignore"):
        broken = values[~(np.abs(values - labels) <= _ROUNDING)]
    if broken.size:
        raise InputError(
            "labels of regions are not whole numbers",
            file=file,
            expected="a whole number in every voxel, 0 or NaN where there is no region",
            got=f"others in {broken.size} of {values.size} voxels, e.g. {broken[0]:.4g}",
            fix="use the volume as released; one that was resampled must be resampled anew, by nearest neighbour",
        )
    return labels.astype(np.int64)
