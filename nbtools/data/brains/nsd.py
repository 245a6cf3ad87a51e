"""The Natural Scenes Dataset (Allen et al. 2022): files in, `RoiTrials` out.

    nsddata/experiments/nsd/nsd_expdesign.mat                        which trial showed which image
    nsddata/ppdata/subjXX/func1pt8mm/roi/Kastner2015.nii.gz          atlas labels
    nsddata/ppdata/subjXX/func1pt8mm/roi/nsdgeneral.nii.gz           1 where voxels respond to scenes
    nsddata_betas/ppdata/subjXX/func1pt8mm/<version>/betas_sessionYY.nii.gz (or .hdf5)

The steps that follow loading live in `nbtools.data.brains.responses` and can be had from here.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nbtools.conditions import check_rois, region_labels
from nbtools.data.brains.betas import BETA_SCALE, TRIALS_PER_SESSION, read_betas
from nbtools.data.brains.design import N_STIMULI, Design, design_file, load_design, subject_folder
from nbtools.data.brains.responses import (
    ResponseBasis,
    RoiResponses,
    RoiTrials,
    average_repeats,
    fit_basis,
    project,
    reconstruct,
    split_images,
)
from nbtools.data.brains.sessions import Session, read_session, session_files
from nbtools.data.brains.trials import assemble
from nbtools.data.study import BETAS
from nbtools.errors import InputError

__all__ = [
    "BETA_SCALE",
    "BETA_VERSION",
    "N_STIMULI",
    "TRIALS_PER_SESSION",
    "Design",
    "ResponseBasis",
    "RoiResponses",
    "RoiTrials",
    "average_repeats",
    "find_sessions",
    "fit_basis",
    "load_design",
    "load_trials",
    "project",
    "reconstruct",
    "roi_masks",
    "roi_volume",
    "split_images",
]

BETA_VERSION = BETAS["b3"]  # the version of the paper
SPACE = "func1pt8mm"


def find_sessions(
    nsd: Path, subject: int, beta_version: str = BETA_VERSION, *, required: bool = True
) -> dict[int, Path]:
    """Return the file of each session there is, by number; ``.hdf5`` is preferred, as it is read in slices.

    Raises
    ------
    InputError
        If one is `required` and the folder is missing or holds no session; if a session stands there twice under
        two names.
    """
    folder = _betas_folder(nsd, subject, beta_version)
    files: dict[int, Path] = {}
    for ending in (".nii.gz", ".hdf5"):
        found = [file for file in folder.glob(f"betas_session*{ending}") if session_number(file)]
        _check_twice(folder, found)
        files |= {session_number(file): file for file in found}
    if not files and required:
        raise InputError(
            f"there are no betas of subject {subject}",
            file=folder,
            expected="betas_session01.nii.gz (or .hdf5) and so on",
            got="none" if folder.is_dir() else "no such folder",
            fix="download the betas; data/README.md says which and how large they are",
        )
    return dict(sorted(files.items()))


def _betas_folder(nsd: Path, subject: int, beta_version: str) -> Path:
    return Path(nsd) / "nsddata_betas" / "ppdata" / subject_folder(subject) / SPACE / beta_version


def session_number(file: Path) -> int:
    """Return the 1-based session of a file of betas; 0 if its name is not of that form."""
    match = re.fullmatch(r"betas_session(\d+)\.(nii\.gz|hdf5)", file.name)
    return int(match[1]) if match else 0


def _check_twice(folder: Path, files: list[Path]) -> None:
    numbers = [session_number(file) for file in files]
    twice = sorted(file.name for file in files if numbers.count(session_number(file)) > 1)
    if twice:
        raise InputError(
            "a session stands there twice",
            file=folder,
            expected="one file a session, such as betas_session01.nii.gz",
            got=", ".join(twice),
            fix="remove the one that is not NSD's",
        )


def roi_masks(
    nsd: Path, subject: int, rois: Sequence[str], retinotopy: str = "Kastner2015"
) -> dict[str, NDArray[np.bool_]]:
    """Return each region's voxels: its labels in the atlas where ``nsdgeneral`` is 1.

    Parameters
    ----------
    nsd : Path
        Root of the NSD tree.
    subject : int
        1 to 8.
    rois : sequence of str
        Names in `nbtools.conditions.REGIONS`.
    retinotopy : {"Kastner2015", "prf-visualrois"}
        Where retinotopic regions are taken from; functional ones stand in volumes of their own.

    Returns
    -------
    dict of str to (x, y, z) bool arrays

    Raises
    ------
    InputError
        If a region is unknown or has no voxel, or a volume is missing, damaged or of another shape.
    """
    check_rois(list(rois))
    folder = roi_folder(nsd, subject)
    labels = {roi: region_labels(roi, retinotopy) for roi in rois}
    general = _read_general(folder / "nsdgeneral.nii.gz")
    atlases = {atlas: _read_volume(folder / f"{atlas}.nii.gz") for atlas in {atlas for atlas, _ in labels.values()}}
    for atlas, volume in atlases.items():
        if volume.shape != general.shape:
            raise InputError(
                "the region volumes differ in shape",
                file=folder / "nsdgeneral.nii.gz",
                expected=f"{volume.shape}, as {atlas}.nii.gz",
                got=general.shape,
                fix="take both from the same subject and space",
            )
    masks = {roi: np.isin(atlases[atlas], numbers) & general for roi, (atlas, numbers) in labels.items()}
    empty = [roi for roi, mask in masks.items() if not mask.any()]
    if empty:
        raise InputError(
            f"subject {subject} has no voxel in {', '.join(empty)}",
            file=folder / f"{labels[empty[0]][0]}.nii.gz",
            expected=f"labels {', '.join(str(labels[roi][1]) for roi in empty)} where nsdgeneral is 1",
            got="none there",
            fix="leave the region out, or check that both volumes are the subject's own",
        )
    return masks


def roi_volume(nsd: Path, subject: int, rois: Sequence[str], retinotopy: str = "Kastner2015") -> nib.Nifti1Image:
    """Return the regions as one label volume (x, y, z): 1 for the first of `rois`, 2 for the second, …, 0 elsewhere.

    Parameters and errors are those of `roi_masks`.
    """
    masks = roi_masks(nsd, subject, rois, retinotopy)
    labels = sum(number * mask.astype(np.int16) for number, mask in enumerate(masks.values(), start=1))
    return nib.Nifti1Image(labels, volume_affine(nsd, subject))


def volume_affine(nsd: Path, subject: int) -> NDArray[np.float64]:
    """Return the (4, 4) affine of the subject's volumes; `roi_masks` has read the file and found it whole."""
    return nib.Nifti1Image.from_filename(roi_folder(nsd, subject) / "nsdgeneral.nii.gz").affine


