"""``python -m nbtools doctor``: what data a study has, what is damaged, which notebooks it can run, what is missing."""

from __future__ import annotations

import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import nibabel as nib
import numpy as np

from nbtools.checks import reading
from nbtools.conditions import HIERARCHY, RETINOTOPY
from nbtools.data.brains import nsd
from nbtools.data.brains.betas import TRIALS_PER_SESSION
from nbtools.data.brains.measured import load_design, load_trials
from nbtools.data.brains.sessions import read_session, regions_of, session_files
from nbtools.data.fetch.catalogue import N_SESSIONS
from nbtools.data.fetch.checksums import CHECKSUMS, verify
from nbtools.data.images.folders import SPLITS, check_splits, class_files, equal_files
from nbtools.data.study import BETAS, Study, home, open_study
from nbtools.errors import InputError
from nbtools.files import read_table
from nbtools.runs import folders
from nbtools.workflow.needs import needs_of
from nbtools.workflow.sizes import class_sizes
from nbtools.workflow.tables import aligned

GOOD, MISSING, DAMAGED = "good", "missing", "DAMAGED"
# What nibabel raises where a file is not NIfTI in gzip, or ends within its header.
_NO_VOLUME = (
    *(OSError, EOFError, zlib.error),
    *(nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError),
)
_SESSION_SECONDS = 10.0  # that one core takes to reduce a session
_AGAIN = "delete it and fetch it again"
_WAYS = {
    "stimuli": "fetch the stimuli: 37 GB (python -m nbtools fetch stimuli)",
    "classification": "get images to classify (python -m nbtools prepare imagenet50 /path/to/ILSVRC2012)",
    "cue_conflict": "get the cue-conflict images (python -m nbtools fetch cue-conflict)",
}


class Finding(NamedTuple):
    """What there is of one part of a study.

    Attributes
    ----------
    part : str
        Such as ``"volumes"``.
    state : {"good", "missing", "DAMAGED"}
        Of that part.
    found : str
        What is there, or what is wrong with it.
    """

    part: str
    state: str
    found: str


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
    found = [finding for part in study.parts for finding in findings(part, deep=deep)]
    print(f"{study.title}\n")
    print(aligned(["part", "state", "what"], found))
    print("\n" + aligned(["notebook", "can run", "finished runs"], list(_notebooks(study, found))))
    if rest := list(_rest(study)):
        print("\nto do next:\n" + "\n".join(f"  {line}" for line in rest))
    if not deep:
        print("\n(sizes and headers were looked at; --deep reads every byte and compares checksums)")
    return int(any(f.state == DAMAGED for f in found))


def findings(study: Study, *, deep: bool = False) -> Iterator[Finding]:
    """Look at every part of a study, one after the other; damage is found and told, never raised."""
    parts: dict[str, Callable[[Study, bool], str]] = {
        **({"design": _design, "regions": _regions, "volumes": _volumes} if study.nsd else {}),
        "prepared": _prepared,
        "stimuli": _stimuli,
        "classification": _classification,
        "cue_conflict": _cue_conflict,
        "corruptions": _corruptions,
        "scanner_labels": _labels,
    }
    for part, look in parts.items():
        try:
            with warnings.catch_warnings(record=True, action="always") as doubts:
                said = look(study, deep)
            yield Finding(part, GOOD, " · ".join([said, *(str(doubt.message) for doubt in doubts)]))
        except FileNotFoundError as error:
            yield Finding(part, MISSING, str(error))
        except (InputError, OSError) as error:
            yield Finding(part, DAMAGED, " · ".join(line.strip() for line in str(error).splitlines()))
    if study.nsd and (study.nsd / CHECKSUMS).exists() and deep:
        reduced = session_files(study.responses)  # whose volumes were removed on purpose
        wrong = [
            (file, problem)
            for file, problem in verify(study.nsd)
            if file.exists() or nsd.session_number(file) not in reduced
        ]
        told = "; ".join(f"{file.name}: {problem}" for file, problem in wrong)
        yield Finding("checksums", DAMAGED if wrong else GOOD, told or "every file is as it was fetched")


# --- parts --------------------------------------------------------------------------------------------------


def _design(study: Study, deep: bool) -> str:
    _must_exist(nsd.design_file(study.need("nsd")))
    design = load_design(study)
    return (
        f"{len(design.image_ids)} trials of {len(np.unique(design.image_ids))} images, {len(design.shared_ids)} shared"
    )


def _regions(study: Study, deep: bool) -> str:
    folder = nsd.roi_folder(study.need("nsd"), study.subject)
    _must_exist(folder / "nsdgeneral.nii.gz")
    _must_exist(folder / f"{study.voxels.retinotopy}.nii.gz")
    rois = [roi for roi in HIERARCHY if roi in RETINOTOPY[study.voxels.retinotopy]]
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
        if deep:
            nsd.read_betas(file, np.zeros((1, 3), int), shape)
        else:
            _check_length(file, shape)
    size = sum(file.stat().st_size for file in volumes.values()) / 1e9
    return f"sessions {_ranges(volumes)}: {size:.1f} GB of {study.voxels.betas}"


def _check_length(file: Path, shape: tuple[int, ...]) -> None:
    """Compare the length that a gzip file says it inflates to: a truncated file says another. HDF5 checks itself."""
    if file.suffix == ".hdf5":
        with h5py.File(file, "r"):
            return
    expected = (_nifti(file).dataobj.offset + int(np.prod(shape)) * 2 * TRIALS_PER_SESSION) % 2**32  # type: ignore[attr-defined]
    with file.open("rb") as raw:
        raw.seek(-4, os.SEEK_END)
        said = int.from_bytes(raw.read(4), "little")
    if said != expected:
        raise InputError(
            "a volume is not whole",
            file=file,
            expected=f"{expected} bytes (modulo 2³²) once inflated",
            got=said,
            fix=_AGAIN,
        )


