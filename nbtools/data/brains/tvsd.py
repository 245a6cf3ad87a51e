"""THINGS Ventral stream Spiking Dataset (Papale et al. 2025): two macaques' V1, V4 and IT, as their authors lay it out.

monkey{F,N}/THINGS_normMUA.mat       multi-unit activity of 1,024 electrodes: a mean over time, normalised per day
monkey{F,N}/_logs/things_imgs.mat    which pictures were shown

They are read once, into one session (`nbtools.data.brains.sessions`): all that follows then meets nothing new, at the
cost of 100 MB a monkey beside its 194, which open faster without gzip.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nbtools.checks import check_choice, listed
from nbtools.data.brains.sessions import Session
from nbtools.data.kinds import check_kind, kinds_by_name, read_head
from nbtools.errors import InputError
from nbtools.files import opened_hdf5

# Which electrodes lie where, early to late. They do not stand in the same order in both monkeys.
REGIONS: dict[str, dict[str, slice]] = {
    "F": {"V1": slice(0, 512), "V4": slice(832, 1024), "IT": slice(512, 832)},
    "N": {"V1": slice(0, 512), "V4": slice(512, 768), "IT": slice(768, 1024)},
}
N_ELECTRODES = 1024
_FORM = "HDF5, as MATLAB 7.3 writes it"
_FETCH = "delete it and fetch again: python -m nbtools fetch tvsd"


class Shown(NamedTuple):
    """Pictures by the names of their files, in the order of the stimuli: training images, then those of the test."""

    train: list[str]
    test: list[str]


def monkey_folder(raw: Path, monkey: str) -> Path:
    """Return where a monkey's files lie; `InputError` if there is no such monkey."""
    check_choice("TVSD has no such monkey", monkey, REGIONS)
    return raw / "tvsd" / f"monkey{monkey}"


def shown_images(folder: Path) -> Shown:
    """Read which pictures were shown: row i of the responses is of the i-th.

    Parameters
    ----------
    folder : Path
        A monkey's.

    Raises
    ------
    InputError
        If the file is missing, damaged, a pointer or of another form; if a picture stands in it twice.
    """
    file = folder / "_logs" / "things_imgs.mat"
    with _opened(file, "train_imgs", "test_imgs") as tree:
        shown = Shown(*(_paths(tree[name]["things_path"]) for name in ("train_imgs", "test_imgs")))
    names = pd.Series([*shown.train, *shown.test])
    if names.duplicated().any():
        raise InputError(
            "a picture stands twice among those that were shown",
            file=file,
            expected="different ones, those of the test not among those to train on",
            got=f"{int(names.duplicated().sum())} twice, such as {listed(names[names.duplicated()], 3)}",
            fix=_FETCH,
        )
    return shown


def session_of(folder: Path, monkey: str, shown: Shown) -> Session:
    """Read a monkey's responses: every showing of a training image (one each) and of a test image is a trial.

    Parameters
    ----------
    folder : Path
        The monkey's.
    monkey : {"F", "N"}
        Which of the two: their electrodes are ordered differently.
    shown : Shown
        From `shown_images`.

    Returns
    -------
    Session
        Regions from early to late. ``voxels`` holds an electrode's number in the file, from 0, and −1 twice. Showings
        that no electrode recorded are left out; electrodes that are dead or hold NaN are left to the loaders.

    Raises
    ------
    InputError
        If the file is missing, damaged or a pointer, its arrays do not fit the pictures, or too few showings were
        recorded to train and to test on.
    """
    file, n_train, n_test = folder / "THINGS_normMUA.mat", len(shown.train), len(shown.test)
    with _opened(file, "train_MUA", "test_MUA_reps") as tree:
        repeats = _check_shapes(file, tree, n_train, n_test)
        values = np.empty((n_train + repeats * n_test, N_ELECTRODES), np.float32)
        tree["train_MUA"].read_direct(values, dest_sel=np.s_[:n_train])  # without a copy in float64
        values[n_train:] = tree["test_MUA_reps"][:].reshape(-1, N_ELECTRODES)
    image_ids = np.r_[np.arange(n_train), np.tile(n_train + np.arange(n_test), repeats)]
    repeat = np.r_[np.ones(n_train, np.int64), np.repeat(np.arange(repeats) + 1, n_test)]
    there = np.isfinite(values).any(axis=1)
    if not there.all():
        values, image_ids, repeat = values[there], image_ids[there], repeat[there]
    _check_left(file, image_ids, n_train)
    regions = REGIONS[monkey]
    return Session(
        image_ids=image_ids,
        shared=image_ids >= n_train,
        repeats=repeat,
        responses={roi: values[:, span] for roi, span in regions.items()},
        voxels={roi: _numbered(np.arange(N_ELECTRODES)[span]) for roi, span in regions.items()},
        source={"study": "Papale et al. 2025", "monkey": monkey},
    )


