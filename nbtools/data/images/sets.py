"""Images of a study as one uint8 tensor, joined with responses by image id."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nbtools.checks import check_names, check_range, listed
from nbtools.data.images.files import check_side, decode_image, fitted, on_all_cores
from nbtools.data.images.folders import class_files
from nbtools.data.images.packed import Source, folder_source, packed, stimuli_source
from nbtools.data.images.stimuli import opened_stimuli
from nbtools.errors import InputError

MEMORY_LIMIT = 8 * 2**30  # bytes of pixels kept in memory; a larger set is mapped from a packed file
LARGE = 2**29  # bytes of scanner images that are worth packing
NO_LABEL = -1


@dataclass(frozen=True)
class ImageSet:
    """Images with their ids and labels.

    Attributes
    ----------
    pixels : Tensor
        uint8, shape (n_images, 3, height, width), RGB.
    labels : Tensor
        int64, shape (n_images,): index into `classes`, or -1 for an image without a class.
    ids : ndarray
        Shape (n_images,): stimulus numbers (NSD) or paths relative to the folder. Unique.
    classes : tuple of str
        Class names.

    Raises
    ------
    InputError
        If lengths, types or ids do not agree.
    """

    pixels: Tensor
    labels: Tensor
    ids: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.ids)
        sound = (
            self.pixels.dtype == torch.uint8
            and self.pixels.ndim == 4
            and self.pixels.shape[:2] == (n, 3)
            and self.labels.shape == (n,)
            and self.labels.dtype == torch.int64
        )
        if not sound or n == 0:
            raise InputError(
                "pixels, labels and ids do not belong together",
                expected="pixels (n, 3, h, w) uint8, labels (n,) int64, ids (n,), n > 0",
                got=f"{tuple(self.pixels.shape)} {self.pixels.dtype}, {tuple(self.labels.shape)} "
                f"{self.labels.dtype}, {self.ids.shape}",
                fix="build the set with load_folder or load_stimuli",
            )
        if len(np.unique(self.ids)) != n:
            raise InputError("image ids repeat", expected=f"{n} ids", got=len(np.unique(self.ids)), fix="drop copies")
        if self.labels.max() >= len(self.classes) or self.labels.min() < NO_LABEL:
            raise InputError(
                "labels and classes do not match",
                expected=f"labels from {NO_LABEL} to {len(self.classes) - 1}",
                got=f"{int(self.labels.min())} to {int(self.labels.max())}",
                fix="pass the classes the labels index",
            )

    @property
    def class_names(self) -> list[str]:
        """The name of each image's class; all images must have one."""
        return [self.classes[label] for label in self.labels.tolist()]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: np.ndarray | Sequence[int] | slice) -> ImageSet:
        """Return the images at these rows, in this order."""
        chosen = torch.as_tensor(np.arange(len(self))[rows])
        return replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen], ids=self.ids[chosen.numpy()])

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return the row of each id: how responses and images are joined.

        Raises
        ------
        InputError
            If an id is not in the set.
        """
        found = pd.Index(self.ids).get_indexer(ids)  # -1: missing
        missing = np.asarray(ids)[found < 0]
        if missing.size:
            raise InputError(
                f"{missing.size} image ids are not in this set",
                expected="every id of the responses among the images",
                got=f"e.g. {missing[0]!r}",
                fix="load the images of the same study and subject as the responses",
            )
        return found

    def to_numpy(self) -> np.ndarray:
        """Return the pixels as figures take them: uint8, shape (n_images, height, width, 3)."""
        return to_pictures(self.pixels)

    def to(self, device: torch.device) -> ImageSet:
        """Return the set with pixels and labels on a device."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))


def joined(first: ImageSet, second: ImageSet) -> ImageSet:
    """Put two sets of the same classes and size together, the first one's rows first; ids become text.

    Raises
    ------
    InputError
        If classes or sizes differ, or an id is in both.
    """
    fix = "load both at one size, and label both by the same classes"
    check_names("the image sets do not go together", second.classes, first.classes, fix=fix)
    if first.pixels.shape[1:] != second.pixels.shape[1:]:
        raise InputError(
            "the image sets do not go together",
            expected=f"pixels {tuple(first.pixels.shape[1:])}",
            got=f"pixels {tuple(second.pixels.shape[1:])}",
            fix=fix,
        )
    return ImageSet(
        torch.cat([first.pixels, second.pixels]),
        torch.cat([first.labels, second.labels]),
        np.concatenate([first.ids.astype(str), second.ids.astype(str)]),
        first.classes,
    )


