"""``python -m nbtools doctor``: what data a study has, what is damaged, which notebooks it can run, what is missing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib

from nbtools.conditions import HIERARCHY
from nbtools.data.brains import nsd
from nbtools.data.brains.betas import TRIALS_PER_SESSION
from nbtools.data.brains.measured import load_design, load_trials
from nbtools.data.brains.sessions import read_session, regions_of, session_files
from nbtools.data.fetch.catalogue import N_SESSIONS
from nbtools.data.fetch.checksums import CHECKSUMS, verify
from nbtools.data.study import BETAS, Study, open_study
from nbtools.errors import InputError
from nbtools.files import read_table
from nbtools.runs import folders

GOOD, MISSING, DAMAGED = "good", "missing", "DAMAGED"
# Which parts of a study each notebook reads; those of other notebooks' runs come on top. A test compares with the code.
NEEDS: dict[str, tuple[str, ...]] = {
    "00_start_here": ("stimuli", "classification"),
    "01_brain_responses": ("responses", "stimuli"),
    "02_neural_predictors": ("responses", "stimuli"),
    "03_guided_training": ("classification",),
    "04_adversarial_attacks": ("classification",),
    "05_attack_explorer": ("classification",),
    "06_smoothness_and_transfer": ("classification",),
    "07_shape_bias": ("classification", "cue_conflict"),
    "08_rsa": ("responses", "stimuli"),
    "09_manifolds": ("responses", "stimuli", "classification", "scanner_labels"),
    "10_summary": (),
    "11_attacks_and_audit": ("classification",),
    "12_alpha": (),
    "13_manifold_guidance": ("classification",),
    "14_brain_and_geometry": ("responses", "stimuli", "classification"),
    "15_study_explorer": (),
    "16_haxby": ("responses", "stimuli", "classification", "scanner_labels"),
    "17_natural_corruptions": ("classification", "corruptions"),
}


@dataclass(frozen=True)
class Finding:
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
    found = [
        finding
        for part in map(study.of, study.voxels.subjects or [study.subject])
        for finding in findings(part, deep=deep)
    ]
    print(f"{study.title}\n")
    print(_table(["part", "state", "what"], [(f.part, f.state, f.found) for f in found]))
    print("\n" + _table(["notebook", "can run", "finished runs"], list(_notebooks(study, found))))
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
            yield Finding(part, GOOD, look(study, deep))
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
    masks: dict[str, np.ndarray] = {}
    for roi in HIERARCHY:
        try:
            masks |= nsd.roi_masks(study.need("nsd"), study.subject, [roi], study.voxels.retinotopy)
        except InputError as error:
            if "no region" not in str(error):
                raise
    return ", ".join(f"{roi} {int(mask.sum())}" for roi, mask in masks.items()) + " voxels"


def _volumes(study: Study, deep: bool) -> str:
    volumes = nsd.find_sessions(study.need("nsd"), study.subject, BETAS[study.voxels.betas], required=False)
    if not volumes:
        raise FileNotFoundError(
            "none" if not session_files(study.responses) else "none: prepared sessions take their place"
        )
    shape = nib.nifti1.load(nsd.roi_folder(study.need("nsd"), study.subject) / "nsdgeneral.nii.gz").shape
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
    expected = (_offset(file) + int(np.prod(shape)) * 2 * TRIALS_PER_SESSION) % 2**32
    with file.open("rb") as raw:
        raw.seek(-4, os.SEEK_END)
        said = int.from_bytes(raw.read(4), "little")
    if said != expected:
        raise InputError(
            "a volume is not whole",
            file=file,
            expected=f"{expected} bytes (modulo 2³²) once inflated",
            got=said,
            fix="delete it and fetch it again",
        )


def _offset(file: Path) -> int:
    """Return where the voxels begin: what a NIfTI header says in its bytes 108 to 111."""
    try:
        with igzip.open(file, "rb") as stream:
            return int(np.frombuffer(stream.read(112)[108:], "<f4")[0])
    except (EOFError, OSError, IndexError, isal_zlib.error) as error:  # type: ignore[misc]
        raise InputError(
            "a volume cannot be read", file=file, expected="gzip", got=error, fix="delete it and fetch it again"
        ) from error


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
    _must_exist(study.stimuli)
    with h5py.File(study.stimuli, "r") as store:
        brick = store.get("imgBrick")
        if not isinstance(brick, h5py.Dataset) or brick.ndim != 4:
            raise InputError(
                "no images", file=study.stimuli, expected="dataset imgBrick", got=list(store), fix="fetch it again"
            )
        if deep:
            for start in range(0, len(brick), 500):
                brick[start : start + 500]
        return f"{len(brick)} images, {brick.shape[2]} × {brick.shape[1]} pixels"


def _classification(study: Study, deep: bool) -> str:
    return "; ".join(f"{part}: {_count(_named(study, 'classification') / part)}" for part in ("train", "val"))


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
    """Count the images of each class folder by names alone."""
    _must_exist(folder)
    numbers = [sum(1 for entry in os.scandir(part) if entry.is_file()) for part in os.scandir(folder) if part.is_dir()]
    if not numbers or min(numbers) == 0:
        raise InputError(
            "no images", file=folder, expected="<class>/<image>, none empty", got=numbers, fix="prepare it again"
        )
    return f"{len(numbers)} classes, {sum(numbers)} images"


def _named(study: Study, entry: str) -> Path:
    path = getattr(study, entry)
    if path is None:
        raise FileNotFoundError("not named in study.toml")
    _must_exist(path)
    return path


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"nothing at {path}")


# --- what follows -------------------------------------------------------------------------------------------


def _notebooks(study: Study, found: list[Finding]) -> Iterator[tuple[str, str, str]]:
    states = {finding.part: finding.state for finding in found}
    measured = [states.get(part) for part in ("volumes", "prepared")]
    tree = all(states.get(part, GOOD) == GOOD for part in ("design", "regions"))
    states["responses"] = GOOD if GOOD in measured and DAMAGED not in measured and tree else MISSING
    for notebook, needs in NEEDS.items():
        lacking = [part for part in needs if states.get(part) != GOOD]
        n_finished = len(folders.collect(notebook, study.name))
        yield notebook, f"no: {', '.join(lacking)}" if lacking else "yes", str(n_finished)


def _rest(study: Study) -> Iterator[str]:
    """Say what is missing, and about how much time and disk it would take."""
    if study.nsd and not study.simulated:
        prepared = session_files(study.responses)
        volumes = nsd.find_sessions(study.nsd, study.subject, BETAS[study.voxels.betas], required=False)
        absent = set(range(1, N_SESSIONS[study.subject - 1] + 1)) - {*prepared, *volumes}
        if absent:
            yield f"fetch sessions {_ranges(absent)}: about {len(absent)} GB (python -m nbtools fetch nsd)"
        if waiting := [number for number in volumes if number not in prepared]:
            minutes = len(waiting) * _seconds_a_session(volumes[waiting[0]]) / (os.cpu_count() or 1) / 60
            yield (
                f"prepare sessions {_ranges(waiting)}: about {max(minutes, 1):.0f} min on {os.cpu_count()} cores, "
                f"{14 * len(waiting)} MB (python -m nbtools prepare nsd --study {study.name})"
            )
    if not study.stimuli.exists() and study.nsd:
        yield "fetch the stimuli: 37 GB (python -m nbtools fetch stimuli)"
    if not study.simulated:
        if study.classification and not study.has("classification"):
            yield "get images to classify (python -m nbtools prepare imagenet50 /path/to/ILSVRC2012)"
        if study.cue_conflict and not study.has("cue_conflict"):
            yield "get the cue-conflict images (python -m nbtools fetch cue-conflict)"
    if study.has("classification"):
        n_images = sum(len(files) for _, _, files in os.walk(study.need("classification")))
        if (size := n_images * 3 * (study.image_size * 8 / 7) ** 2 / 1e9) > 1:
            yield f"pack {n_images} images to classify at the first training: {size:.0f} GB"
    free = shutil.disk_usage(folders.home()).free / 1e9
    yield f"free here: {free:.0f} GB"


def _seconds_a_session(file: Path, n_bytes: int = 20_000_000) -> float:
    """Extrapolate from the first compressed megabytes how long one core takes for a volume."""
    if file.suffix == ".hdf5":
        return 10.0
    start, size = time.perf_counter(), file.stat().st_size
    with file.open("rb") as raw, igzip.open(raw, "rb") as stream:
        while raw.tell() < min(n_bytes, size) and stream.read(1 << 20):
            pass
        return (time.perf_counter() - start) * size / max(raw.tell(), 1)


def _ranges(numbers: object) -> str:
    """Write 1, 2, 3, 7 as ``1–3, 7``."""
    ordered = sorted(numbers)  # type: ignore[call-overload]
    starts = [n for n in ordered if n - 1 not in ordered]
    ends = [n for n in ordered if n + 1 not in ordered]
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))


def _table(head: list[str], rows: list[tuple[str, str, str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(2)]
    return "\n".join(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}" for row in [head, *rows])
