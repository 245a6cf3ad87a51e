"""Files of TVSD and THINGS-fMRI in their true format, small unless asked otherwise; what they hold is planted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

N_ELECTRODES = 1024
# By monkey, which electrodes lie where: written out again, as a check of the package's table.
AREAS = {
    "F": {"V1": range(512), "IT": range(512, 832), "V4": range(832, 1024)},
    "N": {"V1": range(512), "V4": range(512, 768), "IT": range(768, 1024)},
}
LEVEL = {"V1": 10.0, "V4": 20.0, "IT": 30.0}  # mean response of an area's electrodes, by which a test knows them
# Concepts of THINGS, some named like others, in two of its categories.
CATEGORIES = {
    "animal": ("aardvark", "dog", "dog_2", "mouse", "hen"),
    "tool": ("mouse_2", "axe", "saw", "ice_pick", "drill"),
}
CONCEPTS = tuple(name for concepts in CATEGORIES.values() for name in concepts)


def names_of(n: int, start: int = 0) -> list[str]:
    """Names of n different pictures: some of each concept, ``dog_01b.jpg``, ``dog_02b.jpg`` …, ``dog_01c.jpg`` …"""
    found = []
    for number in range(start, start + n):
        concept, place = CONCEPTS[number % len(CONCEPTS)], number // len(CONCEPTS)
        found.append(f"{concept}_{place % 99 + 1:02d}{chr(ord('a') + place // 99)}.jpg")
    return found


# --- TVSD -----------------------------------------------------------------------------------------------------


def write_monkey(
    folder: Path,
    monkey: str,
    train: Sequence[str],
    test: Sequence[str],
    *,
    repeats: int = 30,
    seed: int = 0,
    features: np.ndarray | None = None,
    **options: object,
) -> np.ndarray:
    """Write both files of a monkey; return which share of a showing's variance is signal, by electrode (1024,).

    Every electrode's signal is a mixture of the pictures' `features` (images, features), where there are some.
    """
    rng = np.random.default_rng(seed)
    signal = rng.uniform(0, 0.9, N_ELECTRODES)
    level = np.empty(N_ELECTRODES)
    for area, electrodes in AREAS[monkey].items():
        level[list(electrodes)] = LEVEL[area]
    mixed = rng.normal(size=(len(train) + len(test), N_ELECTRODES))
    if features is not None:
        mixed = (features - features.mean(axis=0)) / features.std(axis=0) @ rng.normal(size=(features.shape[1], 1024))
        mixed /= mixed.std(axis=0)
    of_images = np.sqrt(signal) * mixed + level
    noise = np.sqrt(1 - signal)
    train_mua = of_images[: len(train)] + noise * rng.normal(size=(len(train), N_ELECTRODES))
    reps = of_images[len(train) :] + noise * rng.normal(size=(repeats, len(test), N_ELECTRODES))
    write_mua(folder / "THINGS_normMUA.mat", train_mua, reps, **options)
    write_image_list(folder / "_logs" / "things_imgs.mat", train, test)
    return signal


def write_mua(file: Path, train_mua: np.ndarray, reps: np.ndarray, **options: object) -> None:
    """Write responses as MATLAB 7.3 does, axes as h5py shows them, and what the authors say of their reliability."""
    z = (reps - reps.mean(axis=1, keepdims=True)) / reps.std(axis=1, keepdims=True)
    pairs = [(z[a] * z[b]).mean(axis=0) for a, b in combinations(range(len(z)), 2)]
    others = (z.sum(axis=0) - z) / (len(z) - 1)
    oracle = ((z * (others - others.mean(axis=1, keepdims=True))).mean(axis=1) / others.std(axis=1)).mean(axis=0)
    with matlab(file) as tree:
        tree.create_dataset("train_MUA", data=train_mua, **options)
        tree.create_dataset("test_MUA_reps", data=reps, **options)
        tree["test_MUA"], tree["reliab"], tree["oracle"] = reps.mean(axis=0), np.array(pairs), oracle[:, None]
        tree["SNR"], tree["lats"] = np.ones((2, 4, N_ELECTRODES))
        tree["SNR_max"], tree["tb"] = np.ones((N_ELECTRODES, 1)), np.arange(-100.0, 200)[:, None]


def write_image_list(file: Path, train: Sequence[str], test: Sequence[str]) -> None:
    """Write MATLAB's cell arrays of texts: references to arrays of uint16, paths with Windows' separators."""
    with matlab(file) as tree:
        for group, names in (("train_imgs", train), ("test_imgs", test)):
            concepts = [name.rpartition("_")[0] for name in names]
            paths = [f"{concept}\\{name}" for concept, name in zip(concepts, names, strict=True)]
            for field, texts in {"class": concepts, "things_path": paths, "local_path": paths}.items():
                cells = [_cell(tree, f"{group}/{field}/{row}", text) for row, text in enumerate(texts)]
                tree.create_dataset(f"{group}/{field}", data=np.array(cells, h5py.ref_dtype)[:, None])


def _cell(tree: h5py.File, name: str, text: str) -> h5py.Reference:
    codes = np.frombuffer(text.encode("utf-16-le"), np.uint16)[:, None]
    return tree.create_dataset("#refs#/" + name.replace("/", ""), data=codes).ref


def matlab(file: Path) -> h5py.File:
    """Open a new file with MATLAB's header of 512 bytes before HDF5's own; it says of itself that it is simulated."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w", userblock_size=512):
        pass
    with file.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    tree = h5py.File(file, "r+")
    tree.attrs["simulated"] = True
    return tree


