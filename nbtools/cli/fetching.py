"""Public data on the command line: ``fetch``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nbtools.cli.parser import add
from nbtools.conditions import RETINOTOPY
from nbtools.data.study import BETAS
from nbtools.errors import InputError

if TYPE_CHECKING:
    from nbtools.data.fetch.obtain import Route


def add_fetch(commands: argparse._SubParsersAction) -> None:
    """Add the command ``fetch``."""
    fetch = commands.add_parser("fetch", help="fetch public data; what is there is kept, what broke off goes on")
    kinds = fetch.add_subparsers(required=True, metavar="what", dest="what")
    nsd = add(kinds, "nsd", _fetch_nsd, "fetch a subject's betas, regions and design (Natural Scenes Dataset)")
    nsd.add_argument("--subject", type=int, default=1, help="1 to 8 (default: 1)")
    nsd.add_argument("--sessions", default="", help="such as 1-10 or 1,2,5 (default: all)")
    nsd.add_argument("--rois", nargs="+", default=[], help="reduce sessions to these regions and remove their volumes")
    nsd.add_argument("--keep-volumes", action="store_true", help="with --rois: keep the volumes too")
    nsd.add_argument("--betas", choices=BETAS, default="b3", help="version of the betas (default: b3, the paper's)")
    nsd.add_argument("--retinotopy", choices=RETINOTOPY, default="Kastner2015", help="where V1 to V4 are taken from")
    nsd.add_argument("--hdf5", action="store_true", help="fetch .hdf5 files: larger than .nii.gz, read faster")
    stimuli = add(kinds, "stimuli", _fetch, "fetch the images NSD's subjects saw (37 GB)")
    conflict = add(kinds, "cue-conflict", _fetch, "fetch the cue-conflict images of Geirhos et al. 2019")
    cifar = add(kinds, "cifar100", _fetch, "fetch CIFAR-100 and sort it into folders")
    things = add(kinds, "things", _fetch, "fetch THINGS' pictures and their categories (5 GB)")
    tvsd = add(kinds, "tvsd", _fetch_tvsd, "fetch two macaques' V1, V4 and IT (0.2 GB a monkey)")
    tvsd.add_argument("--monkeys", nargs="+", default=("F", "N"), help="(default: F N)")
    fmri = add(kinds, "things-fmri", _fetch_things_fmri, "fetch three people's V1 to TO (43 GB, reduced to 1 GB)")
    fmri.add_argument("--subjects", nargs="+", type=int, default=(1, 2, 3), help="(default: 1 2 3)")
    fmri.add_argument("--rois", nargs="+", default=(), help="regions (default: V1 V2 V4 VO PPA LO TO)")
    for parser in (nsd, stimuli, conflict, cifar, things, tvsd, fmri):
        parser.add_argument("--to", type=Path, help="folder (default: in data/raw)")
        parser.add_argument("--mirror", help="address to fetch from in place of the public one")
        parser.add_argument("--proxy", help="proxy for http and https (default: that of the environment)")
        parser.add_argument("--dry-run", action="store_true", help="say what and how large, and fetch nothing")
        parser.add_argument("--jobs", type=int, default=4, help="files at the same time (default: 4)")
    for parser in (nsd, stimuli):
        parser.add_argument("--agreed", action="store_true", help="you filled in NSD's access form and keep its terms")
    things.add_argument("--agreed", action="store_true", help="you keep the terms that are told first")


def _fetch_nsd(chosen: argparse.Namespace) -> None:
    from nbtools.data.fetch.obtain import NsdWish, obtain_nsd

    wish = NsdWish(
        subject=chosen.subject,
        sessions=_numbers(chosen.sessions),
        rois=tuple(chosen.rois),
        keep_volumes=chosen.keep_volumes or not chosen.rois,
        betas=chosen.betas,
        retinotopy=chosen.retinotopy,
        ending=".hdf5" if chosen.hdf5 else ".nii.gz",
    )
    obtain_nsd(wish, chosen.to, _route(chosen))


def _fetch_tvsd(chosen: argparse.Namespace) -> None:
    from nbtools.data.fetch.things import obtain_tvsd

    obtain_tvsd(chosen.monkeys, chosen.to, _route(chosen))


def _fetch_things_fmri(chosen: argparse.Namespace) -> None:
    from nbtools.data.fetch.things import obtain_things_fmri

    obtain_things_fmri(chosen.subjects, chosen.rois, chosen.to, _route(chosen))


def _fetch(chosen: argparse.Namespace) -> None:
    from nbtools.data.fetch import obtain, things

    obtainers = {
        "stimuli": obtain.obtain_stimuli,
        "cue-conflict": obtain.obtain_cue_conflict,
        "cifar100": obtain.obtain_cifar100,
        "things": things.obtain_things,
    }
    obtainers[chosen.what](chosen.to, _route(chosen))


def _route(chosen: argparse.Namespace) -> Route:
    from nbtools.data.fetch.obtain import Route

    agreed = getattr(chosen, "agreed", True)
    return Route(chosen.mirror, chosen.proxy, chosen.dry_run, chosen.jobs, agreed)


def _numbers(text: str) -> tuple[int, ...]:
    """Read ``1-3,7`` as 1, 2, 3, 7."""
    parts = [re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in text.split(",") if part]
    spans = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts if part]
    if not all(parts) or not all(spans):
        raise InputError(
            "these are no sessions", expected="numbers such as 1-10 or 1,2,5", got=repr(text), fix="correct --sessions"
        )
    return tuple(sorted(set().union(*spans)))
