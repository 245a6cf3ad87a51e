"""THINGS-fMRI (Hebart et al. 2023) in its table format: regions by the table of voxels, responses reduced to them.

    sub-01_VoxelMetadata.csv      a row per voxel: voxel_id, and whether it belongs (0 or 1) to each region
    sub-01_StimulusMetadata.csv   a row per trial: trial_id, stimulus, trial_type
    sub-01_ResponseData.h5        voxels × trials of the whole brain, 16 GB: a table of pandas, in its fixed format

The last becomes ``responses.h5`` as it is unpacked: ``voxel_id`` (n,), in the table's order, and ``responses``
(n, n_trials) float32. pandas' own reader of the format unpickles what it finds there; here h5py reads numbers alone.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nbtools.checks import check_choice, listed, reading
from nbtools.data.archives import contents, save
from nbtools.data.brains.sessions import SIMULATED
from nbtools.errors import InputError
from nbtools.files import PREFIX, opened_hdf5, require_space, written
from nbtools.processes import Bar

SUBJECTS = range(1, 4)
# Regions by the columns of the table of voxels that make them up, both hemispheres of each.
REGIONS = {
    **{name: (name,) for name in ("V1", "V2", "V3")},
    "V4": ("hV4",),
    **{name: (f"{name}1", f"{name}2") for name in ("VO", "LO", "TO")},
    "V3A": ("V3a",),
    "V3B": ("V3b",),
    **{name: (f"l{name}", f"r{name}") for name in ("PPA", "FFA", "EBA", "OFA", "LOC", "RSC", "STS", "TOS")},
}
# The paper's order; there is no PHC, and PPA stands in for it.
HIERARCHY = ("V1", "V2", "V4", "VO", "PPA", "LO", "TO")
VOXELS, STIMULI, RESPONSES = "VoxelMetadata.csv", "StimulusMetadata.csv", "responses.h5"
_TABLE = "ResponseData.h5"
_SPELLINGS = {"LO1 (prf)": "LO1", "LO2 (prf)": "LO2"}  # of some releases
_UNPACKED = f"{PREFIX}table"
_LARGEST = 64 * 2**30  # bytes of a table: four times as many as there are
_SPAN = 2**26  # bytes that are read at once
_AGAIN = "delete it and fetch again: python -m nbtools fetch things-fmri"


# --- voxels and regions ---------------------------------------------------------------------------------------


def read_voxels(file: Path) -> pd.DataFrame:
    """Read the table of voxels: a row per voxel, its columns spelled in one way.

    Raises
    ------
    InputError
        If it is missing or damaged, or names a voxel twice.
    """
    expected = "a row per voxel, with voxel_id and a column of 0 and 1 per region"
    kinds = OSError, ValueError, LookupError, TypeError
    with reading("the table of voxels cannot be read", *kinds, file=file, expected=expected, fix=_AGAIN):
        voxels = pd.read_csv(file)
        if not (pd.api.types.is_integer_dtype(voxels["voxel_id"]) and voxels["voxel_id"].is_unique):
            raise ValueError("voxel_id holds a number twice, or what is no number")
    return voxels.rename(columns={old: new for old, new in _SPELLINGS.items() if new not in voxels})


def marked_regions(voxels: pd.DataFrame) -> list[str]:
    """Name the regions of which a table of voxels, from `read_voxels`, has every column, and a voxel."""
    there = [roi for roi, columns in REGIONS.items() if voxels.columns.isin(columns).sum() == len(columns)]
    return [roi for roi in there if voxels[list(REGIONS[roi])].ne(0).any(axis=None)]


def region_voxels(voxels: pd.DataFrame, roi: str, file: Path) -> NDArray[np.bool_]:
    """Say which voxels belong to a region; a voxel may belong to several.

    Parameters
    ----------
    voxels : DataFrame
        From `read_voxels`.
    roi : str
        One of `REGIONS`.
    file : Path
        Named in errors.

    Returns
    -------
    array (n_voxels,) of bool
        In the order of the rows.

    Raises
    ------
    InputError
        If there is no such region, or the subject has none of it.
    """
    check_regions([roi])
    check_choice(f"{file} does not mark this region", roi, marked_regions(voxels), fix="choose other regions")
    marks = voxels[list(REGIONS[roi])]
    if not marks.isin([0, 1]).all(axis=None):
        raise InputError(
            f"the voxels of {roi} cannot be told",
            file=file,
            expected=f"0 or 1 in {', '.join(marks)}",
            got=listed(np.unique(marks.to_numpy().astype(str)), 5),
            fix=f"choose other regions, or {_AGAIN}",
        )
    return marks.eq(1).any(axis=1).to_numpy()


def check_regions(rois: Iterable[str]) -> None:
    """Raise `InputError` unless these are regions that the data name; the error lists those."""
    for roi in rois:
        check_choice("THINGS-fMRI has no such region", roi, REGIONS)


def _wanted(folder: Path, rois: Sequence[str]) -> NDArray[np.int64]:
    """Return the ids of the voxels of some regions, each once, as a subject's table of voxels tells them."""
    voxels = read_voxels(folder / VOXELS)
    belongs = np.any([region_voxels(voxels, roi, folder / VOXELS) for roi in rois], axis=0)
    return voxels["voxel_id"].to_numpy(np.int64)[belongs]


