"""One session's responses in a file: what `prepare` makes of NSD, and the format for responses that are not NSD's.

responses/session01.hdf5, session02.hdf5, …
    image_id             (n_trials,) int        row of the stimuli each trial showed, from 0
    shared               (n_trials,) bool       True where that image belongs to the test set
    repeat               (n_trials,) int        which showing of its image the trial is; may be left out
    regions/<ROI>/responses   (n_trials, n_voxels) int or float, in any unit
    regions/<ROI>/voxels      (n_voxels, 3) int      i, j, k in the volume; may be left out
  attributes: format "nbtools responses 1"; scale, by which responses are divided (default 1); of volumes:
  shape (x, y, z) and affine (4, 4), may be left out; source, a JSON note of what the file was made from
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nbtools.checks import as_names, listed
from nbtools.data.brains.volumes import Grid
from nbtools.errors import InputError
from nbtools.files import opened_hdf5, written

FORMAT = "nbtools responses 1"
SIMULATED = "simulated"  # attribute of a file of responses that is a stand-in for a measured one
_AGAIN = "prepare it again, or write it as data/README.md shows"


@dataclass(frozen=True)
class Session:
    """One session, region by region.

    Attributes
    ----------
    image_ids, repeats : (n_trials,) int64
        0-based row of the stimuli; which showing of the image, from 1 (0 where the file does not say).
    shared : (n_trials,) bool
        True where the image belongs to the test set.
    responses : dict of str to (n_trials, n_voxels) arrays
        By region, to be divided by `scale`.
    voxels : dict of str to (n_voxels, 3) int64
        i, j, k of each voxel; -1 where the file does not say.
    scale : float
        300 for NSD's betas, which hold percent signal change × 300.
    shape, affine : tuple and (4, 4) array, or None
        Of the volume the voxels are taken from.
    source : dict
        What the file was made from.
    """

    image_ids: NDArray[np.int64]
    shared: NDArray[np.bool_]
    repeats: NDArray[np.int64]
    responses: dict[str, NDArray]
    voxels: dict[str, NDArray[np.int64]]
    scale: float = 1.0
    shape: tuple[int, ...] | None = None
    affine: NDArray[np.float64] | None = None
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def grid(self) -> Grid | None:
        """Where its voxels lie, if it says so."""
        return None if self.shape is None or self.affine is None else Grid(self.shape, self.affine)


def session_files(folder: Path) -> dict[int, Path]:
    """Return the prepared sessions of a folder by number, ascending; none if there is no such folder."""
    return numbered(folder, r"session(\d+)\.hdf5")


def numbered(folder: Path, name: str) -> dict[int, Path]:
    """Return the sessions of a folder by number, ascending.

    Parameters
    ----------
    folder : Path
        None are found if there is no such folder.
    name : str
        A regular expression of a file's name; its one group is the number.

    Raises
    ------
    InputError
        If a session stands there twice under two names.
    """
    found: dict[int, list[Path]] = {}
    for file in Path(folder).glob("*"):
        if match := re.fullmatch(name, file.name):
            found.setdefault(int(match[1]), []).append(file)
    twice = [file.name for files in found.values() if len(files) > 1 for file in files]
    if twice:
        raise InputError(
            "a session stands there twice",
            file=folder,
            expected="one file a session",
            got=", ".join(sorted(twice)),
            fix="remove the one that is not wanted",
        )
    return {number: found[number][0] for number in sorted(found)}


def choose_sessions(folder: Path, there: Iterable[int], wanted: Sequence[int] | None = None) -> list[int]:
    """Return the sessions to read, ascending: those wanted, else all there are, which go from 1 without a gap.

    Raises
    ------
    InputError
        If one is missing, or none is wanted.
    """
    there = sorted(there)
    chosen = sorted(set(range(1, max(there, default=1) + 1) if wanted is None else wanted))
    if not chosen or not set(chosen) <= set(there) or 0 in there:
        problem = "sessions are missing" if there else "there are no sessions of responses"
        raise InputError(
            problem if chosen else "no session was asked for",
            file=folder,
            expected=f"sessions {', '.join(map(str, chosen))}" if chosen else "at least one session",
            got=f"sessions {', '.join(map(str, there)) or 'none'}",
            fix="fetch or write the missing ones (data/README.md shows how), or name those to load: sessions=[1, 2]",
        )
    return chosen


def label_volume(
    voxels: Mapping[str, NDArray[np.integer]], shape: tuple[int, ...], affine: NDArray[np.floating]
) -> nib.Nifti1Image:
    """Return regions' voxels (n_voxels, 3) as one volume (x, y, z): 1 for the first, 2 for the second, …, 0 elsewhere.

    A voxel of several regions has the number of the last.
    """
    labels = np.zeros(shape, np.int16)
    for number, ijk in enumerate(voxels.values(), start=1):
        labels[tuple(ijk.T)] = number
    return nib.Nifti1Image(labels, affine)


def write_session(file: Path, session: Session) -> None:
    """Write a session, whole or not at all."""
    with written_hdf5(file) as tree:
        tree.attrs["format"] = FORMAT
        tree.attrs["scale"] = session.scale
        tree.attrs["source"] = json.dumps(session.source)
        if session.shape is not None:
            tree.attrs["shape"] = session.shape
        if session.affine is not None:
            tree.attrs["affine"] = session.affine
        for name, values in (("image_id", session.image_ids), ("shared", session.shared), ("repeat", session.repeats)):
            tree[name] = values
        for roi, values in session.responses.items():
            tree[f"regions/{roi}/responses"] = values
            tree[f"regions/{roi}/voxels"] = session.voxels[roi]


@contextmanager
def written_hdf5(file: Path) -> Iterator[h5py.File]:
    """Give an HDF5 file to fill; on leaving it is written, whole or not at all."""
    # In memory first: HDF5 itself crashes the process where a disk is full.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as tree:
        yield tree
    with written(file) as beside:
        beside.write_bytes(buffer.getbuffer())


def read_session(file: Path, rois: Sequence[str] | None = None) -> Session:
    """Read a session.

    Parameters
    ----------
    file : Path
        ``sessionXX.hdf5``.
    rois : sequence of str, optional
        Regions to read; without it none: only trials, and the names of the regions, are.

    Raises
    ------
    InputError
        If the file is damaged or not of the format, or lacks a region.
    """
    with _opened(file) as tree:
        return _read(file, tree, as_names(rois or []))


def regions_of(file: Path) -> tuple[str, ...]:
    """Name the regions a session's file holds.

    Raises
    ------
    InputError
        If the file is damaged or not of the format.
    """
    with _opened(file) as tree:
        return tuple(tree["regions"])


@contextmanager
def _opened(file: Path) -> Iterator[h5py.File]:
    with opened_hdf5(file, "a session cannot be read", expected=f"HDF5, {FORMAT!r}", fix=_AGAIN) as tree:
        _check_format(file, tree)
        yield tree


def _check_format(file: Path, tree: h5py.File) -> None:
    missing = [name for name in ("image_id", "shared", "regions") if name not in tree]
    said = _attribute(tree, "format", None)
    if said != FORMAT or missing:
        raise InputError(
            "this is no session of responses",
            file=file,
            expected=f"attribute format = {FORMAT!r}; image_id, shared, regions",
            got=f"format {said!r}" + (f"; no {', '.join(missing)}" if missing else ""),
            fix=_AGAIN,
        )


def _attribute(tree: h5py.File, name: str, default: object) -> Any:
    """Return one value that stands beside the data: MATLAB writes text as bytes, and a number as an array of one."""
    value = np.asarray(tree.attrs.get(name, default)).item()
    return value.decode() if isinstance(value, bytes) else value


def _read(file: Path, tree: h5py.File, rois: list[str]) -> Session:
    lacking = [roi for roi in rois if f"regions/{roi}/responses" not in tree]
    if lacking:
        raise InputError(
            f"a session holds no {', '.join(lacking)}",
            file=file,
            expected=", ".join(rois),
            got=", ".join(tree["regions"]) or "no region",
            fix=f'name regions that it holds, as in -p rois "{" ".join(tree["regions"])}"; of NSD, prepare the study '
            "again with these regions too (--rois)",
        )
    image_ids = tree["image_id"][:]
    n = len(image_ids)
    session = Session(
        image_ids=image_ids.astype(np.int64),
        shared=_booleans(file, "shared", tree["shared"][:]),
        repeats=_whole(tree["repeat"]) if "repeat" in tree else np.zeros(n, np.int64),
        responses={roi: tree[f"regions/{roi}/responses"][:] for roi in rois},
        voxels={roi: _voxels(tree[f"regions/{roi}"]) for roi in rois},
        scale=float(_attribute(tree, "scale", 1)),
        shape=tuple(map(int, tree.attrs["shape"])) if "shape" in tree.attrs else None,
        affine=np.asarray(tree.attrs["affine"], float) if "affine" in tree.attrs else None,
        source=json.loads(_attribute(tree, "source", "{}")),
    )
    _check(file, image_ids.dtype, session)
    return session


def _booleans(file: Path, name: str, values: NDArray) -> NDArray[np.bool_]:
    """Return what stands there as booleans: true and false, or 1 and 0; any other value, text and NaN, is refused."""
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise InputError(
            f"{name} holds something else than true and false",
            file=file,
            expected="true or false (1 or 0) for each trial",
            got=f"{values.dtype}: {listed(np.unique(values), 5)}",
            fix="write it again as booleans (in Python, an array of dtype bool)",
        )
    return values.astype(bool)


def _whole(dataset: h5py.Dataset) -> NDArray[np.int64]:
    values = dataset[:]
    if values.dtype.kind not in "iuf" or (values % 1 != 0).any():  # NaN too
        raise TypeError(f"{dataset.name} holds something else than whole numbers")
    return values.astype(np.int64)


def _voxels(region: h5py.Group) -> NDArray[np.int64]:
    if "voxels" in region:
        return _whole(region["voxels"])
    return np.full((region["responses"].shape[-1], 3), -1, np.int64)


def _check(file: Path, id_type: np.dtype, session: Session) -> None:
    n = len(session.image_ids)
    parts = {"image_id": session.image_ids.shape, "shared": session.shared.shape, "repeat": session.repeats.shape}
    wrong = [f"{name} {shape}" for name, shape in parts.items() if shape != (n,)]
    for roi, values in session.responses.items():
        fits = values.ndim == 2 and len(values) == n and values.shape[1] > 0 and values.dtype.kind in "iuf"
        if not fits or session.voxels[roi].shape != (values.shape[1], 3):
            wrong.append(f"{roi} {values.dtype} {values.shape}, voxels {session.voxels[roi].shape}")
        if session.shape is not None and (session.voxels[roi] >= session.shape).any():
            wrong.append(f"voxels of {roi} outside the volume, {session.shape}")
    if session.affine is not None and not (session.affine.shape == (4, 4) and np.isfinite(session.affine).all()):
        wrong.append(f"affine {session.affine.shape}, not (4, 4) finite numbers")
    if n < 2 or id_type.kind not in "iu" or session.image_ids.min() < 0 or not session.scale > 0:
        wrong.append(f"{n} trials, ids {id_type} from {session.image_ids.min() if n else '–'}, scale {session.scale}")
    if wrong:
        raise InputError(
            "a session's parts do not belong together",
            file=file,
            expected="at least two trials, whole image ids from 0, one row of numbers a trial in every region",
            got="; ".join(wrong),
            fix=_AGAIN,
        )
