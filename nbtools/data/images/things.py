"""THINGS (Hebart et al. 2019): pictures as a brain saw them, and sorted into superordinate categories to classify.

A picture is ``<concept>/<concept>_<two digits><letter>.jpg``; `superordinate` says which categories, and which pictures
train. What a brain was shown validates nowhere, so that no predictor of its responses has seen an image that a network
is tested on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import Path, PureWindowsPath

import h5py
import numpy as np
import pandas as pd
import torch

from nbtools.checks import check_range, listed
from nbtools.data.archives import build
from nbtools.data.images.files import check_side, decode_image, fitted
from nbtools.data.images.folders import equal_files, images_below, subfolders
from nbtools.data.images.packed import decoded, folder_source
from nbtools.data.images.prepare import place_sound, report_on
from nbtools.data.images.stimuli import SHOWN, rows_mark
from nbtools.data.images.superordinate import category_of, choose_categories, read_categories, split_pictures
from nbtools.errors import InputError
from nbtools.files import PREFIX, locked, require_space, sha256_of, written
from nbtools.processes import Bar

# What was unpacked counts as whole, and is not unpacked again.
_FETCH = "delete that, and fetch again: python -m nbtools fetch things --agreed"

# --- names --------------------------------------------------------------------------------------------------


def concept_of(name: str) -> str:
    r"""Return a picture's concept: ``dog`` of ``dog_12s.jpg``, ``dog/dog_12s.jpg`` or ``dog\dog_12s.jpg``.

    Raises
    ------
    InputError
        If the name is not one of a picture of THINGS.
    """
    found = re.fullmatch(r"(.+)_\d\d[a-z]\.jpg", _file_of(name))
    if not found:
        raise InputError(
            "this is no picture of THINGS",
            expected="<concept>_<two digits><letter>.jpg, such as dog_12s.jpg",
            got=repr(name),
            fix="take names as the set's tables have them",
        )
    return found[1]


def place_of(name: str) -> str:
    r"""Return where a picture lies, ``dog/dog_12s.jpg``, by any of its names; raises as `concept_of`."""
    return f"{concept_of(name)}/{_file_of(name)}"


def _file_of(name: str) -> str:
    return PureWindowsPath(name).name  # parts of which end at / or \


# --- stimuli ------------------------------------------------------------------------------------------------


def things_stimuli(pictures: Path, names: Sequence[str], file: Path, size: int) -> None:
    """Write pictures as a study's stimuli: ``imgBrick`` (n, size, size, 3), uint8, whole or not at all.

    Each is decoded and fitted as an image to classify is (`decode_image`, `fitted`); a few hundred at a time are in
    memory.

    Parameters
    ----------
    pictures : Path
        Holds ``<concept>/<file>.jpg``.
    names : sequence of str
        Of the pictures, by row.
    file : Path
        HDF5 to write.
    size : int
        Side in pixels.

    Raises
    ------
    InputError
        If pictures are missing, one is damaged, or the disk has no room.
    """
    places = check_pictures(pictures, names, size)
    shape = (len(places), size, size, 3)
    source = folder_source(pictures, places, lambda raw, place: fitted(decode_image(raw, place), size))
    with locked(file):
        for left in file.parent.glob(f"{PREFIX}{file.name}.[0-9]*"):  # by a kill
            left.unlink()
        require_space(file.parent, prod(shape))
        with written(file) as beside, Bar(desc="stimuli", total=len(places), unit="image") as bar:
            start = _lay_out(beside, shape, rows_mark(names))
            with beside.open("r+b") as brick:
                brick.seek(start)
                for block in decoded(source):
                    rows = torch.stack([image for _, image in block])
                    brick.write(rows.permute(0, 2, 3, 1).contiguous().numpy().data)
                    bar.update(len(block))


def check_pictures(pictures: Path, names: Sequence[str], size: int) -> list[str]:
    """Return where pictures lie; raise `InputError` if there is none, one is missing, or images cannot be so large."""
    check_side(size)
    places = [place_of(name) for name in names]
    missing = [place for place in places if not (pictures / place).is_file()]
    if missing or not places:
        raise InputError(
            f"{len(missing)} pictures of the stimuli are missing",
            file=pictures,
            expected=f"{len(places)} pictures, <concept>/<file>.jpg",
            got=f"no {listed(missing, 5)}" if missing else "no name of a picture",
            fix=_FETCH,
        )
    return places


def _lay_out(file: Path, shape: tuple[int, ...], mark: str) -> int:
    """Write an HDF5 file around pixels that are still to come; return the byte at which they begin."""
    # HDF5 itself crashes the process where a disk is full: what is large is written as to any file.
    with h5py.File(file, "w") as tree:
        tree.attrs[SHOWN] = mark
        brick = tree.create_dataset("imgBrick", shape, np.uint8)
        brick[-1, -1, -1] = 0  # now it has its place
        return brick.id.get_offset()


# --- labels -------------------------------------------------------------------------------------------------


def things_labels(names: Sequence[str], table: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Name the categories of a scanner's pictures, for a study's ``scanner_labels``.

    Parameters
    ----------
    names : sequence of str
        Of the pictures, as they lie in the stimuli.
    table : Path
        As `read_categories` takes it.
    classes : sequence of str
        Categories that are classified, such as those of the folder that `things_classes` made.

    Returns
    -------
    DataFrame
        ``image_id`` (row of the stimuli) and ``label``: a row for each picture of exactly one of the classes.

    Raises
    ------
    InputError
        If a class is no category of the table, or as `read_categories` and `concept_of`.
    """
    members = read_categories(table)
    unknown = [name for name in classes if name not in members]
    if unknown:
        raise InputError(
            "these classes are no categories",
            file=table,
            expected=listed(sorted(members)),
            got=listed(unknown),
            fix="name the folders of the pictures to classify as the table names categories",
        )
    of = category_of(members, classes)
    labels = pd.Series([of.get(concept_of(name)) for name in names], dtype=object).dropna()
    return pd.DataFrame({"image_id": labels.index.to_numpy(np.int64), "label": labels.to_numpy()})


