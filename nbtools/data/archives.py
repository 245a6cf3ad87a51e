"""Archives read and folders filled so that a hostile, cut or interrupted one does no harm.

A folder is filled beside its place, under ``.tmp-<name>-<digest>``, where a restart goes on, and put into its
place when it is whole: what nothing else reads is half a set of images.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

import pandas as pd
from isal import igzip, isal_zlib

from nbtools.checks import reading
from nbtools.data.kinds import kind_of, read_head
from nbtools.data.zips import BROKEN, Member, zip_members
from nbtools.errors import InputError
from nbtools.files import PREFIX, locked, read_table, require_space, writable, written
from nbtools.processes import Bar

LARGEST = 2 * 2**30  # bytes; no file of an image set is larger, and none of ILSVRC's class archives
REPORT = "report.parquet"
UNPACKED = f"{PREFIX}unpacked"  # in a folder that is being filled; removed before it comes to its place
_BLOCK = 512  # bytes; a tar archive is made of these
_BROKEN = (tarfile.TarError, EOFError, OverflowError, gzip.BadGzipFile, zlib.error, isal_zlib.error, *BROKEN)


# --- archives -----------------------------------------------------------------------------------------------


def contents(
    archive: Path, stream: IO[bytes] | None = None, *, password: bytes | None = None, largest: int = LARGEST
) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Give the files of an archive, one after another: zip, tar or gzipped tar, as its bytes and not its name tell.

    Nothing is left to the libraries' own extraction, whose safety depends on Python's patch version: a file is only
    ever read from the stream given here.

    Parameters
    ----------
    archive : Path
        Named in errors.
    stream : binary stream, optional
        Where to read a tar archive from, if it lies inside another one.
    password : bytes, optional
        Of a zip archive with encrypted files; each of them is held in memory while it is read.
    largest : int
        Bytes no file has more of.

    Yields
    ------
    tuple of str, int and binary stream
        A file's name (relative, with slashes), its bytes, and what to read them from until the next file.

    Raises
    ------
    InputError
        If this is no archive, is cut short or damaged, wants another password, or holds a name that leads out of it, a
        name twice, a link, a device, or a file that is too large.
    """
    kind = "a tar archive" if stream else kind_of(read_head(archive))
    seen: set[str] = set()
    with _opened(archive, kind) if stream is None else nullcontext(stream) as raw, intact(archive):
        members = zip_members(raw, password, archive) if kind == "a zip archive" else _tar_members(raw)
        for member, content in members:
            name = _safe_name(archive, member, seen, largest)
            if member.is_file:
                yield name, member.size, content


def _tar_members(raw: IO[bytes]) -> Iterator[tuple[Member, IO[bytes]]]:
    with tarfile.open(fileobj=raw, mode="r:") as tar:
        for entry in tar:
            is_file = entry.isfile() and not entry.issparse()
            content = tar.extractfile(entry) if is_file else None
            yield Member(entry.name, entry.size, entry.isdir(), is_file), content or io.BytesIO()
        _check_end(tar, raw)


def intact(archive: Path, name: str = "the archive") -> AbstractContextManager[None]:
    """Turn what reading a damaged archive, or a file of it, raises into an `InputError` that names it."""
    return reading(
        f"{name} cannot be read",
        *_BROKEN,  # type: ignore[arg-type]  # isal's stub takes its exception for an instance
        file=archive,
        expected="a whole .zip, .tar or .tar.gz",
        fix="the copy is incomplete or damaged: download it again",
    )


def read_files(archive: Path) -> dict[str, bytes]:
    """Read a small archive whole: the content of its files by their names, without folders; raises as `contents`."""
    with intact(archive):
        return {PurePosixPath(name).name: stream.read() for name, _, stream in contents(archive)}


def save(stream: IO[bytes], size: int, file: Path, archive: Path) -> None:
    """Write one file of an archive, whole or not at all.

    Raises
    ------
    InputError
        If the archive ends early, or the disk has no room.
    """
    require_space(file.parent, size)
    with written(file) as beside, beside.open("wb") as out, intact(archive, file.name):
        shutil.copyfileobj(stream, out, 2**20)
        if out.tell() != size:
            raise tarfile.ReadError(f"{out.tell()} of {size} bytes of {file.name}")


