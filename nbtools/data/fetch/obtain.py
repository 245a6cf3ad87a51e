"""What ``python -m nbtools fetch`` does: terms told, files fetched, sessions reduced on arrival, a study described."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from nbtools.conditions import region_labels
from nbtools.data.brains.nsd import session_number
from nbtools.data.brains.prepare_nsd import prepared_file, reduce_session
from nbtools.data.brains.sessions import regions_of
from nbtools.data.fetch import catalogue
from nbtools.data.fetch.download import fetch
from nbtools.data.fetch.remote import Remote
from nbtools.data.images.cifar100 import unpack_cifar100
from nbtools.data.images.cue_conflict import unpack_cue_conflict
from nbtools.data.study import BETAS, Study, home, open_study
from nbtools.errors import InputError
from nbtools.files import write_text


@dataclass(frozen=True)
class Route:
    """How to fetch.

    Attributes
    ----------
    mirror, proxy : str or None
        Addresses in place of the public one, and of the environment's proxy.
    dry_run : bool
        Tell sizes and fetch nothing.
    jobs : int
        Files at the same time.
    agreed : bool
        Whether the user agreed to the data's terms, or has their owners' permission.
    """

    mirror: str | None = None
    proxy: str | None = None
    dry_run: bool = False
    jobs: int = 4
    agreed: bool = False

    def fetch(self, remotes: Sequence[Remote], root: Path, **more: Any) -> None:
        """Fetch files below a root, as `download.fetch` does; it takes what is more."""
        fetch(remotes, root=root, jobs=self.jobs, proxy=self.proxy, dry_run=self.dry_run, **more)


@dataclass(frozen=True)
class NsdWish:
    """What is wanted of the Natural Scenes Dataset.

    Attributes
    ----------
    subject : int
        1 to 8.
    sessions : tuple of int
        1-based; empty: all there are.
    rois : tuple of str
        Regions each session is reduced to on arrival; empty: it is not.
    keep_volumes : bool
        Whether the volumes stay on the disk.
    betas : {"b3", "b2", "b1"}
        Version of the betas.
    retinotopy : {"Kastner2015", "prf-visualrois"}
        Where retinotopic regions are taken from.
    ending : {".nii.gz", ".hdf5"}
        Format of the betas.
    """

    subject: int = 1
    sessions: tuple[int, ...] = ()
    rois: tuple[str, ...] = ()
    keep_volumes: bool = True
    betas: str = "b3"
    retinotopy: str = "Kastner2015"
    ending: Literal[".nii.gz", ".hdf5"] = ".nii.gz"

    @property
    def name(self) -> str:
        """Of the study: ``nsd`` for the paper's choices in subject 1."""
        parts = [f"subj{self.subject:02d}"] * (self.subject > 1) + [self.betas] * (self.betas != "b3")
        return "-".join(["nsd", *parts, *[self.retinotopy] * (self.retinotopy != "Kastner2015")])


def obtain_nsd(wish: NsdWish, to: Path | None, route: Route) -> None:
    """Fetch a subject's small files, then its sessions, and describe them as a study.

    Parameters
    ----------
    wish : NsdWish
        What is wanted.
    to : Path or None
        Root of the NSD tree; None: ``data/raw/nsd``.
    route : Route
        How to fetch.

    Raises
    ------
    InputError
        If it was not agreed, a region is unknown, a file cannot be fetched or is damaged, or there is another study of
        that name.
    """
    tell("nsd", route.agreed or route.dry_run)
    for roi in wish.rois:
        region_labels(roi, wish.retinotopy)
    root = folder_of(to, "nsd")
    numbers = wish.sessions or tuple(range(1, catalogue.N_SESSIONS[wish.subject - 1] + 1))
    small = catalogue.nsd_files(root, wish.subject, base=route.mirror)
    sessions = catalogue.nsd_sessions(
        root, wish.subject, numbers, betas=BETAS[wish.betas], ending=wish.ending, base=route.mirror
    )
    route.fetch(small, root)
    study = None if route.dry_run else _describe_nsd(wish, root)
    if study is None or not wish.rois:
        route.fetch(sessions, root)
        return
    with ProcessPoolExecutor(route.jobs, mp_context=get_context("spawn")) as pool:
        route.fetch(
            sessions,
            root,
            arrived=_reducer(pool, study, wish),
            have=None if wish.keep_volumes else partial(_is_reduced, study, wish),
            at_once=None if wish.keep_volumes else route.jobs,
        )