# --- responses reduced ----------------------------------------------------------------------------------------


def reduce_responses(table: Path, voxel_ids: NDArray[np.int64], to: Path) -> None:
    """Write the responses of some voxels out of the table of all, row by row: memory does not grow with either.

    Parameters
    ----------
    table : Path
        ``sub-0X_ResponseData.h5``: (n_voxels, n_trials) of the whole brain.
    voxel_ids : (n_kept,) int64
        The voxels, each once.
    to : Path
        ``responses.h5``, (n_kept, n_trials) float32, written whole or not at all.

    Raises
    ------
    InputError
        If the table is damaged, of another form or lacks a voxel, or the disk has no room.
    """
    expected = "ResponseData, as pandas writes it: a block of responses, voxels × trials, and one of voxel_id"
    with opened_hdf5(table, "the table of responses cannot be read", expected=expected, fix=_AGAIN) as tree:
        responses, ids = _blocks(tree, table, expected)
        rows = np.flatnonzero(np.isin(ids, voxel_ids))
        if not np.array_equal(np.sort(ids[rows]), np.sort(voxel_ids)):
            raise InputError(
                "the table of responses has other voxels than the table of voxels",
                file=table,
                expected=f"{len(voxel_ids)} voxels of the regions, each once",
                got=f"{len(rows)} rows, without {listed(np.setdiff1d(voxel_ids, ids), 5) or 'none'}",
                fix=_AGAIN,
            )
        _write(to, ids[rows], responses, rows, simulated=bool(tree.attrs.get(SIMULATED, False)))


def _blocks(tree: h5py.File, file: Path, expected: str) -> tuple[h5py.Dataset, NDArray[np.int64]]:
    """Find responses (n_voxels, n_trials) and ids of voxels among the blocks, which are columns of one type each."""
    group = tree["ResponseData"]
    blocks = {name: group[name] for name in group if re.fullmatch(r"block\d+_values", name) and group[name].ndim == 2}
    floats = [name for name, block in blocks.items() if block.dtype.kind == "f"]
    ids = [name for name, block in blocks.items() if block.dtype.kind in "iu" and block.shape[1] == 1]
    if len(floats) != 1 or len(ids) != 1 or len(blocks[floats[0]]) != len(blocks[ids[0]]):
        got = ", ".join(f"{name} {block.dtype} {block.shape}" for name, block in blocks.items()) or listed(group)
        raise InputError("the table of responses has another form", file=file, expected=expected, got=got, fix=_AGAIN)
    responses, names = blocks[floats[0]], group[floats[0].replace("values", "items")]
    # Names of mixed types are pickled, and stay unread.
    told = names.dtype.kind in "Siuf" or h5py.check_string_dtype(names.dtype)
    if told and not np.array_equal(names[()].astype(np.float64), np.arange(responses.shape[1])):
        raise ValueError(f"its columns are not trials 0 to {responses.shape[1] - 1} in order")
    return responses, blocks[ids[0]][:, 0].astype(np.int64)


def _write(
    to: Path, voxel_ids: NDArray[np.int64], responses: h5py.Dataset, rows: NDArray[np.intp], *, simulated: bool
) -> None:
    shape = len(rows), responses.shape[1]
    require_space(to.parent, 4 * shape[0] * shape[1])
    with written(to) as beside:
        with h5py.File(beside, "w") as tree:
            tree.attrs[SIMULATED], tree["voxel_id"] = simulated, voxel_ids
            place = tree.create_dataset("responses", shape, np.float32)
            place[-1, -1] = 0  # from here on it has its bytes in the file
            start = place.id.get_offset()
        # Not through HDF5, which crashes the process where a disk is full.
        with beside.open("r+b") as out:
            out.seek(start)
            with Bar(None, "voxels", len(rows), unit="voxel", leave=False) as bar:
                for block in _rows(responses, rows):
                    out.write(block.data)
                    bar.update(len(block))


