"""The one door to a study's measurements, whatever they come from: its trials, its design, its scanner images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import nibabel as nib
import numpy as np

from nbtools.conditions import check_rois
from nbtools.data.brains import nsd
from nbtools.data.brains.design import Design
from nbtools.data.brains.responses import RoiResponses, RoiTrials, average_repeats
from nbtools.data.brains.sessions import read_session, session_files
from nbtools.data.brains.trials import assemble
from nbtools.data.study import Study
from nbtools.errors import InputError
from nbtools.metrics.noise_ceiling import ncsnr, noise_ceiling


def load_trials(
    study: Study, rois: Sequence[str], *, zscore: bool = True, progress: bool = True
) -> dict[str, RoiTrials]:
    """Load single-trial responses of regions, as the study's choice of voxels has them.

    Parameters
    ----------
    study : Study
        From `open_study`. Prepared sessions are read where there are any, else NSD's volumes.
    rois : sequence of str
        Names in `nbtools.conditions.REGIONS`.
    zscore : bool
        False: responses in their own unit, whatever the study says.
    progress : bool
        Show a bar over the sessions.

    Returns
    -------
    dict of str to RoiTrials
        Responses (n_trials, n_voxels). Voxels that do not vary, or whose ceiling is below the study's, are listed in
        ``dropped``.

    Raises
    ------
    InputError
        If a file is missing or damaged, or no voxel of a region is left.
    """
    check_rois(list(rois))
    if study.voxels.subjects:
        return _together(study, rois, zscore, progress)
    zscore, choices = zscore and study.voxels.zscore, study.voxels
    if study.nsd is not None:
        trials = nsd.load_trials(
            study.nsd,
            study.subject,
            rois,
            zscore=zscore,
            betas=choices.betas,
            retinotopy=choices.retinotopy,
            prepared=study.responses,
            progress=progress,
        )
    else:
        files = _own_sessions(study)
        trials = assemble(list(files), lambda n: read_session(files[n], rois), zscore=zscore, progress=progress)
    if choices.noise_ceiling and zscore:
        shared = load_design(study).shared_ids
        trials = {roi: _reliable(part, shared, choices.noise_ceiling) for roi, part in trials.items()}
    return trials


def load_design(study: Study) -> Design:
    """Return which trial showed which image, and which images are the test set.

    Raises
    ------
    InputError
        If a file is missing or damaged, or an image is said to be of the test set and not to be.
    """
    if study.voxels.subjects:
        return _common_design(study)
    if study.nsd is not None:
        return nsd.load_design(study.nsd, study.subject)
    sessions = [read_session(file) for file in _own_sessions(study).values()]
    image_ids = np.concatenate([part.image_ids for part in sessions])
    shared = np.concatenate([part.shared for part in sessions])
    both = np.intersect1d(image_ids[shared], image_ids[~shared])
    if both.size:
        raise InputError(
            "images stand in the test set and out of it",
            file=study.responses,
            expected="shared to be the same in all trials of an image",
            got=f"both for {both.size} images, e.g. {both[0]}",
            fix="correct `shared` in the session files",
        )
    return Design(image_ids, np.unique(image_ids[shared]))


def load_responses(study: Study, roi: str) -> RoiResponses:
    """Return a region's responses (n_images, n_voxels), averaged over repeats; its test images are marked as shared.

    Raises
    ------
    InputError
        As `load_trials`, `load_design` and `average_repeats`.
    """
    return average_repeats(load_trials(study, [roi])[roi], load_design(study).shared_ids)


def region_volume(study: Study, rois: Sequence[str]) -> nib.Nifti1Image | None:
    """Return the regions as one label volume (x, y, z): 1 for the first of `rois`, …; None where positions are unknown.

    Raises
    ------
    InputError
        As `nbtools.data.brains.nsd.roi_masks`.
    """
    if study.nsd is not None:
        return nsd.roi_volume(study.nsd, study.subject, rois, study.voxels.retinotopy)
    session = read_session(next(iter(_own_sessions(study).values())), rois)
    if session.shape is None or session.affine is None:
        return None
    labels = np.zeros(session.shape, np.int16)
    for number, roi in enumerate(rois, start=1):
        labels[tuple(session.voxels[roi].T)] = number
    return nib.Nifti1Image(labels, session.affine)


def _together(study: Study, rois: Sequence[str], zscore: bool, progress: bool) -> dict[str, RoiTrials]:
    """Lay the voxels of several subjects side by side, showing by showing of the images that all of them saw.

    Their voxels have no common place, so there is no mean voxel; what subjects share is what the first principal
    components of all their voxels together hold (`fit_basis`).
    """
    each = [load_trials(part, rois, zscore=zscore, progress=progress) for part in study.parts]
    shown = [_showings(trials[rois[0]]) for trials in each]
    common = reduce(np.intersect1d, shown)
    if not common.size:
        raise InputError(
            "the subjects have no image in common",
            expected="sessions in which all of them saw some of the shared images",
            got=f"none, for subjects {', '.join(map(str, study.voxels.subjects))}",
            fix="fetch and prepare more sessions of each",
        )
    rows = [np.argsort(keys)[np.searchsorted(np.sort(keys), common)] for keys in shown]
    return {roi: _side_by_side([trials[roi] for trials in each], rows) for roi in rois}


def _showings(trials: RoiTrials) -> np.ndarray:
    """Number each trial by its image and which showing of it this is."""
    return trials.image_ids * 1000 + trials.repeats


def _side_by_side(parts: list[RoiTrials], rows: list[np.ndarray]) -> RoiTrials:
    return RoiTrials(
        roi=parts[0].roi,
        responses=np.concatenate([part.responses[chosen] for part, chosen in zip(parts, rows, strict=True)], axis=1),
        image_ids=parts[0].image_ids[rows[0]],
        sessions=parts[0].sessions[rows[0]],
        repeats=parts[0].repeats[rows[0]],
        voxels=np.concatenate([part.voxels for part in parts]),
        dropped=np.concatenate([part.dropped for part in parts]),
    )


def _common_design(study: Study) -> Design:
    """All images are shared ones here: every fifth of them is the test set."""
    designs = [load_design(part) for part in study.parts]
    common = reduce(np.intersect1d, [design.image_ids for design in designs])
    return Design(designs[0].image_ids[np.isin(designs[0].image_ids, common)], common[::5])


def _own_sessions(study: Study) -> dict[int, Path]:
    files = session_files(study.responses)
    if not files or list(files) != list(range(1, max(files) + 1)):
        raise InputError(
            "there are no sessions of responses" if not files else "sessions are missing",
            file=study.responses,
            expected="session01.hdf5, session02.hdf5 and so on, without a gap",
            got=", ".join(file.name for file in files.values()) or "none",
            fix="write them as data/README.md shows",
        )
    return files


def _reliable(trials: RoiTrials, shared: np.ndarray, threshold: float) -> RoiTrials:
    """Leave out voxels below a noise ceiling, which the test images have no part in."""
    train = ~np.isin(trials.image_ids, shared)
    ceiling = noise_ceiling(ncsnr(trials.responses[train], trials.image_ids[train]))
    keep = ceiling >= threshold
    if not keep.any():
        raise InputError(
            f"{trials.roi}: no voxel reaches the noise ceiling asked for",
            expected=f"at least one voxel of {threshold:g} % or more",
            got=f"{ceiling.max():.1f} % at most",
            fix="lower noise_ceiling under [voxels] in the study's file",
        )
    return replace(
        trials,
        responses=trials.responses[:, keep],
        voxels=trials.voxels[keep],
        dropped=np.concatenate([trials.dropped, trials.voxels[~keep]]),
    )
