"""The simulated study: a teaching instrument with a planted truth, in the real layouts. Not evidence."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from nbtools.checks import reading
from nbtools.data.names import ProfileName, Truth, usual_name
from nbtools.data.study import Study
from nbtools.data.synthetic.files import sweep, write_bytes
from nbtools.data.synthetic.recipe import RECIPE, Settings
from nbtools.data.synthetic.verdicts import expected_verdicts
from nbtools.data.synthetic.world import OTHERS, World
from nbtools.errors import InputError
from nbtools.processes import Bar

__all__ = ["check_made", "draw_others", "expected_verdicts", "make_study"]


def make_study(
    folder: Path,
    *,
    seed: int = 0,
    profile: ProfileName = "demo",
    truth: Truth = "beyond",
    image_size: int = 32,
    subject: int = 1,
    dorsal: bool = False,
    name: str | None = None,
    progress: bool = True,
) -> Path:
    """Make the simulated study, or finish one that was interrupted.

    Parameters
    ----------
    folder : Path
        Where the study goes. Files that are there are kept.
    seed : int
        The same seed gives the same bytes.
    profile : {"demo", "tiny"}
        3,250 scanner images in 13 sessions, or 750 in 3.
    truth : {"beyond", "labels", "null", "quality"}
        What is true of this world: late regions help, by more than labels; by labels alone; no region differs from
        another; late regions are only measured better (`recipe.regions`).
    image_size : int
        Side length of all images, pixels; 16 to 256.
    subject : int
        1 to 8: another subject has other voxels and another scanner noise, and sees the same scenes.
    dorsal : bool
        Whether the subject has dorsal regions too (V3A, V3B, IPS0), which code where objects lie and how large they
        are. All that the ventral ones do is the same, bit by bit.
    name : str, optional
        The study's name; by default `usual_name`.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Path
        The ``study.toml``, for `nbtools.data.study.open_study`.

    Raises
    ------
    InputError
        If an argument is out of range, or the folder holds a study made with other settings.
    """
    name = name or usual_name(profile, truth, subject, dorsal)
    world = World(Path(folder), Settings(name, seed, profile, truth, image_size, subject, dorsal))
    _claim(world)
    sweep(world.folder)
    with Bar(world.steps(), desc=f"simulated study {name}", disable=not progress) as bar:
        for label, step in bar:
            bar.set_postfix_str(label)
            step()
    return world.folder / "study.toml"


def draw_others(study: Study) -> Path:
    """Draw images that are no part of a simulated study, beside it; those that are there are kept.

    Parameters
    ----------
    study : Study
        Made by `make_study`. None of its files is changed.

    Returns
    -------
    Path
        Folder of ``silhouettes/<class>/*``, the objects of its validation images, each of its image's name, black on
        white, and of ``categories/train/<category>/*`` and ``categories/val/<category>/*``, as many images a category
        as the study has of a class: objects that none of its images shows.

    Raises
    ------
    InputError
        If nobody knows what the study's images show, or another version made it.
    """
    path = study.nsd.parent / "settings.json" if study.simulated and study.nsd else None
    if path is None or not path.exists():
        raise InputError(
            "nobody knows the objects of this study's images",
            file=path,
            expected="a study made by make_study",
            got=study.title,
            fix="give folders of such images: data/README.md says how they are laid out",
        )
    check_made(study)
    own = {each.name for each in fields(Settings)}
    world = World(path.parent, Settings(**{name: value for name, value in _settings_in(path).items() if name in own}))
    for _, step in Bar(list(world.other_steps()), "other images"):
        step()
    return world.folder / OTHERS


def check_made(study: Study, **wanted: object) -> None:
    """Raise `InputError` if a simulated study was made with other settings than these, or by another version.

    Parameters
    ----------
    study : Study
        Any; of one that was not made by `make_study` nothing is asked.
    **wanted
        Arguments of `make_study`: those that matter.
    """
    path = study.nsd.parent / "settings.json" if study.simulated and study.nsd else None
    if path is None or not path.exists():
        return
    made = _settings_in(path)
    expected = {name: str(value) for name, value in {"recipe": RECIPE, **wanted}.items()}
    got = {name: str(made.get(name)) for name in expected}
    if got != expected:
        raise InputError(
            "the simulated study that is there was made otherwise",
            file=path,
            expected=", ".join(f"{name} {value}" for name, value in expected.items()),
            got=", ".join(f"{name} {value}" for name, value in got.items()),
            fix="delete its folder to make it anew (and its runs), or name another study",
        )


def _settings_in(path: Path) -> dict[str, Any]:
    again = {"expected": "JSON", "fix": "delete the study's folder: it is made anew"}
    with reading("the study's settings cannot be read", OSError, ValueError, file=path, **again):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def _claim(world: World) -> None:
    """Write the settings into a new folder; refuse one that holds another study, or other files."""
    path = world.folder / "settings.json"
    if not path.exists():
        if (world.folder / "study.toml").exists():
            raise InputError(
                "the folder holds a study that was not made here",
                file=world.folder / "study.toml",
                expected="an empty folder, or one with a settings.json",
                got="a study.toml without it",
                fix="choose another folder",
            )
        write_bytes(path, world.identity())
    elif path.read_bytes() != world.identity():
        raise InputError(
            "the folder holds a study made with other settings",
            file=path,
            expected=" ".join(world.identity().decode().split()),
            got=" ".join(path.read_text(encoding="utf-8").split()),
            fix="choose another folder or the same settings, or delete this one to make it anew",
        )
