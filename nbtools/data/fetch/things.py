"""What ``fetch`` does for brains that ask for no form: THINGS' pictures, the monkeys and the people who saw them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from nbtools.checks import check_choice
from nbtools.data.brains.things_fmri import (
    HIERARCHY,
    SUBJECTS,
    check_regions,
    is_reduced,
    reduce_archive,
    remove_leftovers,
)
from nbtools.data.fetch import catalogue
from nbtools.data.fetch.obtain import Route, folder_of, tell
from nbtools.data.images.superordinate import read_categories
from nbtools.data.images.things_pictures import CONCEPTS, PICTURES, is_unpacked, unpack_things
from nbtools.files import locked

# Of an archive's size: all pictures beside it, which hardly shrink; of three people's tables, one.
_PICTURES, _ONE_TABLE = 1.0, 0.4


def obtain_tvsd(monkeys: Sequence[str], to: Path | None, route: Route) -> None:
    """Fetch the responses of monkeys F and N, and which picture each trial showed (None: into ``data/raw/tvsd``).

    Raises
    ------
    InputError
        If there is no such monkey, or a file cannot be fetched or is none of HDF5.
    """
    tell("tvsd", True)
    root = folder_of(to, "tvsd")
    route.fetch([file for monkey in monkeys for file in catalogue.tvsd_files(root, monkey, base=route.mirror)], root)


def obtain_things(to: Path | None, route: Route) -> None:
    """Fetch THINGS' pictures and the table of their categories, and unpack the pictures (None: ``data/raw/things``).

    Raises
    ------
    InputError
        If it was not agreed, a file cannot be fetched or is none of its kind, or as `read_categories` and
        `unpack_things`.
    """
    tell("things", route.agreed or route.dry_run)
    root = folder_of(to, "things")
    target = root / "object_images"
    files = archive, table = catalogue.things_files(root, base=route.mirror)
    route.fetch(files, root, have=lambda file: file == archive and is_unpacked(target), unpacked=_PICTURES)
    if not route.dry_run:
        read_categories(table.file)  # text of any kind is taken until here
        pictures = unpack_things(archive.file, target)["picture"]
        concepts = pictures.str.split("/").str[0].nunique()
        print(f"pictures: {target}: {len(pictures)} of {concepts} concepts (published: {PICTURES} of {CONCEPTS})")
        _tell_needless(archive.file)


def obtain_things_fmri(subjects: Sequence[int], rois: Sequence[str], to: Path | None, route: Route) -> None:
    """Fetch the responses of three people and reduce them to regions (None: in ``data/raw/things-fmri``).

    Parameters
    ----------
    subjects : sequence of int
        1 to 3.
    rois : sequence of str
        Regions; empty: those of the paper's hierarchy.
    to : Path or None
        Gets a folder per subject.
    route : Route
        How to fetch.

    Raises
    ------
    InputError
        If there is no such subject or region, the archive cannot be fetched, or as `reduce_archive`.
    """
    tell("things-fmri", True)
    rois = rois or HIERARCHY
    check_regions(rois)
    for subject in subjects:
        check_choice("THINGS-fMRI has no such subject", subject, SUBJECTS)
    root = folder_of(to, "things-fmri")
    archive = catalogue.things_fmri_file(root, base=route.mirror)
    with nullcontext() if route.dry_run else locked(root / "subjects", patience=0):
        if not route.dry_run:
            remove_leftovers(root)
        done = all(is_reduced(root, subject, rois) for subject in subjects)
        route.fetch([archive], root, have=lambda _: done, unpacked=_ONE_TABLE)
        if not route.dry_run and not done:
            reduce_archive(archive.file, root, subjects, rois)
    if not route.dry_run:
        print(f"responses of {' '.join(rois)}: {root}")
        _tell_needless(archive.file)


def _tell_needless(archive: Path) -> None:
    if archive.exists():
        print(f"no longer needed: {archive} ({archive.stat().st_size / 1e9:.1f} GB)")