def _nifti(file: Path) -> nib.Nifti1Image:
    _must_exist(file)
    with reading("a volume cannot be read", *_NO_VOLUME, file=file, expected="NIfTI-1 in gzip", fix=_AGAIN):
        return nib.nifti1.load(file)


def _prepared(study: Study, deep: bool) -> str:
    files = session_files(study.responses)
    if not files:
        raise FileNotFoundError(
            "none: volumes are read whole each time" if study.nsd else f"no session in {study.responses}"
        )
    for file in files.values():
        read_session(file, regions_of(file) if deep else ())
    if deep:
        load_trials(study, regions_of(next(iter(files.values()))), progress=False)  # compares with volumes and masks
    size = sum(file.stat().st_size for file in files.values()) / 1e6
    return f"sessions {_ranges(files)}: {', '.join(regions_of(next(iter(files.values()))))}, {size:.0f} MB"


def _stimuli(study: Study, deep: bool) -> str:
    with h5py.File(_must_exist(study.stimuli), "r") as store:
        brick = store.get("imgBrick")
        if not isinstance(brick, h5py.Dataset) or brick.ndim != 4:
            raise InputError("no images", file=study.stimuli, expected="dataset imgBrick", got=list(store), fix=_AGAIN)
        if deep:
            for start in range(0, len(brick), 500):
                brick[start : start + 500]
        return f"{len(brick)} images, {brick.shape[2]} × {brick.shape[1]} pixels"


def _classification(study: Study, deep: bool) -> str:
    folder = _named(study, "classification")
    told = [f"{part}: {_count(folder / part)}" for part in SPLITS]
    check_splits(folder)
    if deep:
        train, val = ([file for files in class_files(folder / part).values() for file in files] for part in SPLITS)
        told.append(f"{len(equal_files(val, train))} images of val are, byte by byte, in train too")
    return "; ".join(told)


def _cue_conflict(study: Study, deep: bool) -> str:
    return _count(_named(study, "cue_conflict"))


def _corruptions(study: Study, deep: bool) -> str:
    folder = _named(study, "corruptions")
    return f"{len([f for f in folder.iterdir() if f.is_dir()])} kinds"


def _labels(study: Study, deep: bool) -> str:
    file = _named(study, "scanner_labels")
    table = read_table(file, ["image_id", "label"])
    return f"{len(table)} images of {table['label'].nunique()} classes"


def _count(folder: Path) -> str:
    numbers = [len(files) for files in class_files(_must_exist(folder)).values()]
    if not numbers or min(numbers) == 0:
        raise InputError(
            "no images", file=folder, expected="<class>/<image>, none empty", got=numbers, fix="prepare it again"
        )
    return f"{len(numbers)} classes, {sum(numbers)} images"


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
    states = {finding.part: finding.state for finding in found}
    measured = [states.get(part) for part in ("volumes", "prepared")]
    tree = all(states.get(part, GOOD) == GOOD for part in ("design", "regions"))
    states["responses"] = GOOD if GOOD in measured and DAMAGED not in measured and tree else MISSING
    states["nsd"] = states.get("regions", MISSING)
    for file in sorted(folders.NOTEBOOKS.glob("[0-9]*.ipynb")):
        lacking = [part for part in needs_of(file.stem) if states.get(part) != GOOD]
        n_finished = len(folders.collect(file.stem, study.name))
        yield file.stem, f"no: {', '.join(lacking)}" if lacking else "yes", str(n_finished)


def _rest(study: Study) -> Iterator[str]:
    """Say what is missing, and about how much time and disk it would take."""
    if not study.simulated:
        if study.nsd:
            yield from _sessions_to_do(study, study.nsd)
        absent = [entry for entry in _WAYS if getattr(study, entry) and not study.has(entry)]
        yield from (_WAYS[entry] for entry in absent if entry != "stimuli" or study.nsd)
    if study.has("classification"):
        n_images = sum(sum(class_sizes(study.need("classification") / part)) for part in SPLITS)
        if (size := n_images * 3 * (study.image_size * 8 / 7) ** 2 / 1e9) > 1:
            yield f"pack {n_images} images to classify at the first training: {size:.0f} GB"
    free = shutil.disk_usage(home()).free / 1e9
    yield f"free here: {free:.0f} GB"


def _sessions_to_do(study: Study, root: Path) -> Iterator[str]:
    prepared, n_cores = session_files(study.responses), os.cpu_count() or 1
    volumes = nsd.find_sessions(root, study.subject, BETAS[study.voxels.betas], required=False)
    if absent := set(range(1, N_SESSIONS[study.subject - 1] + 1)) - {*prepared, *volumes}:
        yield f"fetch sessions {_ranges(absent)}: about {len(absent)} GB (python -m nbtools fetch nsd)"
    if waiting := [number for number in volumes if number not in prepared]:
        minutes = max(len(waiting) * _SESSION_SECONDS / n_cores / 60, 1)
        yield (
            f"prepare sessions {_ranges(waiting)}: about {minutes:.0f} min on {n_cores} cores, "
            f"{14 * len(waiting)} MB (python -m nbtools prepare nsd --study {study.name})"
        )


def _ranges(numbers: Collection[int]) -> str:
    """Write 1, 2, 3, 7 as ``1–3, 7``."""
    starts = sorted(n for n in numbers if n - 1 not in numbers)
    ends = sorted(n for n in numbers if n + 1 not in numbers)
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))
