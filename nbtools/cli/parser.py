"""The parser of the command line."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """argparse's, whose errors say how parameters are written, where one seems to be meant."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and end."""
        meant = re.search(r"argument -p:|unrecognized arguments: \w+=", message)
        super().error(message + "; a parameter is two words, such as: -p roi V1" * bool(meant))
