"""The parser of the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn

Command = Callable[[argparse.Namespace], int | None]  # its exit status, if that is not always 0
# What the commands take that are about a study as a whole.
PARAMETER: dict[str, Any] = {
    "nargs": 2,
    "action": "append",
    "default": [],
    "metavar": ("NAME", "VALUE"),
    "help": "set a parameter of the notebook",
}
STUDY: dict[str, Any] = {
    "nargs": "?",
    "default": "demo",
    "help": "config/nsd.yaml, or nsd for short; or a study's name or path of its study.toml (default: demo)",
}


class Parser(argparse.ArgumentParser):
    """argparse's, whose errors say how parameters are written, where one seems to be meant."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and end."""
        meant = re.search(r"argument -p:|unrecognized arguments: \w+=", message)
        super().error(message + "; a parameter is two words, such as: -p roi V1" * bool(meant))


def add(commands: argparse._SubParsersAction, name: str, command: Command, about: str) -> argparse.ArgumentParser:
    """Add a command, and what it is about."""
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    parser.set_defaults(command=command)
    return parser
