"""How a file is written: beside its place, then put there, by one process at a time, where there is room; how tables
and HDF5 files are opened to read.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nbtools.checks import as_names, plain, reading
from nbtools.errors import FileInUse, InputError

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    import pyarrow
    from torch import Tensor

# What h5py raises where a file's bytes are damaged.
HDF5_ERRORS = OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError
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


def write_text(file: Path, text: str) -> Path:
    """Write a text file, whole or not at all, and return its path."""
    with written(file) as beside:
        beside.write_text(text, encoding="utf-8")
    return file


def write_tensors(file: Path, tensors: dict[str, Tensor], said: dict[str, str] | None = None) -> None:
    """Write tensors of the CPU, each contiguous and with memory of its own, as safetensors: whole or not at all.

    Raises
    ------
    InputError
        As `written`.
    """
    from safetensors import SafetensorError  # with torch: help should not wait for it
    from safetensors.torch import save_file

    with written(file) as beside:
        try:
            save_file(tensors, beside, said)
        except SafetensorError as error:  # holds the system's refusal in words alone
            if not (number := re.search(r"\(os error (\d+)\)", str(error))):
                raise
            raise OSError(int(number[1]), str(error)) from error


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless they are there; raise `InputError` where the system refuses."""
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)


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


def free_space(folder: Path) -> int:
    """Return how many bytes are free on the disk of a folder, which need not exist yet."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free


def require_space(folder: Path, n_bytes: int) -> None:
    """Raise `InputError` unless the disk of a folder, which need not exist yet, has room for so many bytes."""
    free = free_space(folder)
    if n_bytes > free:
        raise InputError(
            "there is not enough room on the disk",
            file=folder,
            expected=f"{n_bytes / 1e9:.2f} GB free",
            got=f"{free / 1e9:.2f} GB free",
            fix=f"free {(n_bytes - free) / 1e9:.2f} GB, or put the data on a larger disk",
        )


def read_table(file: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a parquet table of plain columns: numbers, text, times. Categories come back as what they are.

    Parameters
    ----------
    file : Path
        The table.
    columns : sequence of str, optional
        Columns to read; left out, all.

    Raises
    ------
    InputError
        If the file is missing, no table, damaged, lacks a column, or holds objects of a type it brings along.
    """
    # pandas imports slowly, and writing a file does not need it
    import pandas as pd
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    names = None if columns is None else as_names(columns)
    with reading(
        "the table cannot be read",
        *(OSError, ValueError, LookupError, TypeError, AttributeError, MemoryError, ArrowException),
        file=file,
        expected=f"a parquet table with {', '.join(names)}" if names else "a parquet table of numbers and text",
        fix="make it again: a run's, by deleting its folder and running its notebook",
    ):
        # Such a column says which code makes its objects; older readers ran it.
        made = [field.name for field in read_schema(file) if _is_extension(field)]
        if made:
            raise ValueError(f"objects in {', '.join(made)}")
        return plain(pd.read_parquet(file, engine="pyarrow", columns=names))


def _is_extension(field: pyarrow.Field) -> bool:
    from pyarrow import BaseExtensionType

    return isinstance(field.type, BaseExtensionType) or b"ARROW:extension:name" in (field.metadata or {})


@contextmanager
def opened_hdf5(file: Path, problem: str, *, expected: object, fix: str) -> Iterator[h5py.File]:
    """Open an HDF5 file to read; what h5py raises of a damaged one, then or while it is read, is an `InputError`.

    Parameters
    ----------
    file : Path
        The file.
    problem, expected, fix : str
        What an error about a missing or damaged file says.

    Raises
    ------
    FileInUse
        If another program has the file open, and locked.
    InputError
        If it is missing, damaged or no HDF5 file.
    """
    import h5py

    with (
        reading(problem, *HDF5_ERRORS, file=file, expected=expected, fix=fix),
        _unlocked(file),
        h5py.File(file, "r") as tree,
    ):
        yield tree


@contextmanager
def _unlocked(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if "unable to lock file" not in str(error):  # as HDF5 says it, whatever number the system gives it
            raise
        raise FileInUse(
            "the file is in use: another program has it open, and it is not damaged",
            file=file,
            expected="an HDF5 file that no program is writing to",
            got=f"HDF5: {error.strerror or error}",
            fix="close it there (a notebook's kernel, a viewer), or wait until it is written. If no program has it "
            "open, its file system knows no locks: set the environment variable HDF5_USE_FILE_LOCKING=FALSE",
        ) from error


@contextmanager
def locked(file: Path, patience: float = math.inf) -> Iterator[None]:
    """Let one process at a time make a file or folder; the system takes the lock back however that process ends.

    On a file system that knows no locks, nobody is kept out.

    Parameters
    ----------
    file : Path
        What is made; the lock lies beside it.
    patience : float
        Seconds to wait for another process.

    Raises
    ------
    InputError
        If another process still holds the lock then.
    """
    lock = file.with_name(f"{PREFIX}{file.name}.lock")
    make_folder(lock.parent)
    handle = _acquired(lock, file, time.monotonic() + patience)
    try:
        yield
    finally:
        if sys.platform != "win32":  # where an open file cannot be removed
            lock.unlink(missing_ok=True)
        handle.close()


def _acquired(lock: Path, file: Path, deadline: float) -> IO[str]:
    waiting = False
    while True:
        with writable(lock):
            handle = lock.open("a+", encoding="utf-8")
        # A process that was waited for has removed its lock file: a lock on that one keeps nobody out.
        if _try(handle):
            with suppress(FileNotFoundError):
                if sys.platform == "win32" or os.path.samestat(os.fstat(handle.fileno()), lock.stat()):
                    handle.truncate(0)
                    handle.write(f"process {os.getpid()} on {socket.gethostname()}")
                    handle.flush()
                    return handle
            handle.close()
            continue
        handle.seek(0)
        holder = (handle.read() if sys.platform != "win32" else "") or "another process"
        handle.close()
        if time.monotonic() >= deadline:
            raise InputError(
                "another process is at work on this",
                file=file,
                expected="one process at a time",
                got=f"{holder} is at it",
                fix="wait until it is done, or stop it (in JupyterLab: shut down the other kernel)",
            )
        if not waiting:
            print(f"waiting for {holder}, which is at work on {file.name}", flush=True)
            waiting = True
        time.sleep(0.2)


def _try(handle: IO[str]) -> bool:
    """Take the lock if it is free."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems know no locks
        pass
    return True


_FULL = "make room on that disk or choose another"
_DENIED = "choose a folder of your own (for data and runs: NBTOOLS_HOME), or ask for the rights"
_LOST = "see that the disk is connected and mounted again"
_REFUSALS = {
    **dict.fromkeys((errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)), _FULL),
    **dict.fromkeys((errno.EIO, errno.ENODEV, getattr(errno, "ESTALE", errno.EIO), errno.ENOTCONN), _LOST),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR), _DENIED),
}
