"""A study: where its files lie, described by one small `study.toml`, simulated or real."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nbtools.errors import InputError


@dataclass(frozen=True)
class Study:
    """Where one study's files lie.

    Attributes
    ----------
    name : str
        Used in run folders and figures.
    simulated : bool
        True if no brain was measured.
    nsd : Path
        Root of an NSD tree: holds ``nsddata/``, ``nsddata_betas/``, ``nsddata_stimuli/``.
    subject : int
        NSD subject, 1 to 8.
    classification : Path
        ImageFolder tree: ``train/<class>/*`` and ``val/<class>/*``.
    cue_conflict : Path or None
        Folder of cue-conflict images (shape of one class, texture of another).
    image_size : int
        Side length in pixels at which networks see the images.
    scanner_labels : Path or None
        Table of the scanner images' categories: ``image_id`` (row of the stimuli) and ``label`` (a class name).
    """

    name: str
    simulated: bool
    nsd: Path
    subject: int
    classification: Path
    cue_conflict: Path | None
    image_size: int
    scanner_labels: Path | None

    @property
    def title(self) -> str:
        """The name as figures show it: a simulated study always says so."""
        return f"{self.name} study, simulated" if self.simulated else f"{self.name}, subject {self.subject}"


def home() -> Path:
    """Return the folder that holds ``data/`` and ``runs/``: ``$NBTOOLS_HOME``, else the project's root."""
    return Path(os.environ.get("NBTOOLS_HOME") or Path(__file__).parents[2]).resolve()


def study_file(study: str) -> Path:
    """Return the `study.toml` of a study given by name (``"demo"``) or by the path of its ``.toml`` file.

    A relative path starts at `home`, wherever the notebook runs.
    """
    return home() / (study if study.endswith(".toml") else f"data/derived/{study}/study.toml")


def study_name(study: str) -> str:
    """Return the name of a study given as `open_study` takes it; a study given by name need not exist yet."""
    return open_study(study).name if study.endswith(".toml") else study


def open_study(study: str) -> Study:
    """Read a study's description.

    Parameters
    ----------
    study : str
        A name (its file is ``data/derived/<name>/study.toml``) or the path of a ``.toml`` file.
        Paths inside the file are relative to it.

    Raises
    ------
    InputError
        If the file is missing or malformed, lacks a key, or names a folder that does not exist.
    """
    file = study_file(study)
    if not file.is_file():
        raise InputError(
            f"there is no study {study!r}",
            file=file,
            expected="a study.toml",
            got="no such file",
            fix="make the simulated study with `python -m nbtools world`, or describe yours as data/README.md shows",
        )
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # not TOML, or not text
        raise InputError(
            "the study's description cannot be read",
            file=file,
            expected="TOML",
            got=error,
            fix="correct that line; data/README.md shows a whole study.toml",
        ) from error
    kinds: dict[str, type] = {"name": str, "simulated": bool, "nsd": str, "subject": int}
    kinds |= {"classification": str, "image_size": int}
    optional: dict[str, type] = {key: str for key in ("cue_conflict", "scanner_labels") if key in entries}
    wrong = [key for key, kind in {**kinds, **optional}.items() if type(entries.get(key)) is not kind]
    if wrong:
        raise InputError(
            "the study's description is incomplete",
            file=file,
            expected=", ".join(f"{key} ({kind.__name__})" for key, kind in kinds.items()),
            got=f"missing or of another type: {', '.join(wrong)}",
            fix="add them; data/README.md shows a whole study.toml",
        )
    return Study(
        name=entries["name"],
        simulated=entries["simulated"],
        nsd=_folder(file, entries["nsd"]),
        subject=entries["subject"],
        classification=_folder(file, entries["classification"]),
        cue_conflict=_folder(file, entries["cue_conflict"]) if "cue_conflict" in entries else None,
        image_size=entries["image_size"],
        scanner_labels=_file(file, entries["scanner_labels"]) if "scanner_labels" in entries else None,
    )


def _folder(file: Path, entry: str) -> Path:
    return _existing(file, entry, "folder", Path.is_dir)


def _file(file: Path, entry: str) -> Path:
    return _existing(file, entry, "file", Path.is_file)


def _existing(file: Path, entry: str, kind: str, exists: Callable[[Path], bool]) -> Path:
    path = (file.parent / entry).resolve()
    if not exists(path):
        raise InputError(
            f"the study names a {kind} that does not exist: {entry}",
            file=file,
            expected=f"a {kind} at {path}",
            got="nothing there",
            fix="correct the path in the study's file, or put the data there",
        )
    return path
