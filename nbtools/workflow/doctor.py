"""``python -m nbtools doctor``: what data a study has, what is damaged, which notebooks it can run, what is missing."""

from __future__ import annotations

import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from nbtools.checks import check_choice, reading
from nbtools.conditions import HIERARCHY, RETINOTOPY
from nbtools.data.brains import nsd
from nbtools.data.brains.betas import TRIALS_PER_SESSION
from nbtools.data.brains.design import subject_folder
from nbtools.data.brains.measured import load_design, load_trials
from nbtools.data.brains.responses import Design, can_be_split
from nbtools.data.brains.sessions import read_session, regions_of, session_files
from nbtools.data.brains.volumes import NIBABEL_ERRORS
from nbtools.data.fetch.catalogue import N_SESSIONS
from nbtools.data.fetch.checksums import CHECKSUMS, verify
from nbtools.data.images.cue_conflict import cue_conflict_names
from nbtools.data.images.folders import SPLITS, check_splits, class_files, equal_files, images_below, subfolders
from nbtools.data.images.stimuli import opened_stimuli
from nbtools.data.study import BETAS, Study, home, open_study
from nbtools.errors import FileInUse, InputError
from nbtools.files import opened_hdf5, read_table
from nbtools.metrics.decisions.sixteen import conflict_reach
from nbtools.processes import Bar
from nbtools.runs import folders
from nbtools.workflow.needs import SPLIT, TEST_SET, TRAIN, VAL, lacking
from nbtools.workflow.sizes import count_images
from nbtools.workflow.tables import aligned, ranges

GOOD, MISSING, IN_USE, DAMAGED = "good", "missing", "in use", "DAMAGED"
_SESSION_SECONDS = 10.0  # that one core takes to reduce a session
_AGAIN = "delete it and fetch it again"
_WAYS = {
    "stimuli": "fetch the stimuli: 37 GB (python -m nbtools fetch stimuli)",
    "classification": "get images to classify (python -m nbtools prepare imagenet50 /path/to/ILSVRC2012)",
    "cue_conflict": "paint cue-conflict images of its classes (python -m nbtools prepare cue-conflict --study {name})",
}


class Finding(NamedTuple):
    """What there is of one part of a study.

    Attributes
    ----------
    part : str
        Such as ``"volumes"``.
    state : {"good", "missing", "in use", "DAMAGED"}
        Of that part.
    found : str
        What is there, or what is wrong with it.
    subject : int or None
        Whose it is; None for what all subjects have in common.
    """

    part: str
    state: str
    found: str
    subject: int | None = None


def examine(name: str, *, deep: bool = False) -> int:
    """Print what a study has, what it could run, and what the rest would take.

    Parameters
    ----------
    name : str
        As `open_study` takes it.
    deep : bool
        Read every byte and compare checksums.

    Returns
    -------
    int
        1 if a part is damaged, else 0.

    Raises
    ------
    InputError
        If the study's description cannot be read.
    """
    study = open_study(name)
    found = list(findings(study, deep=deep))
    several = len(study.parts) > 1
    rows = [(f"{f.part} of {f.subject}" if several and f.subject else f.part, f.state, f.found) for f in found]
    print(f"{study.title}\n")
    print(aligned(["part", "state", "what"], rows))
    print("\n" + aligned(["notebook", "can run", "finished runs"], list(_notebooks(study, found))))
    if rest := list(_rest(study)):
        print("\nto do next:\n" + "\n".join(f"  {line}" for line in rest))
    if not deep:
        print("\n(sizes and headers were looked at; --deep reads every byte and compares checksums)")
    return int(any(f.state == DAMAGED for f in found))