# --- pictures to classify -----------------------------------------------------------------------------------


def things_classes(
    pictures: Path, table: Path, to: Path, held: Collection[str], *, largest: int = 12, shown: Collection[str] = ()
) -> pd.DataFrame:
    """Sort pictures into superordinate categories to classify, as three folders of links.

    Networks that train on ``<to>/train`` can be asked for *new pictures* (``<to>/val``), for *new concepts* of the same
    categories (``<to>-concepts/val``), and for *new categories* (``<to>-categories``, where there are two or more, with
    images to fit a head on), none of which, nor of their concepts, is in ``<to>``. ``<to>-concepts/train`` is that part
    of ``<to>/train`` whose concepts are none of a test image's.

    Parameters
    ----------
    pictures : Path
        Holds ``<concept>/<file>.jpg``.
    table : Path
        As `read_categories` takes it.
    to : Path
        Folder to make; the others lie beside it.
    held : collection of str
        Names of the brain's test images, which are in none of them.
    largest : int
        Number of categories, 2 or more, and of new ones: the largest, and the next (`choose_categories`).
    shown : collection of str
        Names of all pictures that the brain was shown: none of them validates.

    Returns
    -------
    DataFrame
        One row per folder, split and class: ``folder``, ``split``, ``class``, ``images``, ``concepts``, ``left_out``
        (list of name and reason: damaged, or the same bytes as an image to test on). Each folder's lies in it too, as
        ``report.parquet``.

    Raises
    ------
    InputError
        If there are not two categories with pictures to train and to validate on, something else lies at `to`, or as
        `read_categories` and `concept_of`.
    """
    check_range("the number of categories", largest, 2, whole=True)
    found = {folder.name: [file.name for file in images_below(folder)] for folder in subfolders(pictures)}
    members, tested, seen = read_categories(table), {*map(place_of, held)}, {*map(place_of, shown)}
    order = choose_categories(members, {concept: len(files) for concept, files in found.items()})[: 2 * largest]
    _check_categories(order, found, table if found else pictures)
    classes = order[:largest]
    known, every = (category_of(members, names) for names in (classes, order))
    others = {concept: name for concept, name in every.items() if name not in classes}
    rows = pd.concat([split_pictures(found, of, tested, seen) for of in (known, others)], ignore_index=True)
    _check_left(rows[rows["category"].isin(classes)], pictures)
    rows = _without_copies(rows, pictures, tested)
    asked = {
        "source": str(pictures.resolve()),
        "categories": sha256_of(table),
        "largest": largest,
        "held": _digest(tested),
        "shown": _digest(seen),
    }
    reports = {
        end: _linked(pictures, part, to.with_name(to.name + end), asked)
        for end, part in _folders(rows, classes, {*map(concept_of, tested)}).items()
    }
    named = [report.assign(folder=to.name + end) for end, report in reports.items()]
    return pd.concat(named, ignore_index=True)[["folder", *named[0].columns[:-1]]]


