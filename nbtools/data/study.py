"""A study: where its files lie, described by one small `study.toml`, simulated or real."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nbtools.checks import check_choice, reading
from nbtools.conditions import HIERARCHY, RETINOTOPY, region_labels
from nbtools.data.names import way_to
from nbtools.errors import InputError
from nbtools.guides import NAMING, is_region
from nbtools.places import INSTALLED, usual_home

# NSD's versions of the betas, as its authors number them; the paper takes b3.
BETAS = {"b1": "betas_assumehrf", "b2": "betas_fithrf", "b3": "betas_fithrf_GLMdenoise_RR"}
STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
_PATHS = ("nsd", "responses", "stimuli", "classification", "cue_conflict", "corruptions", "scanner_labels")
# What a study.toml may say, and what a simulated study's notes of how it was made.
_KINDS: dict[str, type] = {
    "name": str,
    "simulated": bool,
    "image_size": int,
    "subject": int,
    **dict.fromkeys(("regions", "dorsal"), list),
    "voxels": dict,
    "sites": str,
    **dict.fromkeys(_PATHS, str),
}
_NOTES = {"note", "seed", "profile", "truth"}
SITES = ("voxels", "electrodes")
_SUBJECT = re.compile(r"subj\d\d")  # in the name of a folder of sessions


@dataclass(frozen=True)
class VoxelChoices:
    """Which responses a study takes from its measurements; the defaults are those of the paper's methods here.

    Attributes
    ----------
    betas : {"b3", "b2", "b1"}
        NSD's version of the betas.
    retinotopy : {"Kastner2015", "prf-visualrois"}
        Which of NSD's volumes retinotopic regions are taken from.
    zscore : bool
        Z-score each voxel within each session.
    noise_ceiling : float
        Voxels with a lower ceiling (percent, three repeats) in showings that no test uses are left out.
    subjects : tuple of int
        Subjects whose responses are taken together, over the images all of them saw; empty: the study's subject.
    """

    betas: str = "b3"
    retinotopy: str = "Kastner2015"
    zscore: bool = True
    noise_ceiling: float = 0.0
    subjects: tuple[int, ...] = ()


_TOP, _UNDER = "at the top, above [voxels]", "under [voxels]"
_STANDS = dict.fromkeys(_KINDS, _TOP) | {choice.name: _UNDER for choice in fields(VoxelChoices)}


@dataclass(frozen=True)
class Study:
    """Where one study's files lie.

    Attributes
    ----------
    name : str
        Used in run folders and figures.
    simulated : bool
        True if no brain was measured.
    nsd : Path or None
        Root of an NSD tree: holds ``nsddata/``, ``nsddata_betas/``, ``nsddata_stimuli/``.
    responses : Path
        Folder of prepared sessions (`nbtools.data.brains.sessions`): made from the NSD tree, or the study's own.
    stimuli : Path
        HDF5 file with the scanner's images, ``imgBrick``.
    subject : int
        Whose responses: NSD's subject, 1 to 8; 0 where responses of one's own are nobody's in particular.
    classification : Path or None
        ImageFolder tree: ``train/<class>/*`` and ``val/<class>/*``.
    cue_conflict : Path or None
        Folder of cue-conflict images (shape of one class, texture of another).
    corruptions : Path or None
        Folder of corrupted images: ``<corruption>/<severity>/<class>/*``, as ImageNet-C has them.
    image_size : int
        Side length in pixels at which networks see the images.
    scanner_labels : Path or None
        Table of the scanner images' categories: ``image_id`` (row of the stimuli) and ``label`` (a class name).
    voxels : VoxelChoices
        Which responses are taken.
    regions : tuple of str
        Its regions in their order, early to late, where the study says it.
    dorsal : tuple of str
        Regions of a second hierarchy beside it, early to late; none where the study names none.
    sites : {"voxels", "electrodes"}
        What its responses are of, as figures call it.
    """

    name: str
    simulated: bool
    nsd: Path | None
    responses: Path
    stimuli: Path
    subject: int
    classification: Path | None
    cue_conflict: Path | None
    corruptions: Path | None
    image_size: int
    scanner_labels: Path | None
    voxels: VoxelChoices = field(default_factory=VoxelChoices)
    regions: tuple[str, ...] = ()
    dorsal: tuple[str, ...] = ()
    sites: str = SITES[0]

    @property
    def title(self) -> str:
        """The name as figures show it: a simulated study always says so."""
        if self.simulated:
            return f"{self.name} study, simulated"
        if together := " ".join(map(str, self.voxels.subjects)):
            return f"{self.name}, subjects {together} together"
        return f"{self.name}, subject {self.subject}" if self.subject else self.name

    @property
    def hierarchy(self) -> tuple[str, ...]:
        """The order of regions, early to late: the study's own, else the paper's."""
        return self.regions or HIERARCHY

    @property
    def parts(self) -> list[Study]:
        """The studies of the subjects that are taken together, each alone: this one where there is but one."""
        return [self.of(subject) for subject in self.voxels.subjects] or [self]

    def of(self, subject: int) -> Study:
        """Return the study of one of its subjects alone."""
        folder = self.responses.with_name(_SUBJECT.sub(f"subj{subject:02d}", self.responses.name))
        return replace(self, subject=subject, responses=folder, voxels=replace(self.voxels, subjects=()))

    @property
    def measured(self) -> Path:
        """What responses are read from: prepared sessions where there are any, else the NSD tree."""
        prepared = self.nsd is None or any(self.responses.glob("session*.hdf5"))
        return self.responses if prepared or self.nsd is None else self.nsd

    def has(self, entry: str) -> bool:
        """Say whether the study has a file or folder that not every study has.

        Raises
        ------
        InputError
            If no study has such an entry.
        """
        check_choice("a study has no such entry", entry, _PATHS)
        path = getattr(self, entry)
        try:
            return path is not None and path.exists()
        except (OSError, RuntimeError):  # links that lead in a circle
            return False

    def need(self, entry: str) -> Path:
        """Return a file or folder that not every study has.

        Raises
        ------
        InputError
            If this study's description does not name it, or nothing is there; or as `has`.
        """
        there = self.has(entry)
        path: Path | None = getattr(self, entry)
        if path is None or not there:
            raise InputError(
                f"the study {self.name!r} has no {entry}",
                file=path,
                expected="a file or folder there" if path else f'{entry} = "…" in its study.toml',
                got="nothing" if path else "no such entry",
                fix="put it there or correct the path in study.toml (data/README.md says how to get it), or leave out "
                "what needs it: `python -m nbtools doctor` says which notebooks run without it",
            )
        return path


def home() -> Path:
    """Return the folder that holds ``data/`` and ``runs/``: ``$NBTOOLS_HOME``, else `places.usual_home`.

    It is where the first process that asks finds it, and written into the environment, so that kernels and jobs, which
    run in other folders, look and write at the same place. A checkout's own needs no such word.
    """
    given = os.environ.get("NBTOOLS_HOME")
    place = Path(os.path.expanduser(given) if given else usual_home()).resolve()
    if given or INSTALLED:
        os.environ["NBTOOLS_HOME"] = str(place)
    return place


def study_file(study: str | Path) -> Path:
    """Return the `study.toml` of a study given by name (``"demo"``) or by the path of its ``.toml`` file.

    A study by name lies in ``data/raw/<name>`` if it was fetched or put there, else in ``data/derived/<name>``.
    A relative path in words starts at `home`, wherever the notebook runs; a `Path`, of the file or its folder, lies
    where it says.
    """
    if isinstance(study, Path):
        return (study / "study.toml" if study.is_dir() else study).resolve()
    if study.endswith(".toml"):
        return home() / os.path.expanduser(study)
    _checked_name(study)
    raw, derived = (home() / "data" / part / study / "study.toml" for part in ("raw", "derived"))
    return raw if raw.is_file() else derived


def study_name(study: str) -> str:
    """Return the name of a study given as `open_study` takes it; a study given by name need not exist yet.

    Raises
    ------
    InputError
        As `open_study`, or if the name is none: runs go into a folder of that name, and nowhere else.
    """
    return open_study(study).name if study.endswith(".toml") else _checked_name(study)


def _checked_name(name: str, file: Path | None = None) -> str:
    if name.startswith(".") or not name.isprintable() or {"/", "\\", ":"} & set(name) or not name.strip():
        raise InputError(
            "a study cannot have this name",
            file=file,
            expected="a name for a folder, such as demo; or the path of a study.toml",
            got=repr(name),
            fix="choose a name without slashes, colons or a leading dot",
        )
    return name


def open_study(study: str | Path) -> Study:
    """Read a study's description.

    Parameters
    ----------
    study : str or Path
        A name (see `study_file`) or the path of a ``.toml`` file. Paths inside the file are relative to it.

    Raises
    ------
    InputError
        If the file is missing or malformed, or lacks a key. What it names need not be there: `Study.need` asks for it.
    """
    file = study_file(study)
    if not file.is_file():
        raise InputError(
            f"there is no study {str(study)!r}",
            file=file,
            expected="a study.toml",
            got=f"no such file; there are {', '.join(_studies()) or 'no studies'}",
            fix=way_to(str(study), _studies()),
        )
    entries = _entries(file)
    _checked_name(entries["name"], file)
    subject, voxels = entries.get("subject", 0), _voxels(file, entries.get("voxels", {}))
    places: dict[str, Any] = dict.fromkeys(_PATHS)
    places |= {key: _absolute(file.parent, entries[key]) for key in _PATHS if key in entries}
    places["responses"] = _responses(file, places["responses"], subject, voxels)
    places["stimuli"] = places["stimuli"] or (places["nsd"] or file.parent) / STIMULI
    regions = _regions(file, entries, "regions", voxels)
    return Study(
        **{key: entries[key] for key in ("name", "simulated", "image_size")},
        subject=subject,
        voxels=voxels,
        regions=regions,
        dorsal=_regions(file, entries, "dorsal", voxels, regions or HIERARCHY),
        sites=entries.get("sites", SITES[0]),
        **places,
    )


def _absolute(folder: Path, path: str) -> Path:
    return Path(os.path.abspath(folder / os.path.expanduser(path)))  # links stay links


def as_toml(entries: Mapping[str, object]) -> str:
    """Return the text of a description: an entry a line."""
    # JSON's strings, numbers, booleans and lists are TOML's too, but for characters that JSON writes as two.
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in entries.items())


def _studies() -> list[str]:
    """Name the studies of the data folder."""
    return sorted({file.parent.name for file in (home() / "data").glob("*/*/study.toml")})


