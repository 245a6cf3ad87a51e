"""A stand-in for TVSD and THINGS of true size, simulated and called so, whose categories can be learned.

    python tests/end_to_end/stand_in.py FOLDER

writes what a mirror holds: 26,107 pictures of 500 px in one zip, a monkey's responses to 22,248 and 100 × 30 of them,
the table of categories. Pictures are scenes of the simulated study, a category is a shape; V1 answers to local
contrast, IT to outlines, V4 to both. Two minutes, 1.1 GB.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from things_files import AREAS, N_ELECTRODES, write_image_list, write_mua
from things_pictures import write_categories

from nbtools.data.synthetic.features import feature_blocks
from nbtools.data.synthetic.scenes import CLASSES, draw_latents, render

N_CONCEPTS, N_PICTURES, N_TRAIN, N_TEST, SIDE, DRAWN = 1854, 26_107, 22_248, 100, 500, 64
LATE = {"V1": 0.1, "V4": 0.5, "IT": 0.9}  # share of outlines in what an area answers to


def write_public(folder: Path, seed: int = 0) -> None:
    """Write the files of a mirror."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    concepts = [f"{CLASSES[number % 10]}_{number:04d}" for number in range(N_CONCEPTS)]
    # Seven in ten concepts are of a category; forty-three further categories are parts of the ten.
    sorted_into = {name: [c for c in concepts[: 7 * N_CONCEPTS // 10] if c.startswith(name)] for name in CLASSES}
    parts = {f"{name} {part}": sorted_into[name][part::9] for name in CLASSES for part in range(5)}
    write_categories(folder / "category53_long-format.tsv", sorted_into | dict(list(parts.items())[:43]))

    number = np.arange(N_PICTURES)
    concept = number % N_CONCEPTS
    names = [f"{concepts[c]}_{n // N_CONCEPTS + 1:02d}s.jpg" for n, c in zip(number, concept, strict=True)]
    latents = draw_latents(rng, concept % len(CLASSES), rng.integers(10, size=N_PICTURES), DRAWN)
    pixels = np.empty((N_PICTURES, DRAWN, DRAWN, 3), np.uint8)
    with zipfile.ZipFile(folder / "images_THINGS.zip", "w", zipfile.ZIP_STORED) as tree:
        for start in tqdm(range(0, N_PICTURES, 64), desc="pictures"):
            rows = slice(start, start + 64)
            pixels[rows] = render(latents[rows], DRAWN, rng)
            for name, drawn in zip(names[rows], pixels[rows], strict=True):
                tree.writestr(f"object_images/{name.rpartition('_')[0]}/{name}", _jpeg(drawn))

    shown = rng.permutation(N_PICTURES)[: N_TRAIN + N_TEST]
    train, test = [names[n] for n in shown[:N_TRAIN]], [names[n] for n in shown[N_TRAIN:]]
    folder = folder / "monkeyF"
    write_mua(folder / "THINGS_normMUA.mat", *_showings(pixels, latents, shown, rng))
    write_image_list(folder / "_logs" / "things_imgs.mat", train, test)


def _jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def _showings(
    pixels: np.ndarray, latents: pd.DataFrame, shown: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw (22248, 1024) and (30, 100, 1024) responses: mixtures of features, and noise."""
    blocks = feature_blocks(pixels, latents)
    signal = np.empty((len(shown), N_ELECTRODES))
    for area, electrodes in AREAS["F"].items():
        shares = {"gabor": 1 - LATE[area], "curv": LATE[area]}
        mixed = sum(
            np.sqrt(share) * blocks[name] @ rng.normal(size=(blocks[name].shape[1], len(electrodes)))
            for name, share in shares.items()
        )
        signal[:, list(electrodes)] = (mixed / mixed.std(axis=0))[shown]
    ceiling = rng.uniform(0, 0.9, N_ELECTRODES)  # share of a showing's variance
    noise, signal = np.sqrt(1 - ceiling), np.sqrt(ceiling) * signal
    reps = signal[N_TRAIN:] + noise * rng.normal(size=(30, N_TEST, N_ELECTRODES))
    return signal[:N_TRAIN] + noise * rng.normal(size=(N_TRAIN, N_ELECTRODES)), reps


if __name__ == "__main__":
    write_public(Path(sys.argv[1]))
