"""Sessions in the format of `nbtools.data.brains.sessions`: one's own, and of public sets that are prepared so."""

from __future__ import annotations

import warnings
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
from nbtools.data.images.stimuli import SHOWN, opened_stimuli
from nbtools.data.study import Study
from nbtools.errors import InputError, Note


def sessions_of(
    study: Study, rois: Sequence[str], wanted: Sequence[int] | None = None
) -> tuple[list[int], Callable[[int], Session]]:
    """Return the sessions to read, and what reads one.

    Raises
    ------
    InputError
        If a session is missing or damaged, or shows images that the stimuli do not have.
    """
    files = _files(study, wanted)
    _check_images(study, [read_session(file) for file in files.values()])
    return list(files), lambda number: read_session(files[number], rois)


def design_of(study: Study) -> Design:
    """Return which trial showed which image, as all sessions say it.

    Raises
    ------
    InputError
        If a session is missing or damaged, or shows images that the stimuli do not have; if an image is said to be of
        the test set and not to be.
    """
    sessions = [read_session(file) for file in _files(study).values()]
    _check_images(study, sessions)
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
    placed = all((ijk >= 0).all() for ijk in session.voxels.values())
    return label_volume(session.voxels, session.grid.shape, session.grid.affine) if session.grid and placed else None


def _check_images(study: Study, sessions: Sequence[Session]) -> None:
    """Raise unless trials show rows of the study's stimuli, where it has any; ask whether ids are counted from 1."""
    if not study.has("stimuli"):
        return
    image_ids = np.concatenate([part.image_ids for part in sessions])
    with opened_stimuli(study.stimuli) as brick:
        first, last, n_images, mark = image_ids.min(), image_ids.max(), len(brick), brick.file.attrs.get(SHOWN)
    sources = [part.source for part in sessions if type(part.source) is dict]
    others = {str(source[SHOWN]) for source in sources if SHOWN in source} - {mark}
    if mark and others:
        raise InputError(
            "the responses are to other images than the stimuli, or to these in another order",
            file=study.stimuli,
            expected="both made by one call of prepare, which went to its end",
            got=f"others in {study.responses}",
            fix="prepare the study again",
        )
    if last >= n_images:
        raise InputError(
            "trials show images that the stimuli do not have",
            file=study.responses,
            expected=f"ids from 0 to {n_images - 1}, the rows of {study.stimuli.name}",
            got=f"ids from {first} to {last}",
            fix="write image_id as the row of the stimuli, counted from 0" + ": subtract 1" * int(first == 1),
        )
    if first == 1:
        warnings.warn(
            f"image ids go from 1 to {last}, image 0 is never shown: are they counted from 1? Then "
            f"every image has its neighbour's responses: subtract 1 from image_id in the session files",
            Note,
            stacklevel=4,
        )


def _files(study: Study, wanted: Sequence[int] | None = None) -> dict[int, Path]:
    files = session_files(study.responses)
    return {number: files[number] for number in choose_sessions(study.responses, files, wanted)}
