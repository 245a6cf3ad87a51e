"""How a file is written: beside its place, then put there. It appears whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbtools.errors import InputError

PREFIX = ".tmp-"  # of what a killed process leaves behind; nothing reads a file of such a name


@contextmanager
def written(file: Path) -> Iterator[Path]:
    """Give the path to write to; on leaving, put what is there in the place of `file`, or remove it after an error.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written to: what was there before is still there.
    """
    # The name does not end as the file's does: a search for *.parquet must not find half a table.
    beside = file.with_name(f"{PREFIX}{file.name}.{os.getpid()}")
    with writable(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write into an `InputError` that says what to do; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise InputError(
            "a file cannot be written",
            file=path,
            expected="room on the disk, and a folder that may be written to",
            got=os.strerror(error.errno or 0),
            fix=_REFUSALS[error.errno] + "; what is done is kept: then run the same command again",
        ) from error


_FULL, _DENIED = "make room on that disk or choose another", "choose a folder of your own, or ask for the rights"
_REFUSALS = {
    **dict.fromkeys((errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)), _FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST), _DENIED),
}