def unpack(
    archive: Path,
    part: Path,
    place: Callable[[str], str | None],
    stream: IO[bytes] | None = None,
    *,
    password: bytes | None = None,
    largest: int = LARGEST,
) -> dict[str, Path]:
    """Write the wanted files of an archive below ``.tmp-unpacked``; what is there with the right size is kept.

    Parameters
    ----------
    archive : Path
        As `contents` takes it.
    part : Path
        Folder that is being filled, for `build`.
    place : callable
        Takes a name in the archive; returns where the file will go below `part`, or None if it is not wanted.
    stream, password, largest : optional
        As `contents` takes them.

    Returns
    -------
    dict of str to Path
        Place, and the file that was unpacked for it. If the file has been moved there already, there is only the place.

    Raises
    ------
    InputError
        If the archive is damaged or hostile, two of its files have one place, or the disk has no room.
    """
    found: dict[str, Path] = {}
    for name, size, content in contents(archive, stream, password=password, largest=largest):
        where = place(name)
        if where is None:
            continue
        if where in found:
            raise _refused(archive, f"two files for {where}, the second is {name!r}")
        found[where] = part / UNPACKED / where
        if size not in (_bytes_of(part / where), _bytes_of(found[where])):
            save(content, size, found[where], archive)
    return found


def _bytes_of(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


class _Told(io.FileIO):
    """A file that tells a bar how many of its bytes were read."""

    def __init__(self, file: Path, bar: Bar):
        super().__init__(file)
        self._bar = bar

    def readinto(self, buffer: Any) -> int | None:
        n = super().readinto(buffer)
        self._bar.update(n)
        return n


@contextmanager
def _opened(archive: Path, kind: str) -> Iterator[IO[bytes]]:
    what, size = f"reading {archive.name}", archive.stat().st_size
    with Bar(None, what, size, unit="B", unit_scale=True, leave=False) as bar, _Told(archive, bar) as file:
        raw = io.BufferedReader(file, 2**17)
        # The buffer lets _check_end step back by one block; gzip would start again from the beginning.
        yield io.BufferedReader(igzip.IGzipFile(fileobj=raw), 2**20) if kind == "a gzip file" else raw


def _safe_name(archive: Path, member: Member, seen: set[str], largest: int) -> str:
    name = PurePosixPath(member.name).as_posix()
    windows = PureWindowsPath(member.name)  # knows drives, and both kinds of slashes
    flaws = {
        "a name that leads out of the archive": bool(windows.anchor) or ".." in windows.parts or "\0" in name,
        "a link, a device or a file packed in a rare way": not (member.is_file or member.is_folder),
        "a name twice": name in seen and not member.is_folder,
        f"a file of {member.size} bytes": not 0 <= member.size <= largest,
    }
    if any(flaws.values()):
        raise _refused(archive, f"{next(flaw for flaw, found in flaws.items() if found)}: {member.name!r}")
    seen.add(name)
    return name


def _refused(archive: Path, got: str) -> InputError:
    return InputError(
        "this archive is not what it should be, and is not unpacked",
        file=archive,
        expected="files under relative names, each once, and folders",
        got=got,
        fix="take the archive from its original source",
    )


def _check_end(tar: tarfile.TarFile, raw: IO[bytes]) -> None:
    """Tarfile takes a cut or a damaged header for the end; the true end is a block of zeros."""
    raw.seek(tar.offset)
    if raw.read(_BLOCK) != bytes(_BLOCK):
        raise tarfile.ReadError(f"no end mark after {tar.offset} bytes")
    while raw.read(2**20):  # at its end gzip compares its checksum
        pass


# --- folders ------------------------------------------------------------------------------------------------


def build(target: Path, request: dict[str, Any], fill: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    """Make a folder that appears whole or not at all; after a kill, the next call goes on where it stopped.

    Parameters
    ----------
    target : Path
        Where the folder goes. If it is there already, made by the same request, nothing is done.
    request : dict
        What the folder is made from, in JSON's types.
    fill : callable
        Fills the folder it is given, in which it may find what it did before it was killed; returns a report.

    Returns
    -------
    DataFrame
        The report, which also lies in the folder as ``report.parquet``.

    Raises
    ------
    InputError
        If something else lies at `target`, or it cannot be written.
    """
    with writable(target), locked(target):
        if (finished := _finished(target, request)) is not None:
            return finished
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:8]
        part = target.with_name(f"{PREFIX}{target.name}-{digest}")
        part.mkdir(exist_ok=True)
        report = fill(part)
        report.attrs = request
        report.to_parquet(part / REPORT)
        _remove_leftovers(part)
        if target.exists():
            target.rmdir()
        part.replace(target)
        return report


def _finished(target: Path, request: dict[str, Any]) -> pd.DataFrame | None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    try:
        report = read_table(target / REPORT)
        made_from = report.attrs
    except InputError:  # no report, or none that can be read
        made_from = {}
    if made_from != request:
        differing = {key: made_from.get(key) for key in request if made_from.get(key) != request[key]}
        raise InputError(
            "something else lies there already",
            file=target,
            expected=f"nothing, or what this call made before from {request}",
            got=f"a folder made from {differing}" if made_from else f"a folder without a {REPORT}",
            fix="choose another target, or remove that one",
        )
    return report


def _remove_leftovers(part: Path) -> None:
    """Remove what was unpacked only to be looked at, and what a kill left half written."""
    for left in list(part.rglob(f"{PREFIX}*")):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
