"""Images from elsewhere: of a study's classes in ImageNet-V2's, -R's or -Sketch's layout, and of other categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from nbtools.checks import check_counts
from nbtools.data.images.corruptions import whole
from nbtools.data.images.counterparts import counterparts
from nbtools.data.images.files import check_side, read_image
from nbtools.data.images.folders import SPLITS, check_splits, class_files
from nbtools.data.images.ilsvrc import ILSVRC
from nbtools.data.images.sets import ImageSet, load_folder, read_classes
from nbtools.errors import InputError

_APART = "put each image into one of the two folders alone"


def load_other_images(folder: Path, size: int, classes: Sequence[str]) -> tuple[ImageSet, dict[str, list[str]]]:
    """Read other images of a study's classes.

    Parameters
    ----------
    folder : Path
        Holds a folder per class: named as the study's class or one of its counterparts (`counterparts`), such as its
        synset, as in ImageNet-R and ImageNet-Sketch; or, all of them, by ImageNet's numbers, as in ImageNet-V2.
    size : int
        Side in pixels. A square image is resized whole, another one is fitted as `load_folder` fits it.
    classes : sequence of str
        The study's, in its order.

    Returns
    -------
    ImageSet
        Labels index `classes`, some of which may have no image; ids are paths relative to `folder`.
    dict of str → list of str
        What was left out: ``"folders"`` of other classes, ``"classes"`` without a folder.

    Raises
    ------
    InputError
        If no folder is of one of the classes, one that is has no image or would be of two, or as `load_folder`.
    """
    check_side(size)
    found = class_files(folder)
    names = list(found)
    members = counterparts(_synsets(names, classes), classes)
    files = {name: [file for i in own for file in found[names[i]]] for name, own in zip(classes, members, strict=True)}
    taken = {names[i] for own in members for i in own}
    empty = [name for name in taken if not found[name]]
    if not taken or empty:
        raise InputError(
            "no images of the study's classes",
            file=folder,
            expected=f"<class>/<image>, a folder named as {', '.join(classes[:5])} … or by their synsets, none empty",
            got=f"no image in {', '.join(sorted(empty)[:20])}" if empty else ", ".join(names[:20]) or "no folder",
            fix="point to the folder that holds the classes' folders, and unpack its archive again if one is empty",
        )
    images = read_classes(folder, files, lambda file: whole(read_image(file), size), folder.name)
    return images, {
        "folders": [name for name in names if name not in taken],
        "classes": [name for name, own in files.items() if not own],
    }


def _synsets(names: list[str], classes: Sequence[str]) -> list[str]:
    """Return the synsets of ImageNet's numbers, where all names are such and none is a class's; else the names."""
    numbers = {str(i): synset for i, synset in enumerate(ILSVRC)}
    known = numbers.keys() >= set(names) and set(names).isdisjoint(classes)
    return [numbers[name] for name in names] if known else names


def name_sets(folders: Sequence[Path], taken: Iterable[str] = ()) -> dict[str, Path]:
    """Name sets of images by their folders, with as much of the paths as tells them apart.

    Parameters
    ----------
    folders : sequence of Path
        One of each set; one that is named twice is one set.
    taken : iterable of str
        What other sets are called.

    Returns
    -------
    dict of str → Path
        ``photos``, or ``a/photos`` and ``b/photos`` where there are two.
    """
    folders, taken = list(dict.fromkeys(folder.absolute() for folder in folders)), set(taken)
    ends = {folder: [folder.parts[-n:] for n in range(1, len(folder.parts) + 1)] for folder in folders}
    times = Counter(end for own in ends.values() for end in own)
    free = {folder: ("/".join(end) for end in own if times[end] == 1) for folder, own in ends.items()}
    return {next(name for name in names if name not in taken): folder for folder, names in free.items()}


def load_categories(folder: Path, size: int, classes: Sequence[str]) -> dict[str, ImageSet]:
    """Read images of categories that networks were not trained on.

    Parameters
    ----------
    folder : Path
        Holds ``train/<category>/*`` and ``val/<category>/*``, of the same categories.
    size : int
        Side in pixels, as for `load_folder`.
    classes : sequence of str
        The networks'.

    Returns
    -------
    dict of str → ImageSet
        ``"train"``, to fit a new head on, and ``"val"``, to test it with.

    Raises
    ------
    InputError
        If one of the categories is a class of the networks (`counterparts`), all images of ``val`` are among those of
        ``train``, or as `load_folder`.
    """
    check_splits(folder)
    sets = {split: load_folder(folder / split, size) for split in SPLITS}
    known = [i for own in counterparts(sets["train"].classes, classes) for i in own]
    names = ", ".join(sets["train"].classes[i] for i in known[:20])
    fix = "leave these out: their head would not be new"
    check_counts(f"categories are not new: {folder}", {f"known ones: {names}": len(known)}, expected="others", fix=fix)
    seen = {image.tobytes() for image in sets["train"].to_numpy()}
    same = sum(image.tobytes() in seen for image in sets["val"].to_numpy())
    again = {"images of val that train has, too: all of them": same if same == len(sets["val"]) else 0}
    check_counts(f"nothing is left to test on: {folder}", again, expected="other images in val", fix=_APART)
    return sets
