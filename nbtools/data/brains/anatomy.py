"""What lies under the regions: slices of the labelled volume, and cortical surfaces where the study has them.

nsddata/ppdata/subjXX/func1pt8mm/T1_to_func1pt8mm.nii.gz              anatomy in the space of the betas (optional)
nsddata/freesurfer/<subjXX or fsaverage>/surf/{lh,rh}.{inflated,sulc}  meshes (optional)
nsddata/freesurfer/<subjXX or fsaverage>/label/{lh,rh}.Kastner2015.mgz atlas labels of their vertices (optional)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nbtools.checks import as_names, check_choice, reading
from nbtools.conditions import ROI_LABELS
from nbtools.data.brains.design import subject_folder
from nbtools.data.brains.nsd import roi_folder, roi_volume
from nbtools.data.brains.volumes import NIBABEL_ERRORS, check_grid, grid_of, inflated, read_volume, whole_labels
from nbtools.errors import InputError

Voxel = tuple[int, int, int]
PLANES = ("sagittal", "coronal", "axial")  # the plane across x, y and z
Hemisphere = Literal["left", "right"]
HEMISPHERES: tuple[Hemisphere, ...] = ("left", "right")


@dataclass(frozen=True)
class RegionVolume:
    """Regions as one volume, turned so that x runs to the right, y forward and z up.

    Attributes
    ----------
    labels : (x, y, z) int16 array
        1 for the first of `names`, 2 for the second, …, 0 elsewhere.
    underlay : (x, y, z) float32 array
        What to show below the regions, from 0 to 1: the anatomy, or the brain's outline where there is none.
    names : tuple of str
        The regions.
    """

    labels: NDArray[np.int16]
    underlay: NDArray[np.float32]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Slice:
    """One slice through a `RegionVolume`.

    Attributes
    ----------
    labels, underlay : (vertical, horizontal) arrays
        As the volume's, rows from below (or behind) upwards.
    cross : (int, int)
        Where the two other slices cut it: horizontal, vertical, in voxels.
    """

    labels: NDArray[np.int16]
    underlay: NDArray[np.float32]
    cross: tuple[int, int]


@dataclass(frozen=True)
class Surface:
    """One hemisphere's inflated surface.

    Attributes
    ----------
    hemisphere : {"left", "right"}
        Which.
    coordinates : (n_vertices, 3) float array
        Millimetres.
    faces : (n_faces, 3) int array
        Vertices of each triangle.
    labels : (n_vertices,) int16 array
        1 for the first of `names`, …, 0 elsewhere: the atlas alone, whether or not the vertex responds to scenes.
    sulc : (n_vertices,) float array or None
        Sulcal depth.
    names : tuple of str
        The regions.
    """

    hemisphere: Hemisphere
    coordinates: NDArray[np.floating]
    faces: NDArray[np.integer]
    labels: NDArray[np.int16]
    sulc: NDArray[np.floating] | None
    names: tuple[str, ...]


def load_volume(nsd: Path, subject: int, rois: Sequence[str]) -> RegionVolume:
    """Load the regions over the subject's anatomy, or over the outline of its brain where there is no anatomy.

    Parameters
    ----------
    nsd : Path
        Root of the NSD tree.
    subject : int
        1 to 8.
    rois : sequence of str
        Names in `nbtools.conditions.ROI_LABELS`.

    Raises
    ------
    InputError
        As `nbtools.data.brains.nsd.roi_masks`, or if the anatomy has another shape or lies elsewhere.
    """
    rois = as_names(rois)
    labels = nib.as_closest_canonical(roi_volume(nsd, subject, rois))
    folder = roi_folder(nsd, subject)
    anatomical, general = folder.parent / "T1_to_func1pt8mm.nii.gz", folder / "nsdgeneral.nii.gz"
    file = anatomical if anatomical.exists() else general
    image = nib.as_closest_canonical(read_volume(file))
    check_grid(grid_of(image), grid_of(labels), file=file, what=file.name, like="the regions (nsdgeneral.nii.gz)")
    below = np.nan_to_num(image.get_fdata(dtype=np.float32))
    if file == anatomical:
        below = np.clip(below / np.percentile(below, 99.5), 0, 1)
    else:  # nsdgeneral is −1 outside the brain's cortex
        values = whole_labels(below, file)
        below = np.select([values == 1, values == 0], [np.float32(0.6), np.float32(0.3)], np.float32(0))
    return RegionVolume(np.asarray(labels.dataobj, dtype=np.int16), below, tuple(rois))


def slices(volume: RegionVolume, at: Voxel) -> dict[str, Slice]:
    """Cut the volume three ways through one voxel: a `Slice` for each of `PLANES`.

    Raises
    ------
    InputError
        If the voxel is outside the volume.
    """
    if not all(0 <= c < n for c, n in zip(at, volume.labels.shape, strict=True)):
        raise InputError(
            "there is no such voxel",
            expected="from (0, 0, 0) to " + str(tuple(n - 1 for n in volume.labels.shape)),
            got=at,
            fix="stay inside the volume",
        )
    cut = {}
    for axis, plane in enumerate(PLANES):
        labels, below = (np.take(v, at[axis], axis=axis).T for v in (volume.labels, volume.underlay))
        horizontal, vertical = (c for other, c in enumerate(at) if other != axis)
        cut[plane] = Slice(labels, below, (horizontal, vertical))
    return cut


def region_at(volume: RegionVolume, at: Voxel) -> str | None:
    """Return the region a voxel belongs to, or None."""
    label = volume.labels[at]
    return volume.names[label - 1] if label > 0 else None


def centre_of(volume: RegionVolume, roi: str) -> Voxel:
    """Return the voxel of a region around which most of it lies: a region of two hemispheres has no middle."""
    voxels = np.argwhere(volume.labels == volume.names.index(roi) + 1)
    right = voxels[voxels[:, 0] >= volume.labels.shape[0] / 2]
    side = right if 2 * len(right) >= len(voxels) else voxels[voxels[:, 0] < volume.labels.shape[0] / 2]
    nearest = side[np.square(side - side.mean(axis=0)).sum(axis=1).argmin()]
    return int(nearest[0]), int(nearest[1]), int(nearest[2])


def load_surfaces(nsd: Path, subject: int, rois: Sequence[str]) -> tuple[Surface, ...]:
    """Load both hemispheres' inflated surfaces: the subject's own, else fsaverage's, else none.

    Parameters
    ----------
    nsd : Path
        Root of the NSD tree.
    subject : int
        1 to 8.
    rois : sequence of str
        Names in `nbtools.conditions.ROI_LABELS`.

    Returns
    -------
    tuple of Surface
        Left and right, or empty where the study has no surface.

    Raises
    ------
    InputError
        If a region is unknown, a file is missing beside others or damaged, or labels do not fit the mesh.
    """
    rois = as_names(rois)
    for roi in rois:
        check_choice(f"the surfaces' atlas has no region {roi}", roi, ROI_LABELS)
    for name in (subject_folder(subject), "fsaverage"):
        folder = Path(nsd) / "nsddata" / "freesurfer" / name
        if (folder / "surf" / "lh.inflated").exists():
            return tuple(_surface(folder, hemisphere, tuple(rois)) for hemisphere in HEMISPHERES)
    return ()


def _surface(folder: Path, hemisphere: Hemisphere, rois: tuple[str, ...]) -> Surface:
    prefix = {"left": "lh", "right": "rh"}[hemisphere]
    mesh, atlas = folder / "surf" / f"{prefix}.inflated", folder / "label" / f"{prefix}.Kastner2015.mgz"
    depth = folder / "surf" / f"{prefix}.sulc"
    coordinates, faces = _read(mesh, nib.freesurfer.read_geometry)
    labelled = _read(atlas, lambda file: nib.MGHImage.from_bytes(inflated(file)).get_fdata())
    values = whole_labels(labelled.ravel(), atlas)
    sulc = _read(depth, nib.freesurfer.read_morph_data) if depth.exists() else None
    if len(values) != len(coordinates) or (sulc is not None and len(sulc) != len(coordinates)):
        raise InputError(
            "labels or depths do not fit the surface",
            file=atlas,
            expected=f"{len(coordinates)} vertices, as {mesh.name}",
            got=f"{len(values)} labels" + (f", {len(sulc)} depths in {depth.name}" if sulc is not None else ""),
            fix="take all files of one surface from the same folder",
        )
    labels = np.zeros(len(values), np.int16)
    for number, roi in enumerate(rois, start=1):
        labels[np.isin(values, ROI_LABELS[roi])] = number
    return Surface(hemisphere, coordinates, faces, labels, sulc, rois)


def _read(file: Path, how: Callable[[Path], Any]) -> Any:
    expected, fix = f"{file.name} in FreeSurfer's format", "download nsddata/freesurfer of this subject again"
    with reading("a surface cannot be read", *NIBABEL_ERRORS, file=file, expected=expected, fix=fix):
        return how(file)
