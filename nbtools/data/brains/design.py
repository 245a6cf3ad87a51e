"""The design of the Natural Scenes Dataset: which trial showed which image (``nsd_expdesign.mat``)."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError

from nbtools.checks import check_choice, reading
from nbtools.data.brains.responses import Design
from nbtools.errors import InputError

N_SUBJECTS = 8
N_STIMULI = 73_000
N_REPEATS = 3
_VARIABLES = ("masterordering", "subjectim", "sharedix")
# What SciPy raises where a file is none of MATLAB's, ends early or is damaged.
_UNREADABLE = (ValueError, TypeError, LookupError, NotImplementedError, OSError, EOFError, zlib.error, MatReadError)


def load_design(nsd: Path, subject: int) -> Design:
    """Read the order of the images: ``image id = subjectim[subject - 1, masterordering - 1] - 1``.

    Parameters
    ----------
    nsd : Path
        Root of the NSD tree.
    subject : int
        1 to 8.

    Returns
    -------
    Design
        Of all trials planned (30,000), also those of sessions that were not released: session s (1-based) holds trials
        (s - 1)·750 … s·750 - 1.

    Raises
    ------
    InputError
        If the file is missing, is not a MATLAB file, lacks a variable, holds an id out of range or contradicts itself.
    """
    subject_folder(subject)
    file = design_file(nsd)
    mat = _read_mat(file)
    n_subjects, n_images = mat["subjectim"].shape
    if subject > n_subjects:
        raise InputError(
            f"the design does not know subject {subject}",
            file=file,
            expected=f"subjectim with at least {subject} rows, one for each subject",
            got=f"shape {mat['subjectim'].shape}",
            fix="use NSD's own nsd_expdesign.mat",
        )
    ordering = _zero_based(file, "masterordering", mat["masterordering"].ravel(), n_images)
    images = _zero_based(file, "subjectim", mat["subjectim"][subject - 1], N_STIMULI)
    shared = _zero_based(file, "sharedix", mat["sharedix"].ravel(), N_STIMULI)
    _check_order(file, ordering, images, shared)
    return Design(images[ordering], shared)


def _check_order(file: Path, ordering: NDArray[np.int64], images: NDArray[np.int64], shared: NDArray[np.int64]) -> None:
    """Raise unless the design agrees with itself as NSD's does: a shuffled one joins responses with other images."""
    reasons = []
    if not np.array_equal(np.sort(images[: len(shared)]), np.sort(shared)):
        reasons.append("the shared images are not the subject's first ones")
    if len(np.unique(images)) < len(images):
        reasons.append("an image stands twice in subjectim")
    if np.bincount(ordering).max() > N_REPEATS:
        reasons.append(f"an image is shown more than {N_REPEATS} times")
    if reasons:
        raise InputError(
            "the design contradicts itself",
            file=file,
            expected=f"sharedix in the first columns of subjectim; every image at most {N_REPEATS} times",
            got="; ".join(reasons),
            fix="download nsddata/experiments/nsd/nsd_expdesign.mat again: this one was changed",
        )


def design_file(nsd: Path) -> Path:
    """Return where the design lies in an NSD tree."""
    return Path(nsd) / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat"


def subject_folder(subject: int) -> str:
    """Return a subject's folder name, ``subjXX``; raise `InputError` unless it is 1 to 8."""
    check_choice("there is no such subject", subject, range(1, N_SUBJECTS + 1), fix="choose one of NSD's subjects")
    return f"subj{subject:02d}"


def _read_mat(file: Path) -> dict[str, NDArray]:
    expected = f"a MATLAB file with {', '.join(_VARIABLES)}"
    fix = "download nsddata/experiments/nsd/nsd_expdesign.mat again"
    with (
        reading("the design cannot be read", *_UNREADABLE, file=file, expected=expected, fix=fix),
        file.open("rb") as raw,  # SciPy does not say that a file is not there
    ):
        mat = scipy.io.loadmat(raw, variable_names=_VARIABLES)
    missing = [name for name in _VARIABLES if name not in mat or mat[name].ndim != 2]
    if missing:
        got = f"no {', '.join(missing)}"
        raise InputError("the design is incomplete", file=file, expected=expected, got=got, fix=fix)
    return mat


def _zero_based(file: Path, name: str, ids: NDArray, n: int) -> NDArray[np.int64]:
    """Turn MATLAB's 1-based indices (often doubles) into 0-based ones, if all are whole and in 1 … n."""
    if ids.dtype.kind not in "iuf" or not ids.size or not np.all((ids >= 1) & (ids <= n) & (ids == np.floor(ids))):
        raise InputError(
            f"{name} holds ids out of range",
            file=file,
            expected=f"whole numbers from 1 to {n}",
            got=f"{ids.min()} to {ids.max()}" if ids.size and ids.dtype.kind in "iuf" else f"{ids.size} of {ids.dtype}",
            fix="use NSD's own nsd_expdesign.mat: its indices are 1-based",
        )
    return ids.astype(np.int64) - 1
