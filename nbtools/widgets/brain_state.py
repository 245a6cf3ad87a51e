"""The brain view without its widgets: what is chosen, and what there is to show of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nbtools.data.brains.anatomy import RegionVolume, Voxel, centre_of, region_at
from nbtools.data.images.sets import ImageSet
from nbtools.errors import InputError
from nbtools.metrics.brain.drive import extremes


@dataclass(frozen=True)
class BrainTables:
    """What the notebooks found out about the regions.

    Attributes
    ----------
    ceilings : DataFrame
        ``roi``, ``voxel``, ``noise_ceiling`` (percent), of notebook 01.
    voxels : DataFrame
        ``roi``, ``voxel``, ``r``, ``noise_ceiling``, of notebook 02.
    pattern : DataFrame
        ``roi``, ``pattern_r``, ``control``, of notebook 02.
    drive : DataFrame
        ``roi``, ``image_id``, ``repeat``, ``response``, from `metrics.drive`.
    """

    ceilings: pd.DataFrame
    voxels: pd.DataFrame
    pattern: pd.DataFrame
    drive: pd.DataFrame


@dataclass(frozen=True)
class BrainState:
    """What is chosen: a region, and the voxel through which the slices go."""

    roi: str
    at: Voxel


@dataclass(frozen=True)
class Driving:
    """The images at one end of a region's responses: their rows in the images, and a note on each."""

    head: str
    rows: np.ndarray
    notes: tuple[str, ...]


def check_tables(volume: RegionVolume, tables: BrainTables) -> None:
    """Raise `InputError` unless every table knows every region of the volume."""
    for name, table in vars(tables).items():
        missing = [roi for roi in volume.names if roi not in set(table["roi"])]
        if missing:
            raise InputError(
                f"the table {name} lacks regions",
                expected=", ".join(volume.names),
                got=f"without {', '.join(missing)}",
                fix="run notebooks 01 and 02 for these regions, or show fewer",
            )


def pick_region(volume: RegionVolume, roi: str) -> BrainState:
    """Choose a region: the slices go to its middle."""
    return BrainState(roi, centre_of(volume, roi))


def pick_voxel(volume: RegionVolume, state: BrainState, at: Sequence[int | None]) -> BrainState:
    """Choose a voxel (None keeps a coordinate): its region is chosen with it, if it has one."""
    i, j, k = (old if new is None else int(new) for new, old in zip(at, state.at, strict=True))
    return replace(state, at=(i, j, k), roi=region_at(volume, (i, j, k)) or state.roi)


def clicked(plane: int, x: float, y: float) -> tuple[int | None, int | None, int | None]:
    """Return the voxel coordinates a click on a slice sets, None for the one across the slice."""
    others = iter((round(x), round(y)))
    i, j, k = (None if axis == plane else next(others) for axis in range(3))
    return i, j, k


def describe(volume: RegionVolume, tables: BrainTables, state: BrainState) -> str:
    """Say in words what the view shows."""
    roi = state.roi
    ceilings, voxels, pattern = (t[t["roi"] == roi] for t in (tables.ceilings, tables.voxels, tables.pattern))
    nc, image_r = ceilings["noise_ceiling"], pattern.groupby("control")["pattern_r"].mean()
    here = region_at(volume, state.at)
    noise, allowed = "without a noise ceiling, as no image was shown twice", ""
    if nc.notna().any():
        noise = f"with a noise ceiling of {nc.mean():.0f} % on average (SD {nc.std():.0f})"
        allowed = f", where noise allows {np.sqrt(voxels['noise_ceiling'] / 100).median():.2f}"
    return (
        f"Slices through voxel {state.at}, which is in {here or 'none of the regions'}. "
        f"{roi} has {len(nc)} voxels {noise}. "
        f"Its predictor reaches r = {image_r['trained']:.2f} per image (images shuffled: {image_r['shuffled']:+z.2f}) "
        f"and, at the median voxel, r = {voxels['r'].median():.2f} over images{allowed}."
    )


def driving(tables: BrainTables, images: ImageSet, roi: str, k: int = 6) -> tuple[Driving, Driving]:
    """Return the images that drive a region most and least, measured."""
    chosen = extremes(tables.drive[tables.drive["roi"] == roi], k)
    ends = []
    for end, part in chosen.groupby("end", sort=False):
        head = (
            f"Images that drive {roi} {end} (mean z over its reliable voxels and three repeats; "
            f"in repeats that did not choose them {part['held_out'].iloc[0]:+z.2f})"
        )
        notes = tuple(f"image {i}: {z:+z.2f}" for i, z in zip(part["image_id"], part["response"], strict=True))
        ends.append(Driving(head, images.rows(part["image_id"].to_numpy()), notes))
    return ends[0], ends[1]
