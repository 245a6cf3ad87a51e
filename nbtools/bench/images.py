"""Reading images: views for training, from packed images and from JPEGs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from nbtools.bench.measure import Row, row, scratch, timed
from nbtools.data.images.packed import pack_file
from nbtools.data.images.sets import load_folder
from nbtools.data.images.views import augment, draw_boxes, take
from nbtools.processes import Bar


def compare_packed() -> Row:
    """Views of 224 px for training, from the second epoch on: packed images, against ImageFolder and DataLoader."""
    with scratch() as folder:
        photographs = folder / "photographs"
        n_bytes = write_photographs(photographs)
        loader = plain_loader(photographs, 224, 128)
        images = load_folder(photographs, 256, memory_limit=0)
        generator = torch.Generator().manual_seed(0)

        def epoch() -> None:
            for rows in torch.randperm(len(images), generator=generator).split(128):
                augment(take(images.pixels, rows), draw_boxes("crop-flip", len(rows), generator), 224)

        seconds = [[timed(lambda: list(map(len, loader)))[0], timed(epoch)[0]] for _ in range(4)]
        pack_file(photographs, 256).unlink()
    baseline_s, ours_s = np.median(seconds[1:], axis=0)
    return row(
        baseline_s,
        ours_s,
        goal="4x",
        notes=f"{len(images)} JPEGs of 500 × 375 ({n_bytes / len(images) / 1000:.0f} kB), epochs 2 to 4 in turn: "
        f"{len(images) / baseline_s:.0f} and {len(images) / ours_s:.0f} images/s",
    )


def plain_loader(folder: Path, size: int, batch_size: int, *, drop_last: bool = False) -> DataLoader:
    """Return augmented views of a folder's images in batches, as a tutorial would: ImageFolder and DataLoader."""
    steps = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    return DataLoader(
        ImageFolder(folder, transforms.Compose(steps)),
        batch_size,
        shuffle=True,
        num_workers=os.cpu_count() or 1,
        persistent_workers=True,
        drop_last=drop_last,
    )


def write_photographs(folder: Path, n: int = 600) -> int:
    """Write JPEGs of 500 × 375 pixels with the spectrum of photographs; return their bytes.

    Their four classes differ in how long structures are in both directions: they can be learned.
    """
    rng = np.random.default_rng(0)
    across, along = np.fft.fftfreq(375)[:, None], np.fft.rfftfreq(500)[None]
    for i in Bar(range(n), "writing photographs"):
        frequency = np.hypot(across * (1, 1, 3, 3)[i % 4], along * (1, 3, 1, 3)[i % 4])
        frequency[0, 0] = 1
        noise = np.fft.rfft2(rng.normal(size=(3, 375, 500))) / frequency
        pixels = np.fft.irfft2(noise, s=(375, 500)).transpose(1, 2, 0)
        file = folder / f"class{i % 4}" / f"{i:04d}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((128 + 50 * pixels / pixels.std()).clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return sum(file.stat().st_size for file in folder.rglob("*.JPEG"))
