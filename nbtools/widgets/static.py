"""The explorers as pages that need no Python: a folder to open from a disk, to send, or to put on any server."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import chain
from pathlib import Path
from string import Template

from nbtools.data.study import Study, open_study
from nbtools.errors import InputError
from nbtools.files import writable, write_text, written
from nbtools.widgets.pages.attack import attack_files
from nbtools.widgets.pages.geometry import geometry_files
from nbtools.widgets.pages.sprites import Files
from nbtools.widgets.pages.study import study_files
from nbtools.widgets.study_state import all_runs

LIMIT = 15_000_000  # bytes in all
PAGES = {
    "index": "Explorers",
    "attack": "Attack explorer",
    "geometry": "Geometry explorer",
    "study": "Study explorer",
}
_PARTS = Path(__file__).parent / "pages"


def write_pages(folder: Path, study: str = "demo", n_images: int = 24) -> list[Path]:
    """Write a study's explorers as pages, from its finished runs.

    Parameters
    ----------
    folder : Path
        Where to; pages that were written there before are replaced.
    study : str
        A study by name, or the path of its ``study.toml``.
    n_images : int
        Test images on the attack page.

    Returns
    -------
    list of Path
        What was written, ``index.html`` first.

    Raises
    ------
    InputError
        If runs are missing (with the commands that make them), or the pages would be larger than `LIMIT`.

    Notes
    -----
    No page asks for anything but the files beside it. Each network is attacked here, on all images at 13 ε, four times
    over, which takes nearly all of the time; all else is read from the runs. The pages hold pictures of the study: they
    may be passed on where its images may.
    """
    source, runs = open_study(study), all_runs(study)
    files: Files = {f"{name}.html": _page(name, source) for name in PAGES}
    made: Iterator[Files] = chain(
        [geometry_files(source, runs), study_files(source, runs)], attack_files(source, runs, n_images)
    )
    for part in made:
        files |= part
        _check_size(files)
    for old in (folder / "data").glob("attack-*.js"):  # of networks that are not there any more
        with writable(old):
            old.unlink()
    return [_write(folder / name, content) for name, content in files.items()]


def _page(name: str, source: Study) -> str:
    """Put a page together: its words, one look, and its scripts as one module inside it."""
    links = "".join(
        f'<a href="{other}.html"{" aria-current=page" * (other == name)}>{title}</a>' for other, title in PAGES.items()
    )
    script = "\n".join((_PARTS / f"{part}.js").read_text(encoding="utf-8") for part in ("shared", "charts", name))
    simulated = '<strong class="badge" title="No brain was measured: it teaches the method.">simulated</strong>'
    return Template((_PARTS / "page.html").read_text(encoding="utf-8")).substitute(
        title=f"{PAGES[name]} · {escape(source.title)}",
        study=escape(source.name),
        badge=simulated * source.simulated,
        links=links,
        style=(_PARTS / "style.css").read_text(encoding="utf-8"),
        main=(_PARTS / f"{name}.html").read_text(encoding="utf-8"),
        script=script,
    )


def _check_size(files: Files) -> None:
    size = sum(len(content.encode() if isinstance(content, str) else content) for content in files.values())
    if size > LIMIT:
        raise InputError(
            "the pages are too large",
            expected=f"at most {LIMIT / 1e6:.0f} MB",
            got=f"more than {size / 1e6:.1f} MB",
            fix="show fewer images, such as --images 12",
        )


def _write(file: Path, content: str | bytes) -> Path:
    if isinstance(content, str):
        return write_text(file, content)
    with written(file) as beside:
        beside.write_bytes(content)
    return file
