"""The Natural Scenes Dataset (Allen et al. 2022): files in, `RoiTrials` out.

    nsddata/experiments/nsd/nsd_expdesign.mat                        which trial showed which image
    nsddata/ppdata/subjXX/func1pt8mm/roi/Kastner2015.nii.gz          atlas labels
    nsddata/ppdata/subjXX/func1pt8mm/roi/nsdgeneral.nii.gz           1 where voxels respond to scenes
    nsddata_betas/ppdata/subjXX/func1pt8mm/<version>/betas_sessionYY.nii.gz (or .hdf5)

The steps that follow loading live in `nbtools.data.responses` and can be had from here.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from nbtools.conditions import ROI_LABELS, check_rois
from nbtools.data.betas import BETA_SCALE, TRIALS_PER_SESSION, read_session
from nbtools.data.design import N_STIMULI, Design, design_file, load_design, subject_folder
from nbtools.data.responses import (
    ResponseBasis,
    RoiResponses,
    RoiTrials,
    average_repeats,
    fit_basis,
    project,
    reconstruct,
    split_images,
)
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

BETA_VERSION = "betas_fithrf_GLMdenoise_RR"  # "b3", the version of the paper
SPACE = "func1pt8mm"


def find_sessions(nsd: Path, subject: int, beta_version: str = BETA_VERSION) -> dict[int, Path]:
    """Return the file of each session there is, by number; ``.hdf5`` is preferred, as it is read in slices.

    Raises
    ------
    InputError
        If the folder is missing or holds no session.
    """
    folder = Path(nsd) / "nsddata_betas" / "ppdata" / subject_folder(subject) / SPACE / beta_version
    files: dict[int, Path] = {}
    for ending in (".nii.gz", ".hdf5"):
        for file in folder.glob(f"betas_session*{ending}"):
            if match := re.fullmatch(r"betas_session(\d+)", file.name.removesuffix(ending)):
                files[int(match[1])] = file
    if not files:
        raise InputError(
            f"there are no betas of subject {subject}",
            file=folder,
            expected="betas_session01.nii.gz (or .hdf5) and so on",
            got="none" if folder.is_dir() else "no such folder",
            fix="download the betas; data/README.md says which and how large they are",
        )
    return dict(sorted(files.items()))


def roi_masks(nsd: Path, subject: int, rois: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Return each region's voxels: its Kastner 2015 labels where ``nsdgeneral`` is 1.

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
    dict of str to (x, y, z) bool arrays

    Raises
    ------
    InputError
        If a region is unknown or has no voxel, or a volume is missing, damaged or of another shape.
    """
    check_rois(list(rois))
    folder = _roi_folder(nsd, subject)
    atlas = _read_volume(folder / "Kastner2015.nii.gz")
    general = _read_volume(folder / "nsdgeneral.nii.gz")
    if atlas.shape != general.shape:
        raise InputError(
            "the region volumes differ in shape",
            file=folder / "nsdgeneral.nii.gz",
            expected=f"{atlas.shape}, as Kastner2015.nii.gz",
            got=general.shape,
            fix="take both from the same subject and space",
        )
    masks = {roi: np.isin(atlas, ROI_LABELS[roi]) & (general == 1) for roi in rois}
    empty = [roi for roi, mask in masks.items() if not mask.any()]
    if empty:
        raise InputError(
            f"subject {subject} has no voxel in {', '.join(empty)}",
            file=folder / "Kastner2015.nii.gz",
            expected=f"labels {', '.join(str(ROI_LABELS[roi]) for roi in empty)} where nsdgeneral is 1",
            got="none there",
            fix="leave the region out, or check that both volumes are the subject's own",
        )
    return masks


def roi_volume(nsd: Path, subject: int, rois: Sequence[str]) -> nib.Nifti1Image:
    """Return the regions as one label volume (x, y, z): 1 for the first of `rois`, 2 for the second, …, 0 elsewhere.

    Parameters and errors are those of `roi_masks`.
    """
    masks = roi_masks(nsd, subject, rois)
    labels = sum(number * mask.astype(np.int16) for number, mask in enumerate(masks.values(), start=1))
    atlas = nib.Nifti1Image.from_filename(_roi_folder(nsd, subject) / "Kastner2015.nii.gz")
    return nib.Nifti1Image(labels, atlas.affine)


def _roi_folder(nsd: Path, subject: int) -> Path:
    return Path(nsd) / "nsddata" / "ppdata" / subject_folder(subject) / SPACE / "roi"


