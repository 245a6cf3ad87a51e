"""The command line: get data, run notebooks in batch, look at results, teach, measure speed."""

from __future__ import annotations

import argparse
import os
import sys
from math import inf
from typing import get_args

from nbtools import __version__, bench, data, workflow
from nbtools.checks import check_range
from nbtools.cli.fetching import add_fetch
from nbtools.cli.lab import add_lab
from nbtools.cli.networks import add_networks
from nbtools.cli.pages import add_pages
from nbtools.cli.parser import STUDY, Parser, add
from nbtools.cli.preparing import add_prepare
from nbtools.cli.runs import add_runs
from nbtools.cli.studies import add_studies
from nbtools.cli.teaching import add_teaching
from nbtools.data.names import USUAL, ProfileName, Truth
from nbtools.data.study import home
from nbtools.errors import InputError

# Of numbers in any command.
_RANGES = {"subject": (1, 8), "size": (1, inf), "jobs": (1, inf), "cores": (1, inf), "port": (1, 65535)}


def main(arguments: list[str] | None = None) -> int:
    """Run ``nbtools …``; return the exit status."""
    try:
        chosen = _parser().parse_args(arguments)
        for name in _RANGES.keys() & {given for given, value in vars(chosen).items() if value is not None}:
            check_range(f"--{name}", getattr(chosen, name), *_RANGES[name])
        status = chosen.command(chosen) or 0
        sys.stdout.flush()  # so that a reader who has left is met here, not at the interpreter's end
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="nbtools", description=__doc__)
    parser.add_argument("--version", action="version", version=f"nbtools {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_data(commands)
    for add_some in (add_runs, add_studies, add_lab, add_teaching, add_networks, add_pages):
        add_some(commands)
    speed = add(commands, "bench", _bench, "measure speed side by side with the usual way")
    speed.add_argument("names", nargs="*", help="comparisons to run (default: all)")
    return parser


def _add_data(commands: argparse._SubParsersAction) -> None:
    world = add(commands, "world", _world, "make the simulated study")
    world.add_argument("name", nargs="?", help="its folder under data/derived (default: demo, demo-null …)")
    world.add_argument("--seed", type=int, default=0)
    world.add_argument("--profile", choices=get_args(ProfileName), help="(default: what a usual name says, or demo)")
    truths = "what is true of it: late regions help (beyond), by labels alone (labels), no region differs (null), "
    truths += "late regions are only measured better (quality); default: what a usual name says, or beyond"
    world.add_argument("--truth", choices=get_args(Truth), help=truths)
    subjects = "1 to 8: other voxels, the same scenes; default: what a usual name says, or 1"
    world.add_argument("--subject", type=int, help=subjects)
    also = "with V3A, V3B and IPS0, which code position and size"
    world.add_argument("--dorsal", action="store_true", default=None, help=also)
    add_fetch(commands)
    add_prepare(commands)
    doctor = add(commands, "doctor", _doctor, "say what data a study has, what is damaged, what it can run")
    doctor.add_argument("study", **STUDY)
    doctor.add_argument("--deep", action="store_true", help="read every byte and compare checksums")


def _world(chosen: argparse.Namespace) -> None:
    usual = USUAL.get(chosen.name, USUAL["demo"])
    world = {key: value if (value := getattr(chosen, key)) is not None else usual[key] for key in usual}
    name = data.study_name(chosen.name or data.usual_name(**world))
    file = data.make_study(home() / "data" / "derived" / name, seed=chosen.seed, **world, name=name)
    print(f"simulated study: {file}")


def _doctor(chosen: argparse.Namespace) -> int:
    return workflow.examine(str(workflow.config_named(chosen.study).get("study", "demo")), deep=chosen.deep)


def _bench(chosen: argparse.Namespace) -> None:
    bench.main(chosen.names)
