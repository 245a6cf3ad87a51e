"""Where a network from outside goes, and whether it may: asked before anything of it is read."""

from __future__ import annotations

from pathlib import Path

from nbtools.conditions import ADOPTED, is_adopted
from nbtools.data.study import open_study
from nbtools.errors import InputError
from nbtools.guides import NAMING
from nbtools.runs.folders import run_folder
from nbtools.runs.lineage import NETWORKS
from nbtools.runs.records import RECORD


def free_folder(name: str, study: str, seed: int) -> Path:
    """Return the folder that a network from outside is to have.

    Parameters
    ----------
    name, study, seed
        As `nbtools.runs.adopt` takes them.

    Raises
    ------
    InputError
        If the name cannot be, there is no such study, or there is such a network already.
    """
    condition, bare = ADOPTED + name, name.removeprefix(ADOPTED)
    if not is_adopted(condition):
        fix = f"write {bare}: {ADOPTED} is added" if is_adopted(ADOPTED + bare) else "choose another"
        raise InputError("a network cannot have this name", expected=NAMING, got=repr(name), fix=fix)
    open_study(study)
    folder = run_folder(NETWORKS, {"study": study, "roi": condition, "seed": seed})
    if (folder / RECORD).exists():
        raise InputError(
            f"there is a {condition} of seed {seed} already",
            file=folder,
            expected="another name, or another seed",
            got=name,
            fix="choose one, or delete that folder and what was made of it",
        )
    return folder
