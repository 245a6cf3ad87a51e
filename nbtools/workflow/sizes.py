"""How much of everything a study has: counted where its data are, said by its profile, or assumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nbtools.data.images.folders import images_below, subfolders
from nbtools.data.study import Study, open_study, study_file
from nbtools.data.synthetic.recipe import PROFILES
from nbtools.workflow.config import is_simulated


@dataclass(frozen=True)
class Sizes:
    """How much of everything a study has; left out, what is assumed: ImageNet-50, a subject of NSD with 40 sessions.

    Attributes
    ----------
    image_size : int
        Side in pixels.
    train, val, conflict, corrupted : int
        Images to train on, to test with, cue-conflict images, corrupted images of all kinds and severities.
    scanner, shared : int
        Images of the scanner, and those among them that test.
    voxels : int
        Of a region.
    """

    image_size: int = 224
    train: int = 64_000
    val: int = 2_500
    conflict: int = 2_450
    corrupted: int = 0
    scanner: int = 10_000
    shared: int = 1_000
    voxels: int = 1_500


ASSUMED = Sizes()
_FEW_VOXELS = 200  # of a simulated region


def source_of(study: str) -> Study | None:
    """Return a study's description, or None for a simulated one that is still to be made."""
    return open_study(study) if study_file(study).is_file() or not is_simulated(study) else None


def sizes_of(source: Study | None, profile: str | None, assumed: Sizes = ASSUMED) -> Sizes:
    """Return the size of a study: of one that is not there that of the profile it is made with, else what is assumed.

    Parameters
    ----------
    source : Study or None
        Its description; None where it is not there yet.
    profile : str or None
        With which a simulated study is made (`PROFILES`); None: it is to be fetched.
    assumed : Sizes
        Of a study that is to be fetched.
    """
    if source is None:
        return _of_profile(profile) if profile else assumed
    images, known = source.classification, ASSUMED
    scanner, shared = _scanner_images(source)
    val = count_images(images and images / "val") or known.val
    return Sizes(
        image_size=source.image_size,
        train=count_images(images and images / "train") or known.train,
        val=val,
        conflict=count_images(source.cue_conflict) or known.conflict,
        corrupted=5 * (len(subfolders(source.corruptions)) if source.corruptions else 0) * val,
        scanner=scanner,
        shared=shared,
        voxels=_FEW_VOXELS if source.simulated else known.voxels,
    )


def _of_profile(profile: str) -> Sizes:
    made = PROFILES[profile]
    val = 10 * made.val_per_class
    return Sizes(32, 10 * made.train_per_class, val, made.cue_conflict, 25 * val, made.images, made.shared, _FEW_VOXELS)


def _scanner_images(source: Study) -> tuple[int, int]:
    """Count the images of the scanner, and those that test: by the sessions, where there are any."""
    if source.nsd is not None and not source.simulated:  # of one that is still to be fetched, too
        from nbtools.data.fetch.catalogue import N_SESSIONS

        return (n := 250 * N_SESSIONS[source.subject - 1]), n // 10
    if not any(source.measured.glob("*")):
        return ASSUMED.scanner, ASSUMED.shared
    from nbtools.data.brains.measured import load_design  # takes a while

    design = load_design(source)
    return len(set(design.image_ids)), len(design.shared_ids)


def count_images(folder: Path | None) -> int:
    """Count the images in a folder's classes, as `load_folder` lists them; none where there is no such folder."""
    return sum(len(images_below(place)) for place in subfolders(folder)) if folder else 0