def findings(study: Study, *, deep: bool = False) -> Iterator[Finding]:
    """Look at every part of a study, one after the other; damage is found and told, never raised."""
    measured: dict[str, Look] = {
        "design": _design,
        **({"regions": _regions, "volumes": _volumes} if study.nsd else {}),
        "prepared": _prepared,
    }
    common: dict[str, Look] = {
        "stimuli": _stimuli,
        TRAIN: lambda study, deep: _images(_named(study, "classification") / "train", deep),
        VAL: _validation,
        "cue_conflict": _conflicts,
        "corruptions": _corruptions,
        "scanner_labels": _labels,
        **({"checksums": _checksums} if deep and study.nsd and (study.nsd / CHECKSUMS).exists() else {}),
        "runs": _runs,
    }
    asked: list[tuple[str, Look, Study, int | None]] = [
        *((part, look, each, each.subject) for each in study.parts for part, look in measured.items()),
        *((part, look, study, None) for part, look in common.items()),
    ]
    for part, look, each, subject in Bar(asked, "parts looked at", unit="part", leave=False, delay=1):
        yield Finding(part, *_state(look, each, deep), subject)


Look = Callable[[Study, bool], str]


def _state(look: Look, study: Study, deep: bool) -> tuple[str, str]:
    try:
        with warnings.catch_warnings(record=True, action="always") as doubts:
            said = look(study, deep)
        return GOOD, " · ".join([said, *(str(doubt.message) for doubt in doubts)])
    except FileNotFoundError as error:
        return MISSING, str(error)
    except FileInUse as error:
        return IN_USE, _line(str(error))
    except InputError as error:
        return DAMAGED, _line(str(error))
    except Exception as error:  # whatever damage made a library raise, what follows is still to be told
        return DAMAGED, _line(f"{type(error).__name__}: {error}")


def _line(text: str) -> str:
    return " · ".join(line.strip() for line in text.splitlines())


# --- parts --------------------------------------------------------------------------------------------------


def _design(study: Study, deep: bool) -> str:
    if study.nsd:
        _must_exist(nsd.design_file(study.nsd))
    elif not session_files(study.responses):
        raise FileNotFoundError(f"no session in {study.responses}")
    design = load_design(study)
    return (
        f"{len(design.image_ids)} trials of {len(np.unique(design.image_ids))} images, {len(design.shared_ids)} shared"
    )


def _regions(study: Study, deep: bool) -> str:
    folder = nsd.roi_folder(study.need("nsd"), study.subject)
    _must_exist(folder / "nsdgeneral.nii.gz")
    _must_exist(folder / f"{study.voxels.retinotopy}.nii.gz")
    rois = study.regions or [roi for roi in HIERARCHY if roi in RETINOTOPY[study.voxels.retinotopy]]
    masks = nsd.roi_masks(study.need("nsd"), study.subject, rois, study.voxels.retinotopy)
    return ", ".join(f"{roi} {int(mask.sum())}" for roi, mask in masks.items()) + " voxels"


def _volumes(study: Study, deep: bool) -> str:
    volumes = nsd.find_sessions(study.need("nsd"), study.subject, BETAS[study.voxels.betas], required=False)
    if not volumes:
        raise FileNotFoundError(
            "none" if not session_files(study.responses) else "none: prepared sessions take their place"
        )
    shape = _nifti(nsd.roi_folder(study.need("nsd"), study.subject) / "nsdgeneral.nii.gz").shape
    for file in volumes.values():
        if deep or not _seems_whole(file, shape):
            nsd.read_betas(file, np.zeros((1, 3), int), shape)
    size = sum(file.stat().st_size for file in volumes.values()) / 1e9
    return f"sessions {ranges(volumes)}: {size:.1f} GB of {study.voxels.betas}"


def _seems_whole(file: Path, shape: tuple[int, ...]) -> bool:
    """Compare the length that a gzip file ends with: a cut file ends otherwise, and so may a sound one.

    Which of them it is, reading tells: of several members, each says its own length, and zeros may follow the last.
    HDF5 checks itself.
    """
    if file.suffix == ".hdf5":
        with opened_hdf5(file, "the betas cannot be read", expected="an intact HDF5 file", fix=_AGAIN):
            return True
    expected = _nifti(file).dataobj.offset + int(np.prod(shape)) * 2 * TRIALS_PER_SESSION  # type: ignore[attr-defined]
    with file.open("rb") as raw:
        raw.seek(-4, os.SEEK_END)
        return int.from_bytes(raw.read(4), "little") == expected % 2**32


