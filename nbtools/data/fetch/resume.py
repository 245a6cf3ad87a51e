"""How a file comes from a server: from where it broke off, and into its place once it is whole.

    <name>            the whole file, and nothing else
    .tmp-<name>.part  what there is of it so far
    .tmp-<name>.json  what that is a part of: address, size, and the server's mark of the version

Pooch, the usual choice, starts a broken download from nothing; a session of NSD is 1 GB, its stimuli are 37 GB.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from nbtools.data.fetch.checksums import check_digest, digests_of, new_digests
from nbtools.data.fetch.remote import AGAIN, TRIES, Remote, ask, check_answer, version_mark, whole_size
from nbtools.errors import InputError
from nbtools.files import PREFIX, written

_CHUNK = 2**18


@dataclass(frozen=True)
class Line:
    """What a file comes over.

    Attributes
    ----------
    session : requests.Session
        From `open_session`.
    pause : float
        Seconds before a broken transfer goes on; doubled each time.
    advance : callable
        Told how many bytes have come; fewer than none if they had to be thrown away.
    stop : Event
        Set when nobody waits any more.
    """

    session: requests.Session
    pause: float
    advance: Callable[[int], None]
    stop: Event


def kept(remote: Remote, size: int, stamp: str) -> int:
    """Return how many bytes there are that the rest can be added to: none of an unmarked or another version."""
    part, note = _beside(remote.file)
    try:
        same = stamp and json.loads(note.read_text(encoding="utf-8")) == _note(remote, size, stamp)
        return part.stat().st_size if same and part.stat().st_size <= size else 0
    except (FileNotFoundError, ValueError):
        return 0


def _beside(file: Path) -> tuple[Path, Path]:
    return file.with_name(f"{PREFIX}{file.name}.part"), file.with_name(f"{PREFIX}{file.name}.json")


def _note(remote: Remote, size: int, stamp: str) -> dict[str, Any]:
    return {"url": remote.url, "size": size, "stamp": stamp}


class _Part:
    """What there is of a file: `size` bytes of `whole`, of the version `stamp`, and their digests."""

    def __init__(self, remote: Remote, whole: int, stamp: str, line: Line):
        self.remote, self.line = remote, line
        self.path, self.note = _beside(remote.file)
        self.whole, self.stamp = whole, stamp
        self.size = kept(remote, whole, stamp)
        if self.size:
            self.digests = digests_of(self.path, remote)
        else:
            self.restart(whole, stamp)

    def restart(self, whole: int, stamp: str) -> None:
        """Throw away what there is; what comes is of this version."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        with written(self.note) as beside:
            beside.write_text(json.dumps(_note(self.remote, whole, stamp)), encoding="utf-8")
        self.line.advance(-self.size)
        self.whole, self.stamp, self.size = whole, stamp, 0
        self.digests = new_digests(self.remote)

    def extend(self, chunks: Iterable[bytes]) -> None:
        with self.path.open("ab") as out:
            for chunk in chunks:
                if self.line.stop.is_set():
                    raise CancelledError
                out.write(chunk)
                self.size += len(chunk)
                self.line.advance(len(chunk))
                for digest in self.digests.values():
                    digest.update(chunk)
                if self.size > self.whole:  # there may be no end to it
                    return

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def transfer(remote: Remote, size: int, stamp: str, line: Line) -> tuple[int, str, str]:
    """Fetch a file from where it broke off, and put it in its place once it is whole.

    Parameters
    ----------
    remote : Remote
        The file.
    size, stamp : int, str
        As `announced`.
    line : Line
        What it comes over.

    Returns
    -------
    tuple of int, str, str
        Size, version and sha256 of what came: another version, if the server's has just changed.

    Raises
    ------
    InputError
        If nothing more comes, or what comes is not the file. What there is is kept, unless it cannot be right.
    """
    part = _Part(remote, size, stamp, line)
    most, idle, trouble = part.size, 0, ""
    while part.size != part.whole:
        if idle > TRIES:
            raise InputError(
                "the transfer breaks off again and again",
                file=remote.file,
                expected=f"{part.whole} bytes from {remote.url}",
                got=f"{part.size} bytes; {trouble}",
                fix=AGAIN,
            )
        if line.stop.wait(line.pause * 2**idle if trouble else 0):
            raise CancelledError
        try:
            trouble = _attempt(part, size, stamp)
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            trouble = str(error)
        idle = 0 if part.size > most else idle + 1
        most = max(most, part.size)
    try:
        check_digest(remote, part.digests)
    except InputError:
        part.discard()  # nothing that is added can make it right
        raise
    part.path.replace(remote.file)
    part.discard()
    return part.whole, part.stamp, part.digests["sha256"].hexdigest()


def _attempt(part: _Part, size: int, stamp: str) -> str:
    """Ask for what is missing and keep what comes; return why that may be too little."""
    rest = {"Range": f"bytes={part.size}-", "If-Range": part.stamp} if part.size and part.stamp else {}
    with ask("GET", part.remote.url, part.line.session, rest) as response:
        if response.status_code != 416:  # the file has become shorter
            check_answer(response, part.remote)
        if response.status_code == 200:
            part.restart(*_version(response, part.remote, size, stamp))
        elif not (rest and _continues(response, part)):
            part.restart(size, stamp)
            return "the server gives another part than was asked for"
        # As they are stored: some servers call a .gz file a packed answer, and it would be unpacked.
        part.extend(response.raw.stream(_CHUNK, decode_content=False))
    if part.size > part.whole:
        got = part.size
        part.restart(size, stamp)
        raise _untrue(part.remote, f"{part.whole} bytes, as announced", f"{got} bytes")
    return "the server stops early"


def _continues(response: requests.Response, part: _Part) -> bool:
    """Whether an answer goes on where the part ends, in the same version: not every server minds ``If-Range``."""
    start = response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-")
    return start and whole_size(response) == part.whole and version_mark(response) in ("", part.stamp)


def _version(response: requests.Response, remote: Remote, size: int, stamp: str) -> tuple[int, str]:
    """Return size and version of the file that now comes, from its start: what was announced, or a newer one."""
    now, mark = whole_size(response) or size, version_mark(response)
    if now != size and mark in ("", stamp):
        raise _untrue(remote, f"{size} bytes, as announced", f"{now} bytes of the same version")
    return now, mark or stamp


def _untrue(remote: Remote, expected: str, got: str) -> InputError:
    fix = f"the server or a proxy is at fault: try later or another mirror; then {AGAIN}"
    return InputError("the server contradicts itself", file=remote.file, expected=expected, got=got, fix=fix)
