"""A reader's copies of an installed package's notebooks and study files: made and renewed, never overwritten.

Where they lie in a reader's folder, they are what runs; a checkout has no copies.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path

from nbtools.checks import reading
from nbtools.data.study import home
from nbtools.files import write_text, written
from nbtools.places import COPIED, INSTALLED, PROJECT

_FOLDERS = ("notebooks", "config", "data")  # what a reader changes, and the page on data


def own_folder() -> Path:
    """Return the folder of the ``notebooks/`` and ``config/`` that count: of a reader's copies, else the project's."""
    return home() if INSTALLED and _manifest().is_file() else PROJECT


def found(path: str | Path) -> Path:
    """Return a path as it is given; where nothing is there, the project's own file or folder of that name, if any."""
    places = (Path(path), own_folder() / path, PROJECT / path)
    return next((place for place in places if place.exists()), Path(path))


def renew() -> list[str]:
    """Copy the project's files into the home, and renew copies in which nothing but outputs has changed.

    Returns
    -------
    list of str
        The files that stay a reader's, though the project's is another than they began with.

    Raises
    ------
    InputError
        If a file cannot be written, or the list of copies not be read.
    """
    then = _began_with()
    kept: list[str] = []
    for file in sorted(file for folder in _FOLDERS for file in (PROJECT / folder).rglob("*") if file.is_file()):
        name = file.relative_to(PROJECT).as_posix()
        copy, ours = home() / name, _digest(file)
        there = _digest(copy) if copy.is_file() else then.get(name)
        if there not in (ours, then.get(name)):
            kept += [name] * (ours != then.get(name))
            continue
        if there != ours or not copy.is_file():
            with written(copy) as beside:
                shutil.copyfile(file, beside)
        then[name] = ours
    write_text(_manifest(), json.dumps(then, indent=1) + "\n")
    return kept


def _manifest() -> Path:
    """Return where it is noted what each copy began with."""
    return home() / "notebooks" / COPIED


def _began_with() -> dict[str, str]:
    if not (file := _manifest()).is_file():
        return {}
    fix = "delete it: no file beside it will be overwritten"
    kinds = OSError, ValueError, TypeError
    with reading("the list of copies cannot be read", *kinds, file=file, expected="JSON", fix=fix):
        return dict(json.loads(file.read_text(encoding="utf-8")))


def _digest(file: Path) -> str:
    """Digest a file's bytes, or a notebook's cells without what came out of them."""
    content = file.read_bytes()
    if file.suffix == ".ipynb":
        with suppress(ValueError, LookupError, TypeError):  # no notebook any more: somebody's change, too
            cells = json.loads(content)["cells"]
            content = json.dumps([[cell["cell_type"], "".join(cell["source"])] for cell in cells]).encode()
    return hashlib.sha256(content).hexdigest()
