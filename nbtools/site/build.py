"""The site: its sources are gathered in one folder, laid out as the project is, and Sphinx makes pages of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import nbformat

from nbtools.data.study import home, open_study, study_name
from nbtools.errors import InputError
from nbtools.files import make_folder, writable, write_text
from nbtools.processes import Bar
from nbtools.runs import folders
from nbtools.runs.provenance import PROJECT
from nbtools.site.explorers import STAMP, kept_pages
from nbtools.site.outputs import Figure, prepare
from nbtools.site.pages import explorers_page, gallery_page, notebooks_page
from nbtools.site.rooms import reference
from nbtools.site.shown import Shown, note, shown

OWN = PROJECT / "docs" / "site"  # the configuration, and the pages that are the site's alone
# Of the project, each at its own place: links between them lead where they do in the repository.
PAGES = ("*.md", "docs/*.md", "docs/*.png", "docs/*.sh", "data/README.md", "notebooks/*.md", "config/**/*.yaml")
DEMO = "demo"
BUILT = ".buildinfo"  # Sphinx leaves it in what it has built
SOURCES = (".md", ".rst", ".ipynb")  # of pages


def build_site(study: str = DEMO, to: Path = PROJECT / "site", work: Path = PROJECT / "build" / "site") -> Path:
    """Build the site of a study's finished runs.

    Parameters
    ----------
    study : str
        Name of the study whose runs are shown.
    to : Path
        Where the site goes; a site that is there is replaced once the new one is built.
    work : Path
        Where its sources are gathered; emptied first.

    Returns
    -------
    Path
        The start page.

    Raises
    ------
    InputError
        If there is no such study, something else than a site lies at `to`, or one that cannot be replaced; if Sphinx or
        the project's pages are not installed, or Sphinx found a fault, such as a link that leads nowhere.
    """
    _check_place(to)
    name = study_name(study)
    if name != DEMO and not (home() / "runs" / name).is_dir():
        open_study(study)  # one that there is may have no run yet; the demo's pages are the project's own, too
    shutil.rmtree(work, ignore_errors=True)
    sources, built = work / "sources", work / "html"
    gather(name, sources)
    _run_sphinx(sources, built)
    with writable(to):
        if to.exists():
            shutil.rmtree(to)
        shutil.move(built, to)
    return to / "index.html"


def _run_sphinx(sources: Path, built: Path) -> None:
    """Build pages; whatever Sphinx warns of, a link that leads nowhere among it, is an error."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "auto", str(sources), str(built)]
    n_pages = sum(file.suffix in SOURCES for file in sources.rglob("*"))
    with subprocess.Popen(command) as process, Bar(None, "pages read, then written", 2 * n_pages, unit="page") as bar:
        while process.poll() is None:
            time.sleep(1)
            made = [file.suffix for file in built.rglob("*")]
            bar.update(made.count(".doctree") + made.count(".html") - bar.n)
    if process.returncode:
        expected, fix = "sources without a fault", "mend what Sphinx names above, then build again"
        raise InputError("the site was not built", file=sources, expected=expected, got="faults", fix=fix)


def _check_place(to: Path) -> None:
    if find_spec("myst_nb") is None:
        expected, fix = "the packages of the extra `site`", "install the lock (make .venv/.ready)"
        raise InputError("Sphinx is not installed", expected=expected, got="none", fix=fix)
    if not OWN.is_dir():
        expected, fix = "docs/site of the project", "build the site in a clone of the project"
        raise InputError("the site's own pages are not here", file=OWN, expected=expected, got="none", fix=fix)
    if to.exists() and not (to / BUILT).exists() and (to.is_file() or any(to.iterdir())):
        expected, fix = "a site, or an empty folder", "name another folder, or move what is there"
        raise InputError("this folder holds no site", file=to, expected=expected, got="other files", fix=fix)


def gather(study: str, folder: Path) -> None:
    """Write all sources of a study's site into a folder.

    Parameters
    ----------
    study : str
        Name of the study whose runs are shown.
    folder : Path
        New or empty.
    """
    make_folder(folder)
    shutil.copytree(OWN, folder, dirs_exist_ok=True)
    for file in (file for pattern in PAGES for file in PROJECT.glob(pattern)):
        _copy(file, folder / file.relative_to(PROJECT))
    explorers = folder / "extra" / "explorers"  # static pages of the explorers, where there are any: kept as they are
    make_folder(explorers.parent)
    try:
        shutil.copytree(kept_pages(study), explorers, ignore=shutil.ignore_patterns(STAMP))
    except InputError as error:  # the site shows pictures of them
        print(f"the explorers cannot be moved on this site: {error}")
    pages = [shown(name, study) for name in Bar(folders.notebooks(), "notebooks", leave=False)]
    figures = [figure for page in pages for figure in _write_notebook(page, folder)]
    _write_library(folder / "static")
    written = {"gallery.md": gallery_page(figures, pages), "notebooks/index.md": notebooks_page(pages)}
    written["explorers-page.md"] = explorers_page(explorers)
    written |= {f"reference/{name}.rst": text for name, text in reference().items()}
    for name, text in written.items():
        write_text(folder / name, text)


def _copy(file: Path, to: Path) -> None:
    make_folder(to.parent)
    shutil.copyfile(file, to)


def _write_notebook(page: Shown, folder: Path) -> Iterable[Figure]:
    """Write a notebook's page and the data of its figures, and return the figures."""
    told = nbformat.v4.new_markdown_cell(note(page))  # of the cells as they ran
    figures = prepare(page.notebook, page.name)
    page.notebook.cells.insert(1, told)
    write_text(folder / "notebooks" / f"{page.name}.ipynb", nbformat.writes(page.notebook))
    _copy(folders.NOTEBOOKS / f"{page.name}.ipynb", folder / "kept" / f"{page.name}.ipynb")  # to download
    for figure in figures:
        write_text(folder / "static" / "figures" / f"{figure.name}.js", figure.script)
    return figures


def _write_library(static: Path) -> None:
    """Put plotly.js, the one that the figures were drawn with, among the site's files."""
    from plotly.offline import get_plotlyjs  # slow

    write_text(static / "plotly.min.js", get_plotlyjs())