def _rows(responses: h5py.Dataset, rows: NDArray[np.intp]) -> Iterator[NDArray[np.float32]]:
    """Read rows, ascending, from first to last: neighbours together, and no chunk of a chunked dataset twice."""
    height = responses.chunks[0] if responses.chunks else 1
    most = height * max(1, _SPAN // (height * responses.shape[1] * responses.dtype.itemsize))
    apart = (np.diff(rows // height) > 1) | (np.diff(rows // most) > 0)
    for span in np.split(rows, np.flatnonzero(apart) + 1):
        yield responses[span[0] : span[-1] + 1][span - span[0]].astype("<f4")


# --- out of the archive ---------------------------------------------------------------------------------------


def subject_place(root: Path, subject: int) -> Path:
    """Return the folder of a subject's files."""
    return root / f"sub-{subject:02d}"


def is_reduced(root: Path, subject: int, rois: Sequence[str]) -> bool:
    """Say whether a subject's tables are there, and its responses with every voxel of these regions."""
    folder = subject_place(root, subject)
    if not all((folder / name).exists() for name in (VOXELS, STIMULI, RESPONSES)):
        return False
    return bool(np.isin(_wanted(folder, rois), _reduced_ids(folder)).all())


def _reduced_ids(folder: Path) -> NDArray[np.int64]:
    file = folder / RESPONSES
    if not file.exists():
        return np.array([], np.int64)
    with opened_hdf5(file, "reduced responses cannot be read", expected="voxel_id and responses", fix=_AGAIN) as tree:
        return tree["voxel_id"][:].astype(np.int64)


def remove_leftovers(root: Path) -> None:
    """Remove the table that was unpacked, and what a killed process left half written."""
    shutil.rmtree(root / _UNPACKED, ignore_errors=True)
    for left in root.glob(f"sub-*/{PREFIX}*"):
        left.unlink()


def reduce_archive(archive: Path, root: Path, subjects: Collection[int], rois: Sequence[str]) -> None:
    """Take subjects out of the archive, one after another; beside it, no more than one table lies on the disk.

    Parameters
    ----------
    archive : Path
        With ``betas_csv/sub-0X_…``, in whatever kind of archive.
    root : Path
        Gets a folder per subject.
    subjects : collection of int
        1 to 3. Those that are reduced already are passed over.
    rois : sequence of str
        Regions; the voxels of those that were reduced before are kept.

    Raises
    ------
    InputError
        If the archive is damaged or lacks a subject's file, or as `reduce_responses`.
    """
    _take(archive, root, subjects, {VOXELS, STIMULI})  # first: they say which voxels are wanted
    missing = {subject for subject in subjects if not is_reduced(root, subject, rois)}
    for subject, name, size, content in _files(archive, missing, {_TABLE}) if missing else ():
        table, folder = root / _UNPACKED / name, subject_place(root, subject)
        with Bar.wrapattr(content, "read", size, desc=f"subject {subject}", leave=False) as told:
            save(told, size, table, archive)
        reduce_responses(table, np.union1d(_wanted(folder, rois), _reduced_ids(folder)), folder / RESPONSES)
        remove_leftovers(root)
        missing.remove(subject)
        if not missing:
            break
    _check_found(archive, [f"sub-{subject:02d}_{_TABLE}" for subject in sorted(missing)])


def _take(archive: Path, root: Path, subjects: Collection[int], names: Collection[str]) -> None:
    """Unpack the small files that are not there."""
    places = {(subject, name): subject_place(root, subject) / name for subject in subjects for name in names}
    places = {key: file for key, file in places.items() if not file.exists()}
    for subject, name, size, content in _files(archive, subjects, names) if places else ():
        if file := places.pop((subject, name), None):
            save(content, size, file, archive)
        if not places:
            break
    _check_found(archive, [f"sub-{subject:02d}_{name}" for subject, name in places])


def _files(
    archive: Path, subjects: Collection[int], names: Collection[str]
) -> Iterator[tuple[int, str, int, IO[bytes]]]:
    """Give some subjects' files as they come: subject, name without the subject, bytes, and what to read them from."""
    for path, size, content in contents(archive, largest=_LARGEST):
        found = re.fullmatch(r"sub-(\d+)_(.+)", PurePosixPath(path).name)
        if found and int(found[1]) in subjects and found[2] in names:
            yield int(found[1]), found[2], size, content


def _check_found(archive: Path, missing: Sequence[str]) -> None:
    if missing:
        raise InputError(
            "the archive lacks files of these subjects",
            file=archive,
            expected="betas_csv/ with three files a subject, as published",
            got=f"no {listed(missing)}",
            fix=_AGAIN,
        )