def _folders(rows: pd.DataFrame, classes: Collection[str], tested: Collection[str]) -> dict[str, pd.DataFrame]:
    """Return the pictures of each folder that is made, by what its name ends with."""
    known, new = rows["category"].isin(classes), rows["part"] == "new"
    untested = (rows["part"] == "train") & ~rows["concept"].isin(tested)
    trained, asked = (set(rows["category"][rows["part"].isin(some)]) for some in (["train"], ["val", "new"]))
    others = rows[~known & rows["category"].isin(trained & asked)]
    parts = {"": rows[known & ~new], "-concepts": rows[known & (new | untested)], "-categories": others}
    parts = {end: part.replace({"part": {"new": "val"}}) for end, part in parts.items()}
    return {end: part for end, part in parts.items() if end != "-categories" or part["category"].nunique() > 1}


def _digest(names: Collection[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _check_categories(names: Sequence[str], found: Collection[str], place: Path) -> None:
    odd = [name for name in names if not re.fullmatch(r"[^./\\:][^/\\:]*", name)]
    if len(names) < 2 or odd:
        raise InputError(
            "the pictures cannot be sorted into categories",
            file=place,
            expected="<concept>/<file>.jpg, of concepts in two categories or more, which folders can be named as",
            got=f"{len(found)} concepts in {listed(odd or names) or 'no category'}",
            fix=_FETCH,
        )


def _check_left(rows: pd.DataFrame, pictures: Path) -> None:
    """Raise `InputError` unless two categories have pictures to train and to validate on."""
    parts = [set(rows["category"][rows["part"] == part]) for part in ("train", "val")]
    if len(set.intersection(*parts)) < 2:
        raise InputError(
            "there are too few pictures to classify",
            file=pictures,
            expected="two categories or more, each with pictures to train and to validate on that are no test images",
            got=f"{len(rows)} pictures that are left, in {listed(sorted(set.union(*parts))) or 'no category'}",
            fix=_FETCH,
        )


def _without_copies(rows: pd.DataFrame, pictures: Path, held: Collection[str]) -> pd.DataFrame:
    """Note, as ``flaw``, which pictures are byte for byte one to test on: of the brain, or for those that train."""
    files = rows["place"].map(lambda place: pictures / place)
    train, tested = files[rows["part"] == "train"], [pictures / place for place in held]
    copies = equal_files(list(train), list(files[rows["part"] != "train"])) | equal_files(list(files), tested)
    same = {file: f"the same bytes as {other.name}" for file, other in copies.items()}
    return rows.assign(flaw=files.map(same))


def _linked(pictures: Path, rows: pd.DataFrame, to: Path, asked: Mapping[str, object]) -> pd.DataFrame:
    """Make a folder of links, ``<split>/<category>/<file>``, and report on it."""
    names = rows["part"] + "/" + rows["category"] + "/" + rows["place"].str.rsplit("/", n=1).str[-1]
    rows = rows.set_index(names)

    def fill(part: Path) -> pd.DataFrame:
        copies = rows["flaw"].dropna()
        wanted = {name: pictures / place for name, place in rows["place"].items() if name not in copies}
        flaws = copies.to_dict() | place_sound(wanted, part)
        report = report_on(rows.index, flaws, sorted(rows["category"].unique()))
        sound = rows.drop(index=list(flaws))
        concepts = sound.groupby(["part", "category"])["concept"].nunique()
        pairs = pd.MultiIndex.from_frame(report[["split", "class"]])
        report.insert(3, "concepts", concepts.reindex(pairs).to_numpy())
        return report

    return build(to, {**asked}, fill)