def _nifti(file: Path) -> nib.Nifti1Image:
    _must_exist(file)
    kinds = *NIBABEL_ERRORS, zlib.error
    with reading("a volume cannot be read", *kinds, file=file, expected="NIfTI-1 in gzip", fix=_AGAIN):
        return nib.nifti1.load(file)


def _prepared(study: Study, deep: bool) -> str:
    files = session_files(study.responses)
    if not files:
        raise FileNotFoundError(
            "none: volumes are read whole each time" if study.nsd else f"no session in {study.responses}"
        )
    for file in files.values():
        read_session(file, regions_of(file) if deep else ())
        for roi in () if study.nsd else study.regions:  # of NSD, regions may be left to prepare
            fix = "correct regions in study.toml, or write that session again"
            check_choice(f"{file.name} lacks a region that the study names", roi, regions_of(file), fix=fix)
    rois = regions_of(next(iter(files.values())))
    if deep:
        load_trials(study, rois)  # compares with volumes and masks
    size = sum(file.stat().st_size for file in files.values()) / 1e6
    return f"sessions {ranges(files)}: {', '.join(rois)}, {size:.0f} MB"


def _stimuli(study: Study, deep: bool) -> str:
    with opened_stimuli(_must_exist(study.stimuli)) as brick:
        if deep:
            for start in range(0, len(brick), 500):
                brick[start : start + 500]
        return f"{len(brick)} images, {brick.shape[2]} × {brick.shape[1]} pixels"


def _validation(study: Study, deep: bool) -> str:
    folder = _named(study, "classification")
    told = _images(folder / "val", deep)
    check_splits(folder)
    if not deep:
        return told
    train, val = (images_below(folder / part) for part in SPLITS)
    return f"{told}; {len(equal_files(val, train))} of them are, byte by byte, in train too"


def _images(folder: Path, deep: bool) -> str:
    numbers = [len(files) for files in class_files(_must_exist(folder)).values()]
    if not numbers or min(numbers) == 0:
        raise InputError(
            "no images", file=folder, expected="<class>/<image>, none empty", got=numbers, fix="prepare it again"
        )
    if deep:
        _read_images(folder)
    return f"{len(numbers)} classes, {sum(numbers)} images"


def _conflicts(study: Study, deep: bool) -> str:
    folder = _named(study, "cue_conflict")
    told = _images(folder, deep)
    names = cue_conflict_names(np.array([file.relative_to(folder).as_posix() for file in images_below(folder)]))
    classes = [place.name for place in subfolders(study.classification / "train")] if study.classification else []
    try:
        return f"{told}; {conflict_reach(names, classes)}" if classes else told
    except InputError as error:  # sound, but of no use to this study
        raise FileNotFoundError(_line(str(error))) from error


def _read_images(folder: Path) -> None:
    """Compare images with what they were when they were packed; decode those of a folder that was not."""
    # torch imports slowly, and only this needs it
    from nbtools.data.images.files import on_all_cores, read_image
    from nbtools.data.images.packed import packed_sizes, verify_packed

    for size in (sizes := packed_sizes(folder)):
        verify_packed(folder, size)
    if not sizes:
        on_all_cores(read_image, images_below(folder), "reading")


def _corruptions(study: Study, deep: bool) -> str:
    folder = _named(study, "corruptions")
    return f"{len(subfolders(folder))} kinds"


def _labels(study: Study, deep: bool) -> str:
    file = _named(study, "scanner_labels")
    table = read_table(file, ["image_id", "label"])
    return f"{len(table)} images of {table['label'].nunique()} classes"


def _checksums(study: Study, deep: bool) -> str:
    """Compare everything that was fetched, but for volumes that were removed once they had been prepared."""
    reduced = {(subject_folder(part.subject), n) for part in study.parts for n in session_files(part.responses)}
    wrong = [
        f"{file.name}: {problem}"
        for file, problem in verify(study.need("nsd"))
        if file.exists() or not reduced & {(part, nsd.session_number(file)) for part in file.parts}
    ]
    if wrong:
        raise InputError(
            "files are not those that were fetched",
            file=study.nsd,
            expected=f"the sizes and checksums in {CHECKSUMS}",
            got="; ".join(wrong),
            fix=_AGAIN,
        )
    return "every file is as it was fetched"