def roi_folder(nsd: Path, subject: int) -> Path:
    """Return where a subject's volumes of regions lie."""
    return Path(nsd) / "nsddata" / "ppdata" / subject_folder(subject) / SPACE / "roi"


def load_trials(
    nsd: Path,
    subject: int,
    rois: Sequence[str],
    *,
    sessions: Sequence[int] | None = None,
    zscore: bool = True,
    betas: str = "b3",
    retinotopy: str = "Kastner2015",
    prepared: Path | None = None,
    progress: bool = True,
) -> dict[str, RoiTrials]:
    """Load single-trial responses of regions; every session's file is read once for all of them.

    Parameters
    ----------
    nsd : Path
        Root of the NSD tree.
    subject : int
        1 to 8.
    rois : sequence of str
        Names in `nbtools.conditions.REGIONS`.
    sessions : sequence of int, optional
        1-based. Without it all sessions there are, which must then be numbered without a gap.
    zscore : bool
        Z-score each voxel within each session (as NSD's noise ceiling does); else percent signal change.
    betas : {"b3", "b2", "b1"}
        NSD's version of the betas.
    retinotopy : {"Kastner2015", "prf-visualrois"}
        Where retinotopic regions are taken from.
    prepared : Path, optional
        Folder of sessions that `nbtools.data.brains.prepare` made of this tree: read in place of the volumes.
    progress : bool
        Show a bar over the sessions.

    Returns
    -------
    dict of str to RoiTrials
        Responses (n_sessions · 750, n_voxels), sessions ascending. Voxels without variance in a session are
        left out, listed in ``dropped`` and warned of.

    Raises
    ------
    InputError
        If a file is missing or damaged, shapes disagree, or no voxel is left of a region; if a prepared session was
        made of another volume, design or mask than there is now.
    """
    masks = roi_masks(nsd, subject, rois, retinotopy)
    made = session_files(prepared) if prepared else {}
    volumes = find_sessions(nsd, subject, BETAS[betas], required=not made)
    folder = _betas_folder(nsd, subject, BETAS[betas])
    wanted = _choose_sessions(subject, folder, {*volumes, *made}, sessions)
    design, affine = _design_of(nsd, subject, max(wanted)), volume_affine(nsd, subject)

    def read(number: int) -> Session:
        if number in made:
            return _read_prepared(made[number], number, volumes.get(number), masks, design)
        return session_of(volumes[number], number, masks, design, affine)

    return assemble(wanted, read, zscore=zscore, progress=progress)


