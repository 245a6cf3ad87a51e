"""Images of a study as one uint8 tensor, joined with responses by image id and augmented in batches."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.ops import roi_align
from torchvision.transforms.v2 import functional as v2
from tqdm.auto import tqdm

from nbtools.data.image_files import decode_image, read_image
from nbtools.data.packed import folder_source, packed, packed_stimuli
from nbtools.errors import InputError

Augmentation = Literal["none", "shift", "crop-flip"]
MEMORY_LIMIT = 8 * 2**30  # bytes of pixels kept in memory; a larger set is mapped from a packed file
LARGE = 2**29  # bytes of scanner images that are worth packing
NO_LABEL = -1
_QUIET = "TQDM_DISABLE" in os.environ or None  # None: without a terminal


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
        order = np.argsort(self.ids)
        found = order[np.searchsorted(self.ids, ids, sorter=order).clip(max=len(self) - 1)]
        missing = np.asarray(ids)[self.ids[found] != ids]
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
        return self.pixels.permute(0, 2, 3, 1).cpu().numpy()

    def to(self, device: torch.device) -> ImageSet:
        """Return the set with pixels and labels on a device."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))


def split_rows(n: int, fraction: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Set a random share of n rows apart for validation: sorted rows under ``train`` and ``validation``."""
    order = np.random.default_rng(seed).permutation(n)
    n_validation = round(n * fraction)
    return {"train": np.sort(order[n_validation:]), "validation": np.sort(order[:n_validation])}


def choose_rows(n: int, k: int, seed: int = 0) -> np.ndarray:
    """Choose k of n rows at random, sorted; all of them if there are no more than k."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:k])


def to_float(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels into floats in [0, 1]: the form every model takes."""
    return pixels.to(torch.float32).div_(255)


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
        If the file or its dataset is missing or malformed, or an id is out of range.
    """
    ids = np.asarray(image_ids)
    try:
        with h5py.File(file, "r") as store:
            brick = _image_brick(store, file, ids)
            large = len(ids) * math.prod(brick.shape[1:]) > LARGE
            pixels = packed_stimuli(brick, ids, size) if large else _read_stimuli(brick, ids, size)
    except OSError as error:
        raise InputError(
            "the stimuli cannot be read",
            file=file,
            expected="an HDF5 file with the dataset imgBrick",
            got=error,
            fix="fetch nsd_stimuli.hdf5 again, or make the simulated study",
        ) from error
    return ImageSet(pixels, torch.full((len(ids),), NO_LABEL), ids, ())


def _read_stimuli(brick: h5py.Dataset, ids: np.ndarray, size: int) -> Tensor:
    pixels = torch.empty((len(ids), 3, size, size), dtype=torch.uint8)
    for row in tqdm(np.argsort(ids), desc="scanner images", leave=False, disable=_QUIET):  # in file order
        pixels[row] = _resized(torch.from_numpy(brick[ids[row]]).permute(2, 0, 1), size)
    return pixels


def _image_brick(store: h5py.File, file: Path, ids: np.ndarray) -> h5py.Dataset:
    brick = store.get("imgBrick")
    if brick is None or brick.ndim != 4 or brick.shape[3] != 3 or brick.dtype != np.uint8:
        raise InputError(
            "the stimuli have another form",
            file=file,
            expected="imgBrick, uint8, (n, height, width, 3)",
            got=f"{sorted(store)}" if brick is None else f"{brick.dtype}, {brick.shape}",
            fix="use NSD's nsd_stimuli.hdf5 as released",
        )
    if ids.size == 0 or ids.min() < 0 or ids.max() >= len(brick):
        raise InputError(
            "image ids out of range",
            file=file,
            expected=f"at least one id, all from 0 to {len(brick) - 1}",
            got=f"{ids.min()} to {ids.max()}" if ids.size else "no id",
            fix="check that the design file and the stimuli are of the same study",
        )
    return brick


def _resized(pixels: Tensor, size: int) -> Tensor:
    return pixels if pixels.shape[-2:] == (size, size) else v2.resize(pixels, [size, size], antialias=True)


def load_folder(folder: Path, size: int, *, memory_limit: int = MEMORY_LIMIT) -> ImageSet:
    """Read an ImageFolder tree (``<class>/<image>``).

    An image of ``size × size`` is taken as it is; any other is resized to 8/7 of `size` (shorter side) and
    its centre cropped, as ImageNet validation does for 224 px.

    Parameters
    ----------
    folder : Path
        Holds one folder per class.
    size : int
        Side in pixels.
    memory_limit : int
        Bytes. A set larger than this is decoded once into a packed file and mapped from there (`nbtools.data.packed`).

    Returns
    -------
    ImageSet
        Sorted by class and file name; ids are paths relative to `folder`.

    Raises
    ------
    InputError
        If there is no class folder, a class is empty, or a file is not a readable image.
    """
    try:
        tree = ImageFolder(str(folder))
    except OSError as error:  # no class, a class without an image, a link that leads in a circle
        raise InputError(
            "no images in ImageFolder layout",
            file=folder,
            expected="<class>/<image> with at least one image per class",
            got=str(error).splitlines()[0],
            fix="sort the images into one folder per class",
        ) from error
    files = [Path(name) for name, _ in tree.samples]
    names = [file.relative_to(folder).as_posix() for file in files]
    _check_names(folder, names)
    labels = torch.tensor([label for _, label in tree.samples])
    n_bytes = len(files) * 3 * size * size
    if n_bytes <= memory_limit:
        pixels = _decode(files, size)
    else:
        source = folder_source(folder, names, lambda raw, file: fitted(decode_image(raw, file), size))
        pixels = packed(source, size)
    return ImageSet(pixels, labels, np.array(names), tuple(tree.classes))


def _check_names(folder: Path, names: list[str]) -> None:
    """Names become ids in tables, which hold text; a link to a folder above would list every image under many names."""
    parents = {(folder / name).parent for name in names}
    twice = len({parent.resolve() for parent in parents}) < len(parents)
    odd = [name for name in names if not name.isascii() and re.search("[\ud800-\udfff]", name)]
    if twice or odd:
        raise InputError(
            "these images cannot be told by their names",
            file=folder,
            expected="names in UTF-8, and every folder once",
            got=f"e.g. {odd[0]!r}" if odd else "a link to a folder that is in the set already",
            fix="rename the files, or remove the link",
        )


def fitted(pixels: Tensor, size: int) -> Tensor:
    """Bring uint8 pixels (3, height, width) to ``size × size``, as `load_folder` says."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    return v2.center_crop(v2.resize(pixels, [round(size * 8 / 7)], antialias=True), [size, size])


def _decode(files: list[Path], size: int) -> Tensor:
    pixels = torch.empty((len(files), 3, size, size), dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(lambda file: fitted(read_image(file), size), files)
        bar = tqdm(decoded, total=len(files), desc="images", unit="image", leave=False, disable=_QUIET)
        for row, image in enumerate(bar):
            pixels[row] = image
    return pixels


def draw_boxes(augmentation: Augmentation, n: int, generator: torch.Generator) -> Tensor:
    """Draw one random view per image, on the CPU, so that every device and process sees the same views.

    Parameters
    ----------
    augmentation : {"none", "shift", "crop-flip"}
        Nothing; a shift of up to 1/16 of the side; torchvision's RandomResizedCrop and a horizontal flip.
    n : int
        Number of images.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor
        Shape (n, 5): left, top, right, bottom as fractions of the side, and 1 where the image is flipped.
    """
    box = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0]).repeat(n, 1)
    if augmentation == "shift":
        shift = (torch.rand((n, 2), generator=generator) * 2 - 1) / 16
        box[:, :4] += shift.repeat(1, 2)
    elif augmentation == "crop-flip":
        box[:, :4] = _resized_crops(n, generator)
        box[:, 4] = torch.rand(n, generator=generator) < 0.5
    elif augmentation != "none":
        raise InputError(
            "unknown augmentation",
            expected="none, shift or crop-flip",
            got=repr(augmentation),
            fix="use one of these",
        )
    return box


def _resized_crops(n: int, generator: torch.Generator, tries: int = 10) -> Tensor:
    """Sample as torchvision's RandomResizedCrop does (area .08–1, aspect 3/4–4/3), all images at once."""
    area = 0.08 + 0.92 * torch.rand((n, tries), generator=generator)
    aspect = torch.exp((2 * torch.rand((n, tries), generator=generator) - 1) * math.log(4 / 3))
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=-1)
    fits = (sides <= 1).all(-1)
    fits[:, -1] = True  # the last try is clipped when none fits
    sides = sides[torch.arange(n), fits.int().argmax(1)].clamp(max=1)
    corner = torch.rand((n, 2), generator=generator) * (1 - sides)
    return torch.cat([corner, corner + sides], dim=1)


def augment(pixels: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut each image's view out of it, in one batch, on the device of `pixels`.

    Parameters
    ----------
    pixels : Tensor
        uint8, shape (n, 3, side, side).
    boxes : Tensor
        Shape (n, 5), from `draw_boxes`.
    size : int
        Side of the result in pixels.

    Returns
    -------
    Tensor
        float32 in [0, 1], shape (n, 3, size, size). A whole-pixel shift is exact, with mirrored borders. A crop is
        resized with antialiasing as torchvision's RandomResizedCrop does it; on a GPU it is averaged from four bilinear
        samples per pixel, all images at once.
    """
    side, corners = pixels.shape[-1], boxes[:, :4]
    extent = corners[:, 2:] - corners[:, :2]
    if whole := torch.allclose(extent, torch.ones_like(extent)):
        pixels = _shifted(pixels, (corners[:, :2] * side).round().long())
        boxes = torch.cat([torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand_as(corners), boxes[:, 4:]], dim=1)
    if not pixels.is_cuda and not (whole and side == size):
        return _cut(pixels, boxes, size)
    views = to_float(pixels) if whole and side == size else _cut_on_gpu(pixels, boxes[:, :4], size)
    flip = boxes[:, 4].bool()
    return torch.where(flip.to(views.device)[:, None, None, None], views.flip(-1), views) if flip.any() else views


def _cut(pixels: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut, resize and flip image by image on all of torch's threads: on a CPU this beats sampling all at once by far."""
    edges = (boxes[:, :4] * pixels.shape[-1]).round().long()
    edges[:, 2:] = edges[:, 2:].maximum(edges[:, :2] + 1)
    corners, flips, n_threads = edges.tolist(), boxes[:, 4].tolist(), torch.get_num_threads()
    views = torch.empty((len(pixels), 3, size, size))

    def cut(first: int) -> None:
        for row in range(first, len(pixels), n_threads):
            left, top, right, bottom = corners[row]
            view = v2.resize(pixels[row, :, top:bottom, left:right], [size, size], antialias=True)
            views[row].copy_(view.flip(-1) if flips[row] else view).div_(255)

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(cut, range(n_threads)))
    return views


def _cut_on_gpu(pixels: Tensor, corners: Tensor, size: int) -> Tensor:
    frame = torch.arange(len(pixels), dtype=torch.float32)[:, None]
    regions = torch.cat([frame, corners * pixels.shape[-1]], dim=1).to(pixels.device)
    return roi_align(to_float(pixels), regions, (size, size), sampling_ratio=2, aligned=True).clamp_(0, 1)


def _shifted(pixels: Tensor, shift: Tensor) -> Tensor:
    """Move each image by whole pixels (n, 2: x, y), mirroring at the border."""
    n, channels, side, _ = pixels.shape
    moved = (torch.arange(side) + shift[:, :, None]).abs()  # (n, 2, side); uint8 padding has no CUDA kernel
    mirrored = (side - 1 - (side - 1 - moved).abs()).to(pixels.device)
    image = torch.arange(n, device=pixels.device)[:, None, None, None]
    channel = torch.arange(channels, device=pixels.device)[:, None, None]
    return pixels[image, channel, mirrored[:, 1, None, :, None], mirrored[:, 0, None, None, :]]
