"""ImageNet (ILSVRC 2012): the classes of the study, taken out of the folders or archives in which it is kept."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import scipy.io

from nbtools.checks import as_names, listed, reading
from nbtools.data.archives import build, contents, read_files, unpack
from nbtools.data.images.folders import SPLITS, images_below, is_image
from nbtools.data.images.prepare import choose_classes, place_sound, places_in, report_on
from nbtools.errors import InputError

# The classes of the study, in its order; names as torchvision and Keras give them.
SYNSETS = {
    "n04228054": "ski",
    "n04039381": "racket",
    "n09835506": "ballplayer",
    "n02391049": "zebra",
    "n07873807": "pizza",
    "n03761084": "microwave",
    "n06874185": "traffic light",
    "n04487081": "trolleybus",
    "n04447861": "toilet seat",
    "n02690373": "airliner",
    "n04507155": "umbrella",
    "n04553703": "washbasin",
    "n06794110": "street sign",
    "n03895866": "passenger car",
    "n09428293": "seashore",
    "n02403003": "ox",
    "n07579787": "plate",
    "n03873416": "paddle",
    "n02504458": "African elephant",
    "n03891251": "park bench",
    "n07753592": "banana",
    "n02825657": "bell cote",
    "n07697537": "hotdog",
    "n04081281": "restaurant",
    "n02504013": "Indian elephant",
    "n03272562": "electric locomotive",
    "n03785016": "moped",
    "n03888257": "parachute",
    "n02412080": "ram",
    "n04399382": "teddy",
    "n04552348": "warplane",
    "n04522168": "vase",
    "n07714990": "broccoli",
    "n04509417": "unicycle",
    "n02389026": "sorrel",
    "n03642806": "laptop",
    "n03742115": "medicine chest",
    "n02776631": "bakery",
    "n02423022": "gazelle",
    "n04033995": "quilt",
    "n03201208": "dining table",
    "n02437616": "llama",
    "n03216828": "dock",
    "n04344873": "studio couch",
    "n04335435": "streetcar",
    "n04350905": "suit",
    "n02708093": "analog clock",
    "n04254680": "soccer ball",
    "n04404412": "television",
    "n09193705": "alp",
}
EXPECTED = {"train": 1300, "val": 50}  # images per class; some classes have fewer for training (732 at least)
VALIDATION_IMAGES = 50_000
DEVKIT = "ILSVRC2012_devkit_t12"
_SYNSET = r"n\d{8}"
_DEVKIT_FILES = ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")
_ROOTS = (".", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # Kaggle's archive, unpacked whole or within its top folder
# What SciPy and pandas raise where a file of labels is of another kind, ends early or is damaged.
_UNTOLD = (
    *(ValueError, TypeError, LookupError, NotImplementedError),
    *(OSError, EOFError, zlib.error, scipy.io.matlab.MatReadError),
)
_FIX = (
    "point to the folder that holds train and val, or ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit"
)


def prepare_imagenet(source: Path, target: Path, classes: Sequence[str] = tuple(SYNSETS)) -> pd.DataFrame:
    """Take some classes out of ImageNet.

    Training and validation images may each lie in folders or in an archive:

    - ``train/<synset>/*``, ``val/<synset>/*``, also below Kaggle's ``ILSVRC/Data/CLS-LOC``: they are linked (`link`);
    - ``val/*.JPEG`` with the devkit (folder or .tar.gz) or Kaggle's ``LOC_val_solution.csv``, which tell the classes;
    - ``ILSVRC2012_img_train.tar``, ``ILSVRC2012_img_val.tar`` (with the devkit): only wanted images are unpacked.

    Every image is decoded once; what is damaged is left out and reported. ImageNet's few CMYK images, and its PNG
    named ``.JPEG``, are sound.

    Parameters
    ----------
    source : Path
        Folder of the above. Nothing in it is changed.
    target : Path
        Folder to make: ``train/<synset>/*``, ``val/<synset>/*`` and ``report.parquet``.
    classes : sequence of str
        2 to 1000 synsets, such as ``n02391049``.

    Returns
    -------
    DataFrame
        One row per split and class: ``split``, ``class``, ``name``, ``images``, ``expected`` (in the whole ImageNet),
        ``left_out`` (list of name and reason). Also printed.

    Raises
    ------
    InputError
        If images or labels are not found, an archive is damaged, a class has no sound image, or something else lies
        at `target`.
    """
    classes = as_names(classes)
    chosen = choose_classes(set(classes), classes, source)
    odd = [name for name in chosen if not re.fullmatch(_SYNSET, name)]
    if odd:
        raise InputError("these are no synsets", expected="n and 8 digits", got=odd, fix="see imagenet.SYNSETS")

    def fill(part: Path) -> pd.DataFrame:
        wanted: dict[str, Path] = {}
        for split in SPLITS:
            wanted |= _find(source, split, chosen, part)
        report = report_on(wanted, place_sound(wanted, part), chosen)
        report.insert(2, "name", [SYNSETS.get(name, name) for name in report["class"]])
        report.insert(4, "expected", report["split"].map(EXPECTED))
        return report

    report = build(target, {"source": str(source.resolve()), "classes": chosen}, fill)
    print(_summary(report))
    return report


def _summary(report: pd.DataFrame) -> str:
    counts = report.pivot(index=["class", "name"], columns="split", values="images")[list(SPLITS)]
    short = [f"{split} {report.loc[report['split'] == split, 'images'].sum()}" for split in SPLITS]
    left_out = [f"{row.split}/{row[2]}/{flaw}" for row in report.itertuples() for flaw in row.left_out]
    lines = [counts.to_string(), f"images: {', '.join(short)}; left out: {len(left_out)}", *left_out]
    return "\n".join(lines)


# --- where the images are -----------------------------------------------------------------------------------


def _find(source: Path, split: str, classes: Sequence[str], part: Path) -> dict[str, Path]:
    """Give the place of each wanted image and its file, unpacked if need be."""
    for root in (source / place / split for place in _ROOTS):
        if any((root / name).is_dir() for name in classes):
            return _sorted_images(root, split, classes)
        flat = sorted(root.glob("ILSVRC2012_val_*.JPEG")) if split == "val" else []
        if flat:
            place_of = _validation_places(source, classes)
            return {place: file for file in flat if (place := place_of(file.name))}
    archive = source / f"ILSVRC2012_img_{split}.tar"
    if not archive.is_file():
        raise InputError(
            f"no ImageNet images for {split}",
            file=source,
            expected=f"{split}/<synset>/* of one of the classes, or {archive.name}",
            got=listed(sorted(place.name for place in source.iterdir())) if source.is_dir() else "no folder",
            fix=_FIX,
        )
    if split == "train":
        return _unpack_train(archive, part, classes)
    return unpack(archive, part, _validation_places(source, classes))


def _sorted_images(root: Path, split: str, classes: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in (root / name for name in classes):
        found |= places_in(split, folder, images_below(folder))
    return found


def _unpack_train(archive: Path, part: Path, classes: Sequence[str]) -> dict[str, Path]:
    """Unpack an archive of archives, one per class; those that are not wanted are passed over."""
    found: dict[str, Path] = {}
    for name, _, stream in contents(archive):
        inner = PurePosixPath(name)
        if inner.suffix == ".tar" and inner.stem in classes:
            found |= unpack(archive, part, partial(_training_place, inner.stem), stream)
    return found


def _training_place(synset: str, name: str) -> str | None:
    file = PurePosixPath(name).name
    return f"train/{synset}/{file}" if is_image(file) else None


def _validation_places(source: Path, classes: Sequence[str]) -> Callable[[str], str | None]:
    """Read the validation images' classes; return what says where an image goes by its name, if it is wanted."""
    known = validation_labels(source)

    def place_of(name: str) -> str | None:
        file = PurePosixPath(name)
        if not re.fullmatch(r"ILSVRC2012_val_\d{8}\.JPEG", file.name):
            return None
        with _telling(source):
            synset = known[file.stem]
        return f"val/{synset}/{file.name}" if synset in classes else None

    return place_of


# --- which class a validation image has ---------------------------------------------------------------------


def validation_labels(source: Path) -> dict[str, str]:
    """Read the synset of each validation image, by its name without ``.JPEG``.

    Parameters
    ----------
    source : Path
        Holds Kaggle's ``LOC_val_solution.csv``, or ``ILSVRC2012_devkit_t12`` as a folder or .tar.gz.

    Raises
    ------
    InputError
        If there is neither, or it cannot be read or does not label 50,000 images.
    """
    table = source / "LOC_val_solution.csv"
    with _telling(source):
        known = _kaggle_labels(table) if table.is_file() else _devkit_labels(_devkit_files(source))
        odd = [name for name, synset in known.items() if not re.fullmatch(_SYNSET, synset)]
        if len(known) != VALIDATION_IMAGES or odd:
            raise ValueError(f"labels of {len(known)} images; that of {odd[0] if odd else 'none'} is no synset")
    return known


def _telling(source: Path) -> AbstractContextManager[None]:
    return reading(
        "the classes of the validation images cannot be told",
        *_UNTOLD,
        file=source,
        expected=f"{DEVKIT} with data/{' and data/'.join(_DEVKIT_FILES)}, as a folder or .tar.gz, or "
        f"LOC_val_solution.csv; labels of {VALIDATION_IMAGES} images",
        fix=f"download {DEVKIT}.tar.gz again and put it beside the images",
    )


def _kaggle_labels(table: Path) -> dict[str, str]:
    """Read lines of an image's name, and its synset and box as often as there are objects, all of one synset."""
    rows = pd.read_csv(table, usecols=["ImageId", "PredictionString"], dtype=str, keep_default_na=False)
    return {name: text.split()[0] for name, text in zip(rows["ImageId"], rows["PredictionString"], strict=True)}


def _devkit_files(source: Path) -> dict[str, bytes]:
    folder, archive = source / DEVKIT / "data", source / f"{DEVKIT}.tar.gz"
    if folder.is_dir() or not archive.is_file():
        return {name: (folder / name).read_bytes() for name in _DEVKIT_FILES}
    files = read_files(archive)
    return {name: files[name] for name in _DEVKIT_FILES}


def _devkit_labels(files: dict[str, bytes]) -> dict[str, str]:
    """Join the number of each image's class (line i: image i) with the synset of that number."""
    meta, truth = (files[name] for name in _DEVKIT_FILES)
    table = np.atleast_1d(scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True, variable_names=["synsets"])["synsets"])
    synsets = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table}
    return {f"ILSVRC2012_val_{i:08d}": synsets[int(number)] for i, number in enumerate(truth.split(), 1)}
