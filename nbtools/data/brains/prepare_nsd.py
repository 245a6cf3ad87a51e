"""NSD's volumes reduced, once, to the voxels of regions: 1 GB a session becomes some 14 MB."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from nbtools.checks import as_names
from nbtools.conditions import HIERARCHY
from nbtools.data.brains import nsd
from nbtools.data.brains.responses import Design
from nbtools.data.brains.sessions import Session, read_session, regions_of, session_files, write_session
from nbtools.data.brains.volumes import Grid
from nbtools.data.study import BETAS, Study
from nbtools.errors import InputError
from nbtools.files import sha256_of
from nbtools.processes import Bar

LOADER = 1  # raise it when the same volume would give other numbers


def prepare_nsd(
    study: Study,
    rois: Sequence[str] = HIERARCHY,
    *,
    sessions: Sequence[int] | None = None,
    jobs: int = 1,
    progress: bool = True,
) -> list[Path]:
    """Reduce sessions of a study's NSD tree to the voxels of regions, in parallel; what is there is kept.

    Parameters
    ----------
    study : Study
        With an NSD tree.
    rois : sequence of str
        Regions; those a session was prepared with before stay in it.
    sessions : sequence of int, optional
        1-based; all there are without it.
    jobs : int
        Processes.
    progress : bool
        Show a bar over the sessions.

    Returns
    -------
    list of Path
        The sessions' files, in `Study.responses`.

    Raises
    ------
    InputError
        If a volume is missing or damaged: all others are prepared first.
    """
    rois, made = as_names(rois), session_files(study.responses)
    volumes = nsd.find_sessions(study.need("nsd"), study.subject, BETAS[study.voxels.betas], required=not made)
    # Volumes may have been removed once they were reduced.
    alone = {number: regions_of(file) for number, file in made.items() if number not in volumes}
    wanted = sorted({*volumes, *made}) if sessions is None else list(sessions)
    missing = [n for n in wanted if n not in volumes and not (n in alone and {*rois} <= {*alone[n]})]
    if missing:
        reduced = "; ".join(f"{number} to {', '.join(regions)}" for number, regions in alone.items())
        raise InputError(
            f"sessions {', '.join(map(str, missing))} are not there to be prepared",
            file=prepared_file(study, missing[0]),
            expected=f"volumes of sessions {', '.join(map(str, wanted))}, or sessions reduced to {', '.join(rois)}",
            got=f"volumes of {', '.join(map(str, volumes)) or 'none'}; reduced, without a volume: {reduced or 'none'}",
            fix="fetch them: python -m nbtools fetch nsd, with --rois all the regions",
        )
    to_do = [number for number in wanted if number in volumes]
    failed: dict[int, InputError] = {}
    with _workers(jobs) as pool:
        waiting = {pool.submit(reduce_session, study, number, volumes[number], tuple(rois)): number for number in to_do}
        for done in Bar(as_completed(waiting), "sessions", len(waiting), unit="session", disable=not progress):
            if isinstance(error := done.exception(), InputError):
                failed[waiting[done]] = error
            elif error:
                raise error
    if failed:
        raise InputError(
            f"{len(failed)} of {len(to_do)} sessions could not be prepared",
            expected="whole volumes",
            got="\n\n".join(f"session {number}: {error}" for number, error in sorted(failed.items())),
            fix="fetch these again and run the same command: the others are kept",
        )
    return [prepared_file(study, number) for number in wanted]


def _workers(jobs: int) -> Executor:
    """Processes, as inflating is Python's work too; for one job a thread, which starts at once."""
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) if jobs > 1 else ThreadPoolExecutor(1)


def prepared_file(study: Study, number: int) -> Path:
    """Return where a session goes once it is prepared."""
    return study.responses / f"session{number:02d}.hdf5"


def reduce_session(study: Study, number: int, volume: Path, rois: Sequence[str]) -> Path:
    """Reduce one session's volume, unless its file is there, made of this volume and holding all the regions.

    Raises
    ------
    InputError
        As `nbtools.data.brains.nsd.session_of`.
    """
    root, file = study.need("nsd"), prepared_file(study, number)
    before = regions_of(file) if file.exists() else ()
    masks = nsd.roi_masks(root, study.subject, list(dict.fromkeys([*before, *as_names(rois)])), study.voxels.retinotopy)
    design, grid = nsd.design_of(study), nsd.mask_grid(root, study.subject)
    if set(before) == set(masks) and _is_of(read_session(file, before), volume, number, masks, design, grid):
        return file
    digest = hashlib.sha256()  # of the same pass: a session is a gigabyte
    session = nsd.session_of(volume, number, masks, design, grid, digest)
    stat = volume.stat()
    source = {
        "file": volume.name,
        "size": stat.st_size,
        "modified": stat.st_mtime_ns,
        "sha256": digest.hexdigest(),
        "loader": LOADER,
        "betas": study.voxels.betas,
        "retinotopy": study.voxels.retinotopy,
        "subject": study.subject,
    }
    write_session(file, replace(session, source=source))
    return file


def _is_of(session: Session, volume: Path, number: int, masks: nsd.Masks, design: Design, grid: Grid) -> bool:
    """Say whether a prepared session is what reducing its volume would give now."""
    source = session.source
    if source.get("file") != volume.name or source["loader"] != LOADER:
        return False
    if nsd.changes(session, number, volume, masks, design, grid):
        return False
    return source["modified"] == volume.stat().st_mtime_ns or source["sha256"] == sha256_of(volume)