def published_reliability(folder: Path) -> pd.DataFrame:
    """Return what the authors say of each electrode: ``i``, ``j``, ``k`` (as in a `Session`), ``reliab``, ``oracle``.

    ``reliab`` is the mean correlation of two showings of the test images (over all pairs that have one), ``oracle``
    that of a showing with the mean of all others.

    Raises
    ------
    InputError
        If the file is missing, damaged or lacks one of them.
    """
    with _opened(folder / "THINGS_normMUA.mat", "reliab", "oracle") as tree:
        reliab = pd.DataFrame(tree["reliab"][:]).mean()  # without NaN
        place = pd.DataFrame(_numbered(np.arange(len(reliab))), columns=["i", "j", "k"])
        return place.assign(reliab=reliab, oracle=tree["oracle"][:].ravel())


@contextmanager
def _opened(file: Path, *needed: str) -> Iterator[h5py.File]:
    """Open a file of MATLAB's that holds these variables; say so where something else came in its place."""
    check_kind(read_head(file), kinds_by_name(file.name), file)
    with opened_hdf5(file, "a monkey's file cannot be read", expected=_FORM, fix=_FETCH) as tree:
        lacking = [name for name in needed if name not in tree]
        if lacking:
            raise InputError(
                f"a monkey's file lacks {', '.join(lacking)}",
                file=file,
                expected=", ".join(needed),
                got=listed(tree) or "nothing",
                fix=_FETCH,
            )
        yield tree


def _paths(references: h5py.Dataset) -> list[str]:
    r"""Read MATLAB's cell array of paths, ``aardvark\aardvark_01b.jpg`` each: the files' names."""
    tree = references.file
    texts = (tree[reference][:].astype(np.uint16).tobytes().decode("utf-16-le") for reference in references[:].ravel())
    return [PureWindowsPath(text).name for text in texts]


def _check_shapes(file: Path, tree: h5py.File, n_train: int, n_test: int) -> int:
    """Return how often test images were shown; raise `InputError` if arrays do not fit the pictures."""
    train, test = tree["train_MUA"].shape, tree["test_MUA_reps"].shape
    if train != (n_train, N_ELECTRODES) or len(test) != 3 or test[1:] != (n_test, N_ELECTRODES):
        raise InputError(
            "responses do not fit the pictures that were shown",
            file=file,
            expected=f"as h5py shows them, train_MUA {(n_train, N_ELECTRODES)} and test_MUA_reps (repeats, {n_test}, "
            f"{N_ELECTRODES}), by things_imgs.mat",
            got=f"{train} and {test}" + ": turned round?" * (train[::-1] == (n_train, N_ELECTRODES)),
            fix="take both files of one monkey as they were published; " + _FETCH,
        )
    return test[0]


def _check_left(file: Path, image_ids: NDArray[np.int64], n_train: int) -> None:
    """Raise `InputError` unless there are showings to train on, and a test image that was shown twice."""
    test = image_ids[image_ids >= n_train]
    if len(test) == len(image_ids) or len(test) == len(np.unique(test)):
        raise InputError(
            "a monkey's responses leave nothing to train or to test on",
            file=file,
            expected="finite numbers in showings of training images, and in two or more of a test image",
            got=f"{len(image_ids) - len(test)} showings of training images, {len(test)} of "
            f"{len(np.unique(test))} test images",
            fix=_FETCH,
        )


def _numbered(electrodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Put numbers where voxels have i, j, k."""
    return np.stack([electrodes, *np.full((2, len(electrodes)), -1)], axis=1)
