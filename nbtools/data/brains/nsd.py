"""The Natural Scenes Dataset (Allen et al. 2022), as its authors lay it out: files in, sessions out.

nsddata/experiments/nsd/nsd_expdesign.mat                        which trial showed which image
nsddata/ppdata/subjXX/func1pt8mm/roi/Kastner2015.nii.gz          atlas labels
nsddata/ppdata/subjXX/func1pt8mm/roi/nsdgeneral.nii.gz           1 where voxels respond to scenes
nsddata_betas/ppdata/subjXX/func1pt8mm/<version>/betas_sessionYY.nii.gz (or .hdf5)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nbtools.checks import as_names
from nbtools.conditions import check_rois, nsd_regions, region_labels
from nbtools.data.brains.betas import BETA_SCALE, TRIALS_PER_SESSION, read_betas
from nbtools.data.brains.design import design_file, load_design, subject_folder
from nbtools.data.brains.responses import Design, count_repeats
from nbtools.data.brains.sessions import Session, choose_sessions, label_volume, numbered, read_session, session_files
from nbtools.data.brains.volumes import Grid, check_grid, grid_of, read_labels, same_grid
from nbtools.data.study import BETAS, Study
from nbtools.errors import InputError

BETA_VERSION = BETAS["b3"]  # the version of the paper
SPACE = "func1pt8mm"
_VOLUME = r"betas_session0*([1-9]\d*)"
Masks = dict[str, NDArray[np.bool_]]


def sessions_of(
    study: Study, rois: Sequence[str], wanted: Sequence[int] | None = None
) -> tuple[list[int], Callable[[int], Session]]:
    """Return the sessions to read, and what reads one: what `prepare` made of a volume, else the volume.

    Parameters
    ----------
    study : Study
        With an NSD tree.
    rois : sequence of str
        Of `nbtools.conditions.nsd_regions`.
    wanted : sequence of int, optional
        1-based. Without it all sessions there are, which must then be numbered without a gap.

    Raises
    ------
    InputError
        If a file is missing or damaged, or shapes disagree; if a prepared session was made of another volume, design or
        mask than there is now.
    """
    root, subject, choices = study.need("nsd"), study.subject, study.voxels
    masks = roi_masks(root, subject, rois, choices.retinotopy)
    made = session_files(study.responses)
    volumes = find_sessions(root, subject, BETAS[choices.betas], required=not made)
    numbers = choose_sessions(_betas_folder(root, subject, BETAS[choices.betas]), {*volumes, *made}, wanted)
    design, grid = load_design(root, subject), mask_grid(root, subject)
    if len(design.image_ids) < numbers[-1] * TRIALS_PER_SESSION:
        raise InputError(
            "the design has fewer trials than there are betas",
            file=design_file(root),
            expected=f"at least {numbers[-1] * TRIALS_PER_SESSION} trials, for session {numbers[-1]}",
            got=f"{len(design.image_ids)} trials in masterordering",
            fix="use NSD's own nsd_expdesign.mat",
        )

    def read(number: int) -> Session:
        if number in made:
            return _read_prepared(made[number], number, volumes.get(number), masks, design, grid)
        return session_of(volumes[number], number, masks, design, grid)

    return numbers, read


def design_of(study: Study) -> Design:
    """Return the subject's design, sessions that were not released included."""
    return load_design(study.need("nsd"), study.subject)


def regions_of(study: Study) -> tuple[str, ...]:
    """Name the regions NSD's volumes hold."""
    return nsd_regions(study.voxels.retinotopy)


def volume_of(study: Study, rois: Sequence[str]) -> nib.Nifti1Image:
    """Return the regions as one label volume, as `roi_volume`."""
    return roi_volume(study.need("nsd"), study.subject, rois, study.voxels.retinotopy)


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
    files = numbered(folder, _VOLUME + r"\.nii\.gz") | numbered(folder, _VOLUME + r"\.hdf5")
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
    match = re.fullmatch(_VOLUME + r"\.(nii\.gz|hdf5)", file.name)
    return int(match[1]) if match else 0


def roi_masks(nsd: Path, subject: int, rois: Sequence[str], retinotopy: str = "Kastner2015") -> Masks:
    """Return each region's voxels: its labels in the atlas where ``nsdgeneral`` is 1.

    Parameters
    ----------
    nsd : Path
        Root of the NSD tree.
    subject : int
        1 to 8.
    rois : sequence of str
        Of `nbtools.conditions.nsd_regions`.
    retinotopy : {"Kastner2015", "prf-visualrois"}
        Where retinotopic regions are taken from; functional ones stand in volumes of their own.

    Returns
    -------
    dict of str to (x, y, z) bool arrays

    Raises
    ------
    InputError
        If a region is unknown or has no voxel; if a volume is missing or damaged, or its voxels are not those of
        ``nsdgeneral``: of another shape, or lying elsewhere.
    """
    rois = as_names(rois)
    check_rois(rois)
    folder = roi_folder(nsd, subject)
    labels = {roi: region_labels(roi, retinotopy) for roi in rois}
    file = folder / "nsdgeneral.nii.gz"
    general, grid = _read_general(file)
    atlases = {}
    for atlas in {atlas for atlas, _ in labels.values()}:
        atlases[atlas], place = read_labels(folder / f"{atlas}.nii.gz")
        check_grid(grid, place, file=file, what=file.name, like=f"{atlas}.nii.gz")
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
    """Return the regions as one volume (`label_volume`): 1 for the first of `rois`, 2 for the second, …, 0 elsewhere.

    Parameters and errors are those of `roi_masks`.
    """
    masks = roi_masks(nsd, subject, rois, retinotopy)
    grid = mask_grid(nsd, subject)
    return label_volume({roi: np.argwhere(mask) for roi, mask in masks.items()}, grid.shape, grid.affine)