def load_trials(
    nsd: Path,
    subject: int,
    rois: Sequence[str],
    *,
    sessions: Sequence[int] | None = None,
    zscore: bool = True,
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
        Names in `nbtools.conditions.ROI_LABELS`.
    sessions : sequence of int, optional
        1-based. Without it all sessions there are, which must then be numbered without a gap.
    zscore : bool
        Z-score each voxel within each session (as NSD's noise ceiling does); else percent signal change.
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
        If a file is missing or damaged, shapes disagree, or no voxel is left of a region.
    """
    masks = roi_masks(nsd, subject, rois)
    files = _choose_sessions(nsd, subject, sessions)
    design = _design_of(nsd, subject, max(files))
    voxels = {roi: np.argwhere(mask) for roi, mask in masks.items()}
    everywhere, shape = np.concatenate(list(voxels.values())), next(iter(masks.values())).shape
    edges = np.cumsum([len(ijk) for ijk in voxels.values()])[:-1]
    responses = {roi: np.empty((len(files) * TRIALS_PER_SESSION, len(ijk)), np.float32) for roi, ijk in voxels.items()}
    alive = {roi: np.ones(len(ijk), bool) for roi, ijk in voxels.items()}
    for n, file in enumerate(tqdm(files.values(), "sessions", disable=not progress)):
        rows = slice(n * TRIALS_PER_SESSION, (n + 1) * TRIALS_PER_SESSION)
        betas = np.split(read_session(file, everywhere, shape), edges, axis=1)
        for roi, values in zip(voxels, betas, strict=True):
            alive[roi] &= _scale(values, responses[roi][rows], zscore)

    sessions_of_trials = np.repeat(np.array(list(files), np.int64), TRIALS_PER_SESSION)
    trials = (sessions_of_trials - 1) * TRIALS_PER_SESSION + np.tile(np.arange(TRIALS_PER_SESSION), len(files))
    loaded = {}
    for roi, ijk in voxels.items():
        keep = _check_alive(roi, alive[roi])
        loaded[roi] = RoiTrials(
            roi=roi,
            responses=responses.pop(roi) if keep.all() else responses.pop(roi)[:, keep],
            image_ids=design.image_ids[trials],
            sessions=sessions_of_trials,
            repeats=design.repeats[trials],
            voxels=ijk[keep],
            dropped=ijk[~keep],
        )
    return loaded


def _scale(betas: NDArray[np.int16], out: NDArray[np.float32], zscore: bool) -> NDArray[np.bool_]:
    """Write one session (750, n_voxels) into `out`, z-scored or in percent; return which voxels vary."""
    alive = (betas != betas[0]).any(axis=0)
    if zscore:
        mean, sd = betas.mean(axis=0), betas.std(axis=0)  # float64, as betas are integers
        np.subtract(betas, mean, out=out, casting="same_kind")
        out /= np.where(alive, sd, 1)
    else:
        np.divide(betas, BETA_SCALE, out=out, casting="same_kind")
    return alive


def _check_alive(roi: str, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    n_dead = int((~alive).sum())
    if n_dead == len(alive):
        raise InputError(
            f"{roi}: no voxel varies",
            expected="at least one voxel with variance in every session",
            got=f"{n_dead} of {len(alive)} voxels are constant in a session",
            fix="check that masks and betas are of one subject and space",
        )
    if n_dead:
        warnings.warn(
            f"{roi}: {n_dead} of {len(alive)} voxels do not vary in a session and were dropped",
            stacklevel=3,
        )
    return alive


def _choose_sessions(nsd: Path, subject: int, sessions: Sequence[int] | None) -> dict[int, Path]:
    files = find_sessions(nsd, subject)
    wanted = sorted(set(range(1, max(files) + 1) if sessions is None else sessions))
    missing = [session for session in wanted if session not in files]
    if missing or not wanted:
        raise InputError(
            f"sessions of subject {subject} are missing" if missing else "no session was asked for",
            file=next(iter(files.values())).parent,
            expected=f"sessions {', '.join(map(str, wanted))}" if wanted else "at least one session",
            got=f"sessions {', '.join(map(str, files))}",
            fix="download the missing ones, or name the sessions to load: sessions=[1, 2]",
        )
    return {session: files[session] for session in wanted}


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


def _read_volume(file: Path) -> NDArray:
    try:
        volume = np.asanyarray(nib.Nifti1Image.from_filename(file).dataobj)
    except (FileNotFoundError, nib.filebasedimages.ImageFileError, EOFError, OSError, zlib.error) as error:
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