def _entries(file: Path) -> dict[str, Any]:
    kinds = ValueError, OSError, RecursionError  # not TOML, not text, not to be read
    fix = "correct that line; data/README.md shows a whole study.toml"
    with reading("the study's description cannot be read", *kinds, file=file, expected="TOML", fix=fix):
        entries = tomllib.loads(file.read_text(encoding="utf-8-sig"))  # Windows' editors begin with a BOM
    _check_keys(file, _TOP, {key: value for key, value in entries.items() if key not in _NOTES})
    source = ("responses", "stimuli") if "responses" in entries else ("nsd", "subject")
    needed = {"name", "simulated", "image_size", *source}
    asked = {key: kind for key, kind in _KINDS.items() if key in entries or key in needed}
    wrong = [key for key, kind in asked.items() if type(entries.get(key)) is not kind]
    if wrong:
        raise InputError(
            "the study's description is incomplete",
            file=file,
            expected=", ".join(f"{key} ({kind.__name__})" for key, kind in asked.items()),
            got=f"missing or of another type: {', '.join(wrong)}",
            fix="add them; data/README.md shows a whole study.toml, for NSD and for other responses",
        )
    check_choice("a study has no such sites", entries.get("sites", SITES[0]), SITES, fix="correct sites in study.toml")
    low = [f"{key} = {entries[key]}" for key in ("subject", "image_size") if entries.get(key, 1) < 1]
    if low:
        problem, expected = "a number in the study's description cannot be", "subject and image_size from 1"
        raise InputError(problem, file=file, expected=expected, got=", ".join(low), fix="correct it")
    return entries