def _runs(study: Study, deep: bool) -> str:
    return f"{sum(len(folders.collect(name, study.name)) for name in folders.notebooks())} finished"


def _named(study: Study, entry: str) -> Path:
    path = getattr(study, entry)
    if path is None:
        raise FileNotFoundError("not named in study.toml")
    return _must_exist(path)


def _must_exist(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"nothing at {path}")
    return path


# --- what follows -------------------------------------------------------------------------------------------


def _notebooks(study: Study, found: list[Finding]) -> Iterator[tuple[str, str, str]]:
    good = _good(study, found)
    n_finished = {name: _n_finished(name, study) for name in folders.notebooks()}
    for name, n in n_finished.items():
        absent = lacking(name, good.__contains__, lambda other: bool(n_finished[other]))
        yield name, f"no: {', '.join(absent)}" if absent else "yes", "–" if n is None else str(n)


def _n_finished(notebook: str, study: Study) -> int | None:
    try:
        return len(folders.collect(notebook, study.name))
    except InputError:  # told among the findings
        return None


def _good(study: Study, found: list[Finding]) -> set[str]:
    """Name the parts of the study that are whole, as `nbtools.workflow.needs` names them."""
    good = {f.part for f in found} - {f.part for f in found if f.state != GOOD}
    subjects = [{f.part: f.state for f in found if f.subject == part.subject} for part in study.parts]
    design = load_design(study) if "design" in good else Design(*np.zeros((2, 0), np.int64))
    derived = {
        "nsd": "regions" in good,
        "responses": all(map(_has_responses, subjects)),
        TEST_SET: len(design.shared_ids) > 0,
        SPLIT: can_be_split(len(design.shared_ids), len(design.training_ids)),
    }
    return good | {part for part, there in derived.items() if there}


def _has_responses(states: Mapping[str, str]) -> bool:
    """Whether there are volumes or prepared sessions, none of them damaged, and what says what they are of."""
    measured = {states.get("volumes", MISSING), states["prepared"]}
    return GOOD in measured <= {GOOD, MISSING} and {states["design"], states.get("regions", GOOD)} == {GOOD}


def _rest(study: Study) -> Iterator[str]:
    """Say what is missing, and about how much time and disk it would take."""
    if not study.simulated:
        for part in study.parts:
            yield from _sessions_to_do(part)
        absent = [entry for entry in _WAYS if getattr(study, entry) and not study.has(entry)]
        yield from (_WAYS[entry].format(name=study.name) for entry in absent if entry != "stimuli" or study.nsd)
    if study.has("classification"):
        n_images = sum(count_images(study.need("classification") / part) for part in SPLITS)
        if (size := n_images * 3 * (study.image_size * 8 / 7) ** 2 / 1e9) > 1:
            yield f"pack {n_images} images to classify at the first training: {size:.0f} GB"
    free = shutil.disk_usage(home()).free / 1e9
    yield f"free here: {free:.0f} GB"


def _sessions_to_do(study: Study) -> list[str]:
    """Name the sessions of a subject of NSD that are still to be fetched or prepared."""
    if study.nsd is None:
        return []
    try:
        volumes = nsd.find_sessions(study.nsd, study.subject, BETAS[study.voxels.betas], required=False)
        prepared = session_files(study.responses)
    except InputError:  # a session twice, no such subject: told among the findings
        return ["mend what is damaged: until then, which sessions are missing is not known"]
    n_cores, lines = os.cpu_count() or 1, []
    if absent := set(range(1, N_SESSIONS[study.subject - 1] + 1)) - {*prepared, *volumes}:
        lines.append(f"fetch sessions {ranges(absent)}: about {len(absent)} GB (python -m nbtools fetch nsd)")
    if waiting := [number for number in volumes if number not in prepared]:
        minutes = max(len(waiting) * _SESSION_SECONDS / n_cores / 60, 1)
        lines.append(
            f"prepare sessions {ranges(waiting)}: about {minutes:.0f} min on {n_cores} cores, "
            f"{14 * len(waiting)} MB (python -m nbtools prepare nsd --study {study.name})"
        )
    return lines
