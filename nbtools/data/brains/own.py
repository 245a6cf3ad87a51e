"""Sessions in the format of `nbtools.data.brains.sessions`: one's own, and of public sets that are prepared so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from nbtools.data.brains.responses import Design
from nbtools.data.brains.sessions import (
    Session,
    choose_sessions,
    label_volume,
    read_session,
    regions_of as named_regions,
    session_files,
)
from nbtools.data.study import Study
from nbtools.errors import InputError


def sessions_of(
    study: Study, rois: Sequence[str], wanted: Sequence[int] | None = None
) -> tuple[list[int], Callable[[int], Session]]:
    """Return the sessions to read, and what reads one.

    Raises
    ------
    InputError
        If a session is missing.
    """
    files = _files(study, wanted)
    return list(files), lambda number: read_session(files[number], rois)


def design_of(study: Study) -> Design:
    """Return which trial showed which image, as all sessions say it.

    Raises
    ------
    InputError
        If a session is missing or damaged, or an image is said to be of the test set and not to be.
    """
    sessions = [read_session(file) for file in _files(study).values()]
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


def regions_of(study: Study) -> tuple[str, ...]:
    """Name the regions of the first session; none where there is no session yet."""
    return next((named_regions(file) for file in session_files(study.responses).values()), ())


def volume_of(study: Study, rois: Sequence[str]) -> nib.Nifti1Image | None:
    """Return the regions as one label volume; None where the first session does not say where its voxels lie."""
    session = read_session(next(iter(_files(study).values())), rois)
    if session.shape is None or session.affine is None:
        return None
    return label_volume(session.voxels, session.shape, session.affine)


def _files(study: Study, wanted: Sequence[int] | None = None) -> dict[int, Path]:
    files = session_files(study.responses)
    return {number: files[number] for number in choose_sessions(study.responses, files, wanted)}
