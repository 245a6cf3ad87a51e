"""Public image sets brought into the layout a study reads: ``train/<class>/*`` and ``val/<class>/*``.

Each is made once, whole or not at all, and goes on after a kill (`nbtools.data.archives.build`); images are decoded
once, and damaged ones are left out and reported. Nothing in a source is changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as v2
from tqdm.auto import tqdm

from nbtools.data.archives import build, contents, intact, unpack
from nbtools.data.images.cue_conflict import cue_conflict_names
from nbtools.data.images.files import (
    SPLITS,
    choose_classes,
    images_below,
    place_sound,
    read_image,
    report_on,
    subfolders,
)
from nbtools.data.images.sets import ImageSet, fitted, split_rows
from nbtools.errors import InputError
from nbtools.files import written

SEVERITIES = range(1, 6)
CIFAR_IMAGES = {"train": 50_000, "test": 10_000}
CUE_CONFLICT_IMAGES = 1280
_CIFAR_SIDE = 32
_CUE_CONFLICT = re.compile(r"([a-z]+)\d+-[a-z]+\d+\.png")
_QUIET = "TQDM_DISABLE" in os.environ or None  # None: without a terminal


# --- any folder ---------------------------------------------------------------------------------------------


def prepare_folder(
    source: Path, target: Path, classes: Sequence[str] | None = None, validation: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """Prepare any set of images that lies in one folder per class; images are linked (see `link`).

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
            wanted |= _places(folder, folder.parent.name if split else None, validation, seed)
        return report_on(wanted, place_sound(wanted, part), chosen)

    how = {} if split else {"validation": validation, "seed": seed}
    return build(target, {"source": str(source.resolve()), "classes": chosen, **how}, fill)


def _places(folder: Path, split: str | None, validation: float, seed: int) -> dict[str, Path]:
    """Say where a class's images go; without a split, a random share of them goes to ``val``."""
    files = images_below(folder)
    rows = split_rows(len(files), validation, seed)
    parts = {split: np.arange(len(files))} if split else {"train": rows["train"], "val": rows["validation"]}
    return {
        f"{name}/{folder.name}/{files[row].relative_to(folder).as_posix()}": files[row]
        for name, chosen in parts.items()
        for row in chosen
    }


# --- CIFAR-100 ----------------------------------------------------------------------------------------------


def unpack_cifar100(archive: Path, target: Path) -> pd.DataFrame:
    """Turn CIFAR-100's binary version into folders of PNG images; its test images are for validation.

    Parameters
    ----------
    archive : Path
        ``cifar-100-binary.tar.gz``: ``train.bin`` and ``test.bin``, records of a coarse label, a fine label and
        32 × 32 pixels plane by plane; and ``fine_label_names.txt``.
    target : Path
        Folder to make.

    Returns
    -------
    DataFrame
        As `report_on` gives it.

    Raises
    ------
    InputError
        If the archive is damaged, lacks a file, or one has another length, a label out of range or an odd name.
    """

    def fill(part: Path) -> pd.DataFrame:
        records, classes = _read_cifar(archive)
        places = {
            f"{split}/{classes[record[1]]}/{row:05d}.png": record
            for split, stem in zip(SPLITS, CIFAR_IMAGES, strict=True)
            for row, record in enumerate(records[stem])
        }
        with ThreadPoolExecutor() as pool:
            drawn = pool.map(lambda place: _draw_cifar(places[place], part / place), places)
            for _ in tqdm(drawn, "writing images", len(places), unit="image", leave=False, disable=_QUIET):
                pass
        return report_on(places, {}, classes)

    return build(target, {"archive": str(archive.resolve())}, fill)