def _check_keys(file: Path, part: str, entries: dict[str, Any]) -> None:
    """Raise `InputError` if a part of the file has a key that does not belong there; say where it does."""
    unknown = [key for key in entries if _STANDS.get(key) != part]
    if unknown:
        near = {key: get_close_matches(key, _STANDS, 1) for key in unknown}
        steps = [
            f"{found[0]} stands {_STANDS[found[0]]}" if found else f"leave out {key}" for key, found in near.items()
        ]
        steps += [
            "if an older version simulated the study: delete its folder and make it anew, by `python -m nbtools world`"
        ]
        raise InputError(
            "the study's description has a key that nothing reads",
            file=file,
            expected=f"{part}: {', '.join(key for key, place in _STANDS.items() if place == part)}",
            got=", ".join(unknown),
            fix="; ".join(steps if entries.get("simulated") is True else steps[:-1]),
        )


def _responses(file: Path, own: Path | None, subject: int, voxels: VoxelChoices) -> Path:
    """Return the folder of sessions: the study's own, else what `prepare` makes of NSD's volumes."""
    folder = own or file.parent / "responses" / f"subj{subject:02d}_{voxels.betas}_{voxels.retinotopy}"
    if voxels.subjects and not _SUBJECT.search(folder.name):
        raise InputError(
            "the responses of several subjects lie in one folder",
            file=file,
            expected="a folder of sessions a subject, such as subj01 and subj02; responses names one of them",
            got=folder,
            fix="rename the folders, or leave out subjects under [voxels]",
        )
    return folder