def split_rows(n: int, fraction: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Set a random share of n rows apart for validation: sorted rows under ``train`` and ``validation``."""
    check_range("the share to validate on", fraction, 0, 1)
    order = np.random.default_rng(seed).permutation(n)
    n_validation = round(n * fraction)
    return {"train": np.sort(order[n_validation:]), "validation": np.sort(order[:n_validation])}


def choose_rows(n: int, k: int, seed: int = 0) -> np.ndarray:
    """Choose k of n rows at random, sorted (k,); all of them if there are no more than k."""
    check_range("the number of rows", k, 0)
    return np.sort(np.random.default_rng(seed).permutation(n)[:k])


def to_float(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels into floats in [0, 1]: the form every model takes."""
    return pixels.to(torch.float32).div_(255)


def to_pictures(x: Tensor) -> np.ndarray:
    """Turn what a model takes (n, 3, height, width) into what figures take (n, height, width, 3)."""
    return x.permute(0, 2, 3, 1).cpu().numpy()


def load_stimuli(file: Path, image_ids: np.ndarray, size: int) -> ImageSet:
    """Read scanner images.

    Parameters
    ----------
    file : Path
        HDF5 with the dataset ``imgBrick``: NSD's ``nsd_stimuli.hdf5``, or one's own (`Study.stimuli`).
    image_ids : ndarray
        Shape (n_images,): 0-based rows of ``imgBrick``.
    size : int
        Side in pixels; images of another size are resized (bilinear, antialiased).

    Returns
    -------
    ImageSet
        Without labels, in the order of `image_ids`. Many large images are decoded once into a packed file.

    Raises
    ------
    InputError
        If the file or its dataset is missing or malformed, an id is out of range, or images cannot have the size.
    """
    check_side(size)
    ids = np.asarray(image_ids)
    with opened_stimuli(file) as brick:
        _check_ids(ids, file, len(brick))
        source = stimuli_source(brick, ids, size)
        large = len(ids) * max(math.prod(brick.shape[1:]), 3 * size * size) > LARGE
        pixels = packed(source, size) if large else _in_memory(source, size)
    return ImageSet(pixels, torch.full((len(ids),), NO_LABEL), ids, ())


def _check_ids(ids: np.ndarray, file: Path, n_images: int) -> None:
    if ids.size == 0 or ids.min() < 0 or ids.max() >= n_images:
        raise InputError(
            "image ids out of range",
            file=file,
            expected=f"at least one id, all from 0 to {n_images - 1}",
            got=f"{ids.min()} to {ids.max()}" if ids.size else "no id",
            fix="check that the design file and the stimuli are of the same study",
        )


def load_folder(folder: Path, size: int, *, memory_limit: int = MEMORY_LIMIT) -> ImageSet:
    """Read an ImageFolder tree (``<class>/<image>``).

    An image is read as `decode_image` says; one of another size is resized and its centre cropped, as `fitted` says.
    Hidden files and folders are none of it, nor are those that systems leave behind (``@eaDir``, ``__MACOSX``).

    Parameters
    ----------
    folder : Path
        Holds one folder per class.
    size : int
        Side in pixels.
    memory_limit : int
        Bytes. A set larger than this is decoded once into a packed file and mapped from there (see `packed`).

    Returns
    -------
    ImageSet
        Sorted by class and file name; ids are paths relative to `folder`.

    Raises
    ------
    InputError
        If there is no class folder, a class is empty, a file is not a readable image, or images cannot have the size.
    """
    check_side(size)
    files = class_files(folder)
    empty = [name for name, found in files.items() if not found]
    if empty or not files:
        raise InputError(
            "no images in ImageFolder layout",
            file=folder,
            expected="<class>/<image> with at least one image per class",
            got=f"no image in {listed(empty)}" if empty else "no class folder",
            fix="sort the images into one folder per class",
        )
    names = [file.relative_to(folder).as_posix() for found in files.values() for file in found]
    source = folder_source(folder, names, lambda raw, file: fitted(decode_image(raw, file), size))
    large = len(names) * 3 * size * size > memory_limit
    pixels = packed(source, size) if large else _in_memory(source, size)
    labels = torch.repeat_interleave(torch.tensor([len(found) for found in files.values()]))
    return ImageSet(pixels, labels, np.array(names), tuple(files))


def read_classes(
    folder: Path, files: Mapping[str, Sequence[Path]], read: Callable[[Path], Tensor], what: str
) -> ImageSet:
    """Read the files of each class.

    Parameters
    ----------
    folder : Path
        Ids are paths relative to it.
    files : mapping of str → sequence of Path
        Of each class, in the order of the labels; a class may have none.
    read : callable
        Gives the pixels (3, side, side), uint8, of a file.
    what : str
        What a progress bar says.
    """
    every = [file for found in files.values() for file in found]
    labels = torch.repeat_interleave(torch.tensor([len(found) for found in files.values()]))
    ids = np.array([file.relative_to(folder).as_posix() for file in every])
    return ImageSet(torch.stack(on_all_cores(read, every, what)), labels, ids, tuple(files))


def _in_memory(source: Source, size: int) -> Tensor:
    pixels = torch.empty((len(source.names), 3, size, size), dtype=torch.uint8)

    def decode(row: int) -> None:
        name = source.names[row]
        pixels[row] = source.decode(source.content(name), source.place / name)

    on_all_cores(decode, range(len(pixels)) if source.order is None else source.order, "images")
    return pixels
