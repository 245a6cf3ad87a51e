"""Views of images for training: random crops, shifts and flips, drawn on the CPU and cut out in batches."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, get_args

import torch
from torch import Tensor
from torchvision.ops import roi_align
from torchvision.transforms.v2 import functional as v2

from nbtools.checks import check_choice
from nbtools.data.images.sets import to_float

Augmentation = Literal["none", "shift", "crop-flip"]


def take(pixels: Tensor, rows: Tensor) -> Tensor:
    """Return some images (rows, 3, h, w): whole rows are copied, four times as fast as indexing does it on a CPU."""
    return pixels.index_select(0, rows.to(pixels.device))


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
    check_choice("unknown augmentation", augmentation, get_args(Augmentation))
    box = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0]).repeat(n, 1)
    if augmentation == "shift":
        shift = (torch.rand((n, 2), generator=generator) * 2 - 1) / 16
        box[:, :4] += shift.repeat(1, 2)
    elif augmentation == "crop-flip":
        box[:, :4] = _resized_crops(n, generator)
        box[:, 4] = torch.rand(n, generator=generator) < 0.5
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
    """Cut, resize and flip image by image on all of torch's threads: on a CPU, far faster than sampling all at once."""
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
