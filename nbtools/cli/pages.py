"""What is read without Python, on the command line: the explorers' pages, the site."""

from __future__ import annotations

import argparse
from math import inf
from pathlib import Path

from nbtools.checks import check_range
from nbtools.cli.parser import add
from nbtools.data.study import home, study_name


def add_pages(commands: argparse._SubParsersAction) -> None:
    """Add the commands ``pages`` and ``site``."""
    pages = add(commands, "pages", _pages, "write the explorers as pages that open in a browser without Python")
    pages.add_argument("--study", default="demo", help="name, or path of a study.toml (default: demo)")
    pages.add_argument("--to", type=Path, metavar="FOLDER", help="(default: build/pages/ and the study's name)")
    pages.add_argument("--images", type=int, default=24, help="on the attack page (default: 24)")
    site = add(commands, "site", _site, "build the site: notebooks with a study's outputs, methods, reference, gallery")
    site.add_argument("study", nargs="?", default="demo", help="whose finished runs are shown (default: demo)")


def _pages(chosen: argparse.Namespace) -> None:
    check_range("--images", chosen.images, 2, inf, whole=True)
    from nbtools.widgets.static import write_pages  # imports slowly

    folder = chosen.to or home() / "build" / "pages" / study_name(chosen.study)
    files = write_pages(folder, chosen.study, chosen.images)
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"{len(files)} files, {size:.1f} MB; open {files[0]}")


def _site(chosen: argparse.Namespace) -> None:
    from nbtools.site import build_site

    print(f"Site: {build_site(chosen.study)}")
