"""The explorers of a site: attacking every network takes minutes, so pages of the same runs and code are kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nbtools.data.study import home, open_study
from nbtools.files import sha256_of, write_text
from nbtools.places import PACKAGE
from nbtools.runs.records import RECORD
from nbtools.widgets.static import write_pages

STAMP = "made_of"  # in the folder of pages: the digest of all that they were made of
_CODE = (".py", ".js", ".css", ".html")


def kept_pages(study: str) -> Path:
    """Return the folder of a study's explorers as pages; they are written unless they are there, of these runs.

    Parameters
    ----------
    study : str
        A study by name.

    Raises
    ------
    InputError
        As `widgets.write_pages`.
    """
    folder = home() / "build" / "explorers" / study
    stamp, made_of = folder / STAMP, _made_of(study)
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != made_of:
        stamp.unlink(missing_ok=True)  # of pages that are half another's, should this be stopped
        write_pages(folder, study)
        write_text(stamp, made_of)
    return folder


def _made_of(study: str) -> str:
    """Digest the study's description, the records of its finished runs, and the package's own code."""
    records = sorted((home() / "runs" / study).rglob(RECORD))
    code = sorted(file for file in PACKAGE.rglob("*") if file.suffix in _CODE)
    told = [repr(open_study(study)), *(f"{file} {sha256_of(file)}" for file in (*records, *code))]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