def _regions(file: Path, entries: dict[str, Any], key: str, voxels: VoxelChoices, taken: Any = ()) -> tuple[str, ...]:
    names = entries.get(key, [])
    named = all(type(name) is str and is_region(name) for name in names)
    if not named or len({*names, *taken}) < len(names) + len(taken):
        raise InputError(
            f"the study's {key} cannot be",
            file=file,
            expected=f"different names, early to late, none of {', '.join(taken) or 'them twice'}: {NAMING}",
            got=names,
            fix=f'write them as {key} = ["{"V3A" if taken else "V1"}", …]',
        )
    for roi in names if "nsd" in entries else ():
        region_labels(roi, voxels.retinotopy)
    return tuple(names)


def _voxels(file: Path, entries: dict[str, Any]) -> VoxelChoices:
    _check_keys(file, _UNDER, entries)
    given: dict[str, Any] = {key: tuple(value) if type(value) is list else value for key, value in entries.items()}
    choices = VoxelChoices(**given)
    sound = (
        choices.betas in list(BETAS)  # whatever stands there: a table has no hash
        and choices.retinotopy in list(RETINOTOPY)
        and type(choices.zscore) is bool
        and type(choices.noise_ceiling) in (int, float)
        and 0 <= choices.noise_ceiling < 100
        and (choices.zscore or not choices.noise_ceiling)  # the ceiling's formula takes a variance of 1
        and type(choices.subjects) is tuple
        and all(type(subject) is int and subject > 0 for subject in choices.subjects)
        and len(set(choices.subjects)) == len(choices.subjects) != 1
    )
    if not sound:
        raise InputError(
            "the study's choice of voxels cannot be",
            file=file,
            expected=f"betas of {', '.join(BETAS)}; retinotopy of {', '.join(RETINOTOPY)}; zscore true or false; "
            "noise_ceiling from 0 to 100, with zscore = true unless it is 0; subjects, two or more different",
            got=entries,
            fix="correct the entries under [voxels]",
        )
    return choices
