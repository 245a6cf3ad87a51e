"""Errors: input that cannot be trusted, which says what to do next; notes; work that was told to stop."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Input that would have given a wrong number.

    Parameters
    ----------
    problem : str
        What is wrong, in one sentence.
    expected, got : object
        What should have been there, and what was.
    fix : str
        What the reader can do next.
    file : path, optional
        The file that holds the bad input.
    """

    def __init__(self, problem: str, *, expected: object, got: object, fix: str, file: str | Path | None = None):
        where = [f"  file:     {file}"] if file is not None else []
        lines = [problem, *where, f"  expected: {expected}", f"  got:      {got}", f"  to do:    {fix}"]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple:
        return _again, (type(self), str(self))  # an error crosses from a worker process as its text


def _again(kind: type[InputError], text: str) -> InputError:
    error = kind.__new__(kind)
    ValueError.__init__(error, text)
    return error


class FileInUse(InputError):
    """A file that another program has open: it is sound, and can be read once it is closed there."""


class Note(UserWarning):
    """What a reader should know of the input, though numbers can be had: shown as a sentence, without any code."""


_formatted = warnings.formatwarning


def _as_sentence(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> str:
    return f"note: {message}\n" if issubclass(category, Note) else _formatted(message, category, *place, **line)


warnings.formatwarning = _as_sentence


class Interrupted(Exception):
    """The system asked this process to end (SIGTERM): its work is kept, and goes on when the same is run again."""

    STATUS = 75  # of the command line; sysexits.h calls it EX_TEMPFAIL: try again

    def __str__(self) -> str:
        return "told to stop (SIGTERM): the checkpoint is kept; run the same again to go on from it"


class Helped(Exception):
    """A process that was started to train beside the first one has done so; the rest of the notebook is the first's."""