# --- THINGS-fMRI ----------------------------------------------------------------------------------------------

# Of the table of voxels: regions, and those that have a column a hemisphere.
COLUMNS = ["V1", "V2", "V3", "hV4", "VO1", "VO2", "LO1", "LO2", "TO1", "TO2", "V3b", "V3a"]
PAIRED = ["EBA", "FFA", "OFA", "STS", "PPA", "RSC", "TOS", "LOC"]


def write_person(
    folder: Path,
    train: Sequence[str],
    test: Sequence[str],
    *,
    n_sessions: int = 3,
    n_voxels: int = 400,
    lo: str = "{} (prf)",
    seed: int = 0,
) -> np.ndarray:
    """Write one person's three files, responses reduced; return each voxel's share of signal in a showing (n_voxels,).

    Every region has voxels of its own, and shares some with the next: V1 and V2, VO and PPA among them. Training
    images are shown once over all sessions, test images once in each.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    trials = _trials(train, test, n_sessions, rng)
    trials.to_csv(folder / "StimulusMetadata.csv", index=False)
    signal = rng.uniform(0.05, 0.6, n_voxels)
    names = pd.Index([*train, *test])
    of_images = np.sqrt(signal) * rng.normal(size=(len(names), n_voxels))
    values = of_images[names.get_indexer(trials["stimulus"])]
    values = values + np.sqrt(1 - signal) * rng.normal(size=values.shape)
    voxels = _voxels(n_voxels, lo, rng).assign(nc_singletrial=100 * signal)
    voxels = voxels.assign(nc_testset=100 * signal / (signal + (1 - signal) / n_sessions))
    voxels.to_csv(folder / "VoxelMetadata.csv", index=False)
    order = np.sort(rng.permutation(n_voxels)[: n_voxels - 5]) if n_voxels > 1000 else np.arange(n_voxels)
    with h5py.File(folder / "responses.h5", "w") as tree:
        tree.attrs["simulated"] = True
        tree["voxel_id"] = voxels["voxel_id"].to_numpy()[order]
        tree["responses"] = values.T[order].astype(np.float32)
    return signal


def _trials(train: Sequence[str], test: Sequence[str], n_sessions: int, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for session, part in enumerate(np.array_split(rng.permutation(train), n_sessions), start=1):
        shown = [("train", name) for name in part] + [("test", name) for name in test]
        rows += [(*shown[row], session) for row in rng.permutation(len(shown))]
    table = pd.DataFrame(rows, columns=["trial_type", "stimulus", "session"])
    concepts = table["stimulus"].str.rpartition("_")[0]
    return table.assign(run=1, subject_id=1, trial_id=range(len(table)), concept=concepts)


def _voxels(n: int, lo: str, rng: np.random.Generator) -> pd.DataFrame:
    columns = [*COLUMNS, *(side + name for name in PAIRED for side in "lr")]
    edges = np.linspace(0, n, len(columns) + 1).astype(int)
    place = np.stack(np.unravel_index(np.arange(n) * 7, (80, 90, n)), axis=1)
    table = pd.DataFrame(place, columns=["voxel_x", "voxel_y", "voxel_z"])
    table.insert(0, "voxel_id", np.arange(n))
    for name, start, stop in zip(columns, edges[:-1], edges[1:], strict=True):
        spelled = lo.format(name) if name in ("LO1", "LO2") else name
        table[spelled] = ((table.index >= start) & (table.index < min(stop + 2, n))).astype(int)
    return table.assign(splithalf_corrected=rng.random(n))