def mask_grid(nsd: Path, subject: int) -> Grid:
    """Return where the voxels of the subject's volumes lie; `roi_masks` has read the file and found it whole."""
    return grid_of(nib.Nifti1Image.from_filename(roi_folder(nsd, subject) / "nsdgeneral.nii.gz"))


def roi_folder(nsd: Path, subject: int) -> Path:
    """Return where a subject's volumes of regions lie."""
    return Path(nsd) / "nsddata" / "ppdata" / subject_folder(subject) / SPACE / "roi"


def session_of(file: Path, number: int, masks: Masks, design: Design, grid: Grid, digest: Any = None) -> Session:
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
    grid : Grid
        Of the masks. An ``.hdf5`` does not say where its voxels lie: it is taken to lie there.
    digest : hashlib object, optional
        As in `read_betas`.

    Raises
    ------
    InputError
        As `nbtools.data.brains.betas.read_betas`, or if the volume says that it lies elsewhere than the masks.
    """
    voxels = {roi: np.argwhere(mask) for roi, mask in masks.items()}
    edges = np.cumsum([len(ijk) for ijk in voxels.values()])[:-1]
    betas = read_betas(file, np.concatenate(list(voxels.values())), grid.shape, digest)
    if file.suffix != ".hdf5":
        place = grid_of(nib.Nifti1Image.from_filename(file))
        check_grid(place, grid, file=file, what=file.name, like="the masks (nsdgeneral.nii.gz)")
    trials = _trials_of(number)
    return Session(
        image_ids=design.image_ids[trials],
        shared=np.isin(design.image_ids[trials], design.shared_ids),
        repeats=count_repeats(design.image_ids)[trials],
        responses=dict(zip(voxels, np.split(betas, edges, axis=1), strict=True)),
        voxels=voxels,
        scale=BETA_SCALE,
        shape=grid.shape,
        affine=grid.affine,
    )


def _trials_of(number: int) -> slice:
    """Return where the trials of a session (1-based) stand in the design."""
    return slice((number - 1) * TRIALS_PER_SESSION, number * TRIALS_PER_SESSION)


def _read_prepared(file: Path, number: int, volume: Path | None, masks: Masks, design: Design, grid: Grid) -> Session:
    session = read_session(file, list(masks))
    if reasons := changes(session, number, volume, masks, design, grid):
        raise InputError(
            "a prepared session is not of the files there are now",
            file=file,
            expected="the volume, masks and design it was made of",
            got="changed: " + "; ".join(reasons),
            fix="if the files now there are the right ones, run `python -m nbtools prepare nsd` again; "
            "else fetch them again",
        )
    return session


def changes(session: Session, number: int, volume: Path | None, masks: Masks, design: Design, grid: Grid) -> list[str]:
    """Say in what the files there are now differ from those a prepared session was made of, as far as sizes tell."""
    moved = [roi for roi, mask in masks.items() if not np.array_equal(session.voxels[roi], np.argwhere(mask))]
    reasons = [f"the masks of {', '.join(moved)}"] if moved else []
    if session.grid and not same_grid(session.grid, grid):
        reasons.append("the place of the masks")
    if not np.array_equal(session.image_ids, design.image_ids[_trials_of(number)]):
        reasons.append("the design: the trials showed other images")
    if volume is not None and volume.name == session.source.get("file"):
        size, before = volume.stat().st_size, session.source["size"]
        reasons += [f"{volume.name}: {size} bytes, not {before}"] * (size != before)
    return reasons


def _read_general(file: Path) -> tuple[NDArray[np.bool_], Grid]:
    volume, grid = read_labels(file)
    if not np.isin(volume, (-1, 0, 1)).all():  # -1: outside cortex
        raise InputError(
            "this is not nsdgeneral",
            file=file,
            expected="1 where voxels respond to scenes, 0 or -1 elsewhere",
            got=f"values from {volume.min()} to {volume.max()}, as an atlas has: were two files swapped?",
            fix="download nsddata/ppdata/subjXX/func1pt8mm/roi again",
        )
    return volume == 1, grid