def _read_cifar(archive: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    files: dict[str, bytes] = {}
    with intact(archive):
        for name, _, stream in contents(archive):
            files[PurePosixPath(name).name] = stream.read()
    classes = files.get("fine_label_names.txt", b"").decode("ascii", "replace").split()
    records, length = {}, 2 + 3 * _CIFAR_SIDE**2
    for stem, n in CIFAR_IMAGES.items():
        raw = files.get(f"{stem}.bin", b"")
        if len(raw) == n * length:
            records[stem] = np.frombuffer(raw, np.uint8).reshape(n, length)
    named = len(set(classes)) == 100 and all(re.fullmatch("[a-z_]+", name) for name in classes)
    if len(records) < len(CIFAR_IMAGES) or not named or any(labels[:, 1].max() > 99 for labels in records.values()):
        raise InputError(
            "this is not CIFAR-100's binary version",
            file=archive,
            expected=f"{', '.join(f'{stem}.bin of {n * length} bytes' for stem, n in CIFAR_IMAGES.items())}, "
            "labels from 0 to 99, fine_label_names.txt with 100 names",
            got=", ".join(f"{name} of {len(raw)} bytes" for name, raw in files.items()) or "nothing",
            fix="take cifar-100-binary.tar.gz, neither the Python nor the Matlab version",
        )
    return records, classes


def _draw_cifar(record: np.ndarray, place: Path) -> None:
    if not place.exists():
        with written(place) as beside:
            Image.fromarray(record[2:].reshape(3, _CIFAR_SIDE, _CIFAR_SIDE).transpose(1, 2, 0)).save(beside, "PNG")


# --- cue conflict -------------------------------------------------------------------------------------------


def unpack_cue_conflict(archive: Path, target: Path) -> pd.DataFrame:
    """Take the cue-conflict images of Geirhos et al. (2019) out of what they are published in.

    Parameters
    ----------
    archive : Path
        ``cue-conflict.tar.gz`` of model-vs-human, or a checkout or .tar.gz of the repository texture-vs-shape.
    target : Path
        Folder to make: ``<shape>/<shape><number>-<texture><number>.png``.

    Returns
    -------
    DataFrame
        One row per image, as `cue_conflict.cue_conflict_names` reads it from the name.

    Raises
    ------
    InputError
        If the archive is damaged, or does not hold 1,280 such images, all sound.
    """

    def fill(part: Path) -> pd.DataFrame:
        if archive.is_dir():
            places = {_cue_conflict_place(file.as_posix()): file for file in images_below(archive)}
            wanted = {place: file for place, file in places.items() if place}
            flaws = place_sound(wanted, part)
        else:
            wanted = unpack(archive, part, _cue_conflict_place)
            flaws = place_sound(wanted, part, Path.replace)
        if len(wanted) != CUE_CONFLICT_IMAGES or flaws:
            raise InputError(
                "these are not the cue-conflict images",
                file=archive,
                expected=f"{CUE_CONFLICT_IMAGES} sound images such as cat/cat4-truck3.png",
                got=f"{len(wanted)} images; damaged: {', '.join(flaws) or 'none'}",
                fix="take cue-conflict.tar.gz from model-vs-human's releases",
            )
        return cue_conflict_names(np.array(sorted(wanted)))

    return build(target, {"archive": str(archive.resolve())}, fill)


def _cue_conflict_place(name: str) -> str | None:
    path = PurePosixPath(name)
    found = _CUE_CONFLICT.fullmatch(path.name)
    return f"{found[1]}/{path.name}" if found and found[1] == path.parent.name else None


# --- corruptions --------------------------------------------------------------------------------------------


def corruptions(folder: Path) -> pd.DataFrame:
    """List the corruptions in a folder laid out as ImageNet-C is.

    Parameters
    ----------
    folder : Path
        Holds ``<corruption>/<severity>/<class>/*`` or ``<group>/<corruption>/<severity>/<class>/*``, severity 1 to 5.

    Returns
    -------
    DataFrame
        ``corruption``, ``severity`` (int) and ``path`` (below `folder`), sorted.

    Raises
    ------
    InputError
        If there is none, or one is there twice.
    """
    tops = [top for top in subfolders(folder) for top in (top, *subfolders(top)) if not top.name.isdecimal()]
    rows = [(top.name, severity, top / str(severity)) for top in tops for severity in SEVERITIES]
    table = pd.DataFrame([row for row in rows if row[2].is_dir()], columns=["corruption", "severity", "path"])
    if table.empty or table.duplicated(["corruption", "severity"]).any():
        raise InputError(
            "no corruptions, or one of them twice",
            file=folder,
            expected="<corruption>/<severity from 1 to 5>/<class>/<image>, as in ImageNet-C",
            got=f"{', '.join(str(path.relative_to(folder)) for path in table['path']) or 'no such folder'}",
            fix="unpack ImageNet-C's archives into this folder",
        )
    table["path"] = [path.relative_to(folder).as_posix() for path in table["path"]]
    return table.sort_values(["corruption", "severity"], ignore_index=True)


def load_corruption(folder: Path, corruption: str, severity: int, size: int, classes: Sequence[str]) -> ImageSet:
    """Read the images of one corruption at one severity, of some of its classes.

    Parameters
    ----------
    folder : Path
        As `corruptions` takes it.
    corruption, severity : str, int
        As `corruptions` lists them.
    size : int
        Side in pixels. ImageNet-C's images are cropped already: a square image is resized whole, another one is
        fitted as `images.load_folder` fits it.
    classes : sequence of str
        The classifier's, in its order; other classes are left out.

    Returns
    -------
    ImageSet
        Labels index `classes`; ids are ``<class>/<name>``, as in the clean set.

    Raises
    ------
    InputError
        If there is no such corruption, a class has no image there, or an image cannot be read.
    """
    table = corruptions(folder)
    match = table[(table["corruption"] == corruption) & (table["severity"] == severity)]
    place = folder / match["path"].iloc[0] if len(match) else folder
    files = {name: images_below(place / name) if len(match) else [] for name in classes}
    missing = [name for name, found in files.items() if not found]
    if missing:
        raise InputError(
            "the corrupted images lack classes" if len(match) else "there is no such corruption",
            file=place,
            expected=f"one of {', '.join(table['path'])}, with images of {', '.join(classes)}",
            got=f"{corruption} at {severity}, none of {', '.join(missing)}",
            fix="choose a corruption that is there, made from the classes the network knows",
        )
    every = [file for found in files.values() for file in found]
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(lambda file: _whole(read_image(file), size), every)
        pixels = torch.stack(list(tqdm(decoded, corruption, len(every), unit="image", leave=False, disable=_QUIET)))
    labels = torch.repeat_interleave(torch.tensor([len(found) for found in files.values()]))
    ids = np.array([file.relative_to(place).as_posix() for file in every])
    return ImageSet(pixels, labels, ids, tuple(classes))


def _whole(pixels: Tensor, size: int) -> Tensor:
    square = pixels.shape[1] == pixels.shape[2]
    return v2.resize(pixels, [size, size], antialias=True) if square else fitted(pixels, size)
