"""Sessions put together: from each session's responses to one `RoiTrials` a region."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nbtools.data.brains.responses import RoiTrials, count_repeats
from nbtools.data.brains.sessions import Session
from nbtools.data.brains.volumes import check_grid
from nbtools.errors import InputError, Note
from nbtools.processes import Bar


def assemble(
    numbers: Sequence[int],
    read: Callable[[int], Session],
    *,
    zscore: bool = True,
    progress: bool = True,
    sites: str = "voxels",
) -> dict[str, RoiTrials]:
    """Read sessions one after the other and put their trials together, region by region.

    Parameters
    ----------
    numbers : sequence of int
        1-based sessions, ascending.
    read : function
        Gives the session of a number.
    zscore : bool
        Z-score each voxel within each session; else divide by the session's scale.
    progress : bool
        Show a bar over the sessions.
    sites : str
        What responses are of, as warnings call it.

    Returns
    -------
    dict of str to RoiTrials
        Voxels that a session has no variance in, or a number that is not finite, are left out of all, listed in
        ``dropped`` and warned of.

    Raises
    ------
    InputError
        If sessions hold different voxels or say that these lie elsewhere, or no voxel of a region is left.
    """
    parts: list[Session] = []
    scaled: dict[str, list[NDArray[np.float32]]] = {}
    alive: dict[str, NDArray[np.bool_]] = {}
    for number in Bar(numbers, "sessions", disable=not progress):
        session = read(number)
        for roi in list(session.responses):
            values, varies = _scaled(session.responses.pop(roi), session.scale, zscore)
            scaled.setdefault(roi, []).append(values)
            _check_voxels(roi, number, session, parts)
            alive[roi] = alive.get(roi, True) & varies
        if parts and parts[0].grid and session.grid:
            like = f"session {numbers[0]}"
            check_grid(session.grid, parts[0].grid, what=f"session {number}", like=like)
        parts.append(session)
    repeats = _repeats(parts)
    return {
        roi: RoiTrials(
            roi=roi,
            responses=_joined(scaled.pop(roi), keep := _check_alive(roi, alive[roi], sites)),
            image_ids=np.concatenate([part.image_ids for part in parts]),
            sessions=np.repeat(np.array(numbers, np.int64), [len(part.image_ids) for part in parts]),
            repeats=repeats,
            voxels=parts[0].voxels[roi][keep],
            dropped=parts[0].voxels[roi][~keep],
        )
        for roi in list(alive)
    }


def _scaled(values: NDArray, scale: float, zscore: bool) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return one session's responses (n_trials, n_voxels) z-scored or in their unit, and which voxels vary."""
    varies = (values != values[0]).any(axis=0)
    if values.dtype.kind == "f":
        varies &= np.isfinite(values).all(axis=0)
        values = np.where(varies, values, 0)
    out = np.empty(values.shape, np.float32)
    if not zscore:
        return np.divide(values, scale, out=out, casting="same_kind"), varies
    mean, sd = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    np.subtract(values, mean, out=out, casting="same_kind")
    out /= np.where(varies, sd, 1)
    return out, varies


def _joined(parts: list[NDArray[np.float32]], keep: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Stack sessions, freeing each one as it is copied: at the peak there is one session more than the whole."""
    n_trials = sum(map(len, parts))
    whole, row = np.empty((n_trials, int(keep.sum())), np.float32), 0
    for n, part in enumerate(parts):
        parts[n] = part[:0]
        np.compress(keep, part, axis=1, out=whole[row : row + len(part)])
        row += len(part)
    return whole


def _check_voxels(roi: str, number: int, session: Session, before: list[Session]) -> None:
    first = before[0].voxels[roi] if before else session.voxels[roi]
    if not np.array_equal(first, session.voxels[roi]):
        raise InputError(
            f"{roi}: sessions hold different voxels",
            expected=f"the {len(first)} of the first session read",
            got=f"{len(session.voxels[roi])}, not the same, in session {number}",
            fix="give all sessions the same voxels or sites, in one order; of NSD, prepare them with the same masks",
        )


def _repeats(parts: list[Session]) -> NDArray[np.int64]:
    """Which showing of its image each trial is, as the files say; counted over what was read where one does not."""
    said = np.concatenate([part.repeats for part in parts])
    return said if said.all() else count_repeats(np.concatenate([part.image_ids for part in parts]))


def _check_alive(roi: str, alive: NDArray[np.bool_], sites: str) -> NDArray[np.bool_]:
    n_dead = int((~alive).sum())
    if n_dead == len(alive):
        raise InputError(
            f"{roi}: no {sites[:-1]} varies",
            expected="at least one with finite numbers and variance in every session",
            got=f"{n_dead} of {len(alive)} {sites} are constant, or not finite, in a session",
            fix="leave out such voxels or sites; of NSD, check that masks and betas are of one subject and space",
        )
    if n_dead:
        warnings.warn(
            f"{roi}: {n_dead} of {len(alive)} {sites} do not vary in a session, or are not finite, and were dropped",
            Note,
            stacklevel=4,
        )
    return alive