def _reducer(pool: ProcessPoolExecutor, study: Study, wish: NsdWish) -> Callable[[Path], None]:
    def reduce(volume: Path) -> None:
        pool.submit(reduce_session, study, session_number(volume), volume, wish.rois).result()
        if not wish.keep_volumes:
            volume.unlink()

    return reduce


def _is_reduced(study: Study, wish: NsdWish, remote: Remote) -> bool:
    file = prepared_file(study, session_number(remote.file))
    return file.exists() and set(wish.rois) <= set(regions_of(file))


def obtain_stimuli(to: Path | None, route: Route) -> None:
    """Fetch the images shown in the scanner into an NSD tree (None: ``data/raw/nsd``)."""
    tell("stimuli", route.agreed or route.dry_run)
    root = folder_of(to, "nsd")
    route.fetch([catalogue.stimuli_file(root, base=route.mirror)], root)


def obtain_cue_conflict(to: Path | None, route: Route) -> None:
    """Fetch the cue-conflict images and sort them by shape (None: into ``data/raw/cue-conflict``)."""
    _obtain_archive("cue-conflict", folder_of(to, "cue-conflict"), unpack_cue_conflict, route)


def obtain_cifar100(to: Path | None, route: Route) -> None:
    """Fetch CIFAR-100 and sort it into folders (None: ``data/raw/cifar100``)."""
    _obtain_archive("cifar-100", folder_of(to, "cifar100"), unpack_cifar100, route)


def _obtain_archive(source: str, target: Path, unpack: Callable[[Path, Path], object], route: Route) -> None:
    tell(source, True)
    remote = catalogue.archive_file(source, target.parent, base=route.mirror)
    route.fetch([remote], target.parent)
    if not route.dry_run:
        unpack(remote.file, target)
        print(f"images: {target}")


def folder_of(to: Path | None, name: str) -> Path:
    """Return where data go: the folder that was asked for, or their own in ``data/raw``."""
    return (to or home() / "data/raw" / name).absolute()


def tell(source: str, agreed: bool) -> None:
    """Tell the terms of some data; raise `InputError` unless they were agreed to."""
    print(f"{catalogue.TERMS[source]}\n")
    if not agreed:
        expected, fix = catalogue.AGREEMENTS[source]
        raise InputError("these data have terms to agree to", expected=expected, got="no --agreed", fix=fix)


def _describe_nsd(wish: NsdWish, root: Path) -> Study:
    """Write the study's file unless it is there, and read it."""
    file = home() / "data/raw" / wish.name / "study.toml"
    if not file.exists():
        place = os.path.relpath(root, file.parent) if root.is_relative_to(home() / "data") else str(root)
        write_text(file, _STUDY.format(wish=wish, nsd=Path(place).as_posix()))
        print(f"study: {file}")
    study = open_study(wish.name)
    is_as_wished = (
        study.nsd == root
        and study.subject == wish.subject
        and (study.voxels.betas, study.voxels.retinotopy) == (wish.betas, wish.retinotopy)
    )
    if not is_as_wished:
        raise InputError(
            f"there is another study {wish.name!r}",
            file=file,
            expected=f'nsd = "{root}", subject = {wish.subject}, betas {wish.betas}, retinotopy {wish.retinotopy}',
            got=f'nsd = "{study.nsd}", subject = {study.subject}, betas {study.voxels.betas}, '
            f"retinotopy {study.voxels.retinotopy}",
            fix="correct or rename that study, or fetch into its folder: --to",
        )
    return study


_STUDY = """\
# Written by `python -m nbtools fetch nsd`. Paths are relative to this file. What is not there yet is asked for when a
# notebook needs it; `python -m nbtools doctor {wish.name}` says what is missing, and how to get it.
name = "{wish.name}"
simulated = false
nsd = "{nsd}"
subject = {wish.subject}
image_size = 224
classification = "../imagenet50"  # python -m nbtools prepare imagenet50 /path/to/ILSVRC2012
cue_conflict = "../imagenet50-cue-conflict"  # python -m nbtools prepare cue-conflict --study {wish.name}

[voxels]  # which responses are taken; a copy of this file under another name makes another study
betas = "{wish.betas}"
retinotopy = "{wish.retinotopy}"
zscore = true  # each voxel within its session
noise_ceiling = 0  # percent; voxels below are left out
"""