def session_of(
    file: Path,
    number: int,
    masks: dict[str, NDArray[np.bool_]],
    design: Design,
    affine: NDArray[np.float64],
    digest: Any = None,
) -> Session:
    """Reduce a session's volume to the voxels of regions.

    Parameters
    ----------
    file : Path
        ``betas_sessionYY.nii.gz`` or ``.hdf5``.
    number : int
        1-based session.
    masks : dict of str to (x, y, z) bool arrays
        From `roi_masks`.
    design : Design
        Of the subject.
    affine : (4, 4) array
        Of the masks. A volume that says it lies elsewhere is warned of; voxels are taken by their i, j, k all the same,
        as NSD's are in one space.
    digest : hashlib object, optional
        Is updated with the file's bytes.

    Raises
    ------
    InputError
        As `nbtools.data.brains.betas.read_betas`.
    """
    voxels = {roi: np.argwhere(mask) for roi, mask in masks.items()}
    everywhere, shape = np.concatenate(list(voxels.values())), next(iter(masks.values())).shape
    edges = np.cumsum([len(ijk) for ijk in voxels.values()])[:-1]
    values = np.split(read_betas(file, everywhere, shape, digest), edges, axis=1)
    _warn_of_another_place(file, affine)
    trials = design.session(number)
    return Session(
        image_ids=design.image_ids[trials],
        shared=np.isin(design.image_ids[trials], design.shared_ids),
        repeats=design.repeats[trials],
        responses=dict(zip(voxels, values, strict=True)),
        voxels=voxels,
        scale=BETA_SCALE,
        shape=shape,
        affine=affine,
    )


def _warn_of_another_place(file: Path, affine: NDArray[np.float64]) -> None:
    if file.suffix == ".hdf5":  # says nothing of its place
        return
    header = nib.Nifti1Image.from_filename(file).header
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    if coded and not np.allclose(header.get_best_affine(), affine, atol=1e-2):
        warnings.warn(
            f"{file.name} says that it lies elsewhere than the masks do: are both of one subject and space "
            f"(func1pt8mm)? Voxels were taken by their i, j, k",
            stacklevel=3,
        )


def _read_prepared(
    file: Path, number: int, volume: Path | None, masks: dict[str, NDArray[np.bool_]], design: Design
) -> Session:
    session = read_session(file, list(masks))
    trials = design.session(number)
    changed = [roi for roi, mask in masks.items() if not np.array_equal(session.voxels[roi], np.argwhere(mask))]
    reasons = [f"the masks of {', '.join(changed)}"] if changed else []
    if not np.array_equal(session.image_ids, design.image_ids[trials]):
        reasons.append("the design: the trials showed other images")
    if volume is not None and volume.name == session.source.get("file"):
        size = volume.stat().st_size
        reasons += [f"{volume.name}: {size} bytes, not {session.source['size']}"] * (size != session.source["size"])
    if reasons:
        raise InputError(
            "a prepared session is not of the files there are now",
            file=file,
            expected="the volume, masks and design it was made of",
            got="changed: " + "; ".join(reasons),
            fix="if the files now there are the right ones, run `python -m nbtools prepare nsd` again; "
            "else fetch them again",
        )
    return session


def _choose_sessions(subject: int, folder: Path, numbers: Iterable[int], sessions: Sequence[int] | None) -> list[int]:
    there = sorted(numbers)
    wanted = sorted(set(range(1, max(there) + 1) if sessions is None else sessions))
    missing = [session for session in wanted if session not in there]
    if missing or not wanted:
        raise InputError(
            f"sessions of subject {subject} are missing" if missing else "no session was asked for",
            file=folder,
            expected=f"sessions {', '.join(map(str, wanted))}" if wanted else "at least one session",
            got=f"sessions {', '.join(map(str, there))}",
            fix="download the missing ones, or name the sessions to load: sessions=[1, 2]",
        )
    return wanted


def _design_of(nsd: Path, subject: int, last_session: int) -> Design:
    design = load_design(nsd, subject)
    if len(design.image_ids) < last_session * TRIALS_PER_SESSION:
        raise InputError(
            "the design has fewer trials than there are betas",
            file=design_file(nsd),
            expected=f"at least {last_session * TRIALS_PER_SESSION} trials, for session {last_session}",
            got=f"{len(design.image_ids)} trials in masterordering",
            fix="use NSD's own nsd_expdesign.mat",
        )
    return design


def _read_general(file: Path) -> NDArray[np.bool_]:
    volume = _read_volume(file)
    if not np.isin(volume, (-1, 0, 1)).all():  # -1: outside cortex
        raise InputError(
            "this is not nsdgeneral",
            file=file,
            expected="1 where voxels respond to scenes, 0 or -1 elsewhere",
            got=f"values from {volume.min()} to {volume.max()}, as an atlas has: were two files swapped?",
            fix="download nsddata/ppdata/subjXX/func1pt8mm/roi again",
        )
    return volume == 1


def _read_volume(file: Path) -> NDArray:
    try:
        volume = np.asanyarray(nib.Nifti1Image.from_filename(file).dataobj)
    except (nib.filebasedimages.ImageFileError, EOFError, OSError, RuntimeError, zlib.error) as error:
        raise InputError(
            "a region volume cannot be read",
            file=file,
            expected="a NIfTI volume (x, y, z)",
            got=error,
            fix="download nsddata/ppdata/subjXX/func1pt8mm/roi again",
        ) from error
    if volume.ndim != 3:
        raise InputError(
            "a region volume is not three-dimensional",
            file=file,
            expected="(x, y, z)",
            got=volume.shape,
            fix="use NSD's own file",
        )
    return volume
