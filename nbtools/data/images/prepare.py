"""Folders of images brought into the layout a study reads: ``train/<class>/*`` and ``val/<class>/*``.

Each is made once, whole or not at all, and goes on after a kill (`nbtools.data.archives.build`); images are decoded
once, and damaged ones are left out and reported. Nothing in a source is changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from nbtools.checks import as_names, listed
from nbtools.data.archives import build
from nbtools.data.images.files import link, on_all_cores, read_image
from nbtools.data.images.folders import SPLITS, equal_files, images_below, subfolders
from nbtools.data.images.sets import split_rows
from nbtools.errors import InputError


def prepare_folder(
    source: Path, target: Path, classes: Sequence[str] | None = None, validation: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """Prepare any set of images that lies in one folder per class; images are linked (see `link`).

    A training image that is byte for byte a validation image is left out, as damaged ones are.

    Parameters
    ----------
    source : Path
        Holds ``train/<class>/*`` and ``val/<class>/*``, or ``<class>/*``, which is split within each class.
    target : Path
        Folder to make, outside the source.
    classes : sequence of str, optional
        2 to 1000 of the classes; all of them if None.
    validation : float
        Share of each class that is set apart for validation, if `source` is not split already.
    seed : int
        Of that split.

    Returns
    -------
    DataFrame
        As `report_on` gives it.

    Raises
    ------
    InputError
        If a class is unknown or has no image to train or to validate on, or something else lies at `target`.
    """
    if target.resolve().is_relative_to(source.resolve()) or not 0 < validation < 1:
        raise InputError(
            "the folder cannot be prepared like this",
            file=target,
            expected="a target outside the source, and a share for validation between 0 and 1",
            got=f"source {source}, validation {validation}",
            fix="choose another target or share",
        )
    split = all((source / name).is_dir() for name in SPLITS)
    tops = [source / name for name in SPLITS] if split else [source]
    there = set.intersection(*({folder.name for folder in subfolders(top)} for top in tops))
    chosen = choose_classes(there, classes, source)

    def fill(part: Path) -> pd.DataFrame:
        wanted: dict[str, Path] = {}
        for folder in (top / name for top in tops for name in chosen):
            if split:
                wanted |= places_in(folder.parent.name, folder, images_below(folder))
            else:
                wanted |= _split(folder, validation, seed)
        copies = _copies_of_validation(wanted)
        flaws = place_sound({place: file for place, file in wanted.items() if place not in copies}, part)
        return report_on(wanted, copies | flaws, chosen)

    how = {} if split else {"validation": validation, "seed": seed}
    return build(target, {"source": str(source.resolve()), "classes": chosen, **how}, fill)


def _split(folder: Path, validation: float, seed: int) -> dict[str, Path]:
    """Say where a class's images go: a random share of them to ``val``."""
    files = images_below(folder)
    rows = split_rows(len(files), validation, seed)
    train, val = ([files[row] for row in rows[part]] for part in ("train", "validation"))
    return places_in("train", folder, train) | places_in("val", folder, val)


def _copies_of_validation(wanted: Mapping[str, Path]) -> dict[str, str]:
    """Say which training images, by their places, are byte for byte a validation image, and which one."""
    train, val = ({file: place for place, file in wanted.items() if place.startswith(f"{split}/")} for split in SPLITS)
    return {train[file]: f"the same bytes as {val[other]}" for file, other in equal_files(train, val).items()}


# --- steps of all that is prepared --------------------------------------------------------------------------


def choose_classes(there: Collection[str], classes: Sequence[str] | None, place: Path) -> list[str]:
    """Return the classes asked for, or all that are `there`, in the order in which ImageFolder takes them.

    Raises
    ------
    InputError
        Unless these are 2 to 1000 classes, each named once and found `there`.
    """
    chosen = sorted(there if classes is None else as_names(classes))
    unknown = sorted(set(chosen) - set(there))
    if unknown or not 2 <= len(chosen) <= 1000 or len(set(chosen)) < len(chosen):
        raise InputError(
            "these classes cannot be taken",
            file=place,
            expected=f"2 to 1000 of {listed(sorted(there))}, each once",
            got=f"unknown: {listed(unknown)}" if unknown else f"{len(chosen)}: {listed(chosen)}",
            fix="name classes as their folders are named",
        )
    return chosen


def places_in(split: str, folder: Path, files: Iterable[Path]) -> dict[str, Path]:
    """Say where files below a class's folder go: ``<split>/<class>/<path below the folder>``."""
    return {f"{split}/{folder.name}/{file.relative_to(folder).as_posix()}": file for file in files}


def place_sound(wanted: Mapping[str, Path], part: Path) -> dict[str, str]:
    """Decode each image once and put the sound ones into their places: links, or what was unpacked below `part`.

    What is in its place already was found sound before a kill, and is not decoded again.

    Parameters
    ----------
    wanted : mapping of str to Path
        Place below `part`, and the file that goes there.
    part : Path
        Folder to fill.

    Returns
    -------
    dict of str to str
        Places of the images that are damaged, and what is wrong with them.
    """

    def bring(place: str) -> str:
        file = wanted[place]
        try:
            read_image(file)
        except InputError as error:
            return str(error.__cause__)
        (part / place).parent.mkdir(parents=True, exist_ok=True)
        if file.is_relative_to(part):
            file.replace(part / place)
        else:
            link(file, part / place)
        return ""

    missing = [place for place in wanted if not (part / place).exists()]
    flaws = on_all_cores(bring, missing, "checking images")
    return {place: flaw for place, flaw in zip(missing, flaws, strict=True) if flaw}


def report_on(wanted: Iterable[str], flaws: Mapping[str, str], classes: Sequence[str]) -> pd.DataFrame:
    """Count images by their places, ``<split>/<class>/<name>``.

    Returns
    -------
    DataFrame
        One row per split and class: ``split``, ``class``, ``images``, ``left_out`` (list of name and reason).

    Raises
    ------
    InputError
        If a class has no sound image in a split.
    """
    images = dict.fromkeys([(split, name) for split in SPLITS for name in classes], 0)
    left_out: dict[tuple[str, str], list[str]] = {pair: [] for pair in images}
    for place in wanted:
        split, name, file = place.split("/", 2)
        images[split, name] += place not in flaws
        left_out[split, name] += [f"{file}: {flaws[place]}"] if place in flaws else []
    empty = [f"{split}/{name} ({len(left_out[split, name])} damaged)" for (split, name), n in images.items() if n == 0]
    if empty:
        raise InputError(
            "classes without an image",
            expected=f"at least one image for each of {len(classes)} classes, to train and to validate on",
            got=f"none in {', '.join(empty)}",
            fix="leave these classes out, or complete the source",
        )
    rows = [(split, name, images[split, name], left_out[split, name]) for split, name in images]
    return pd.DataFrame(rows, columns=["split", "class", "images", "left_out"])
