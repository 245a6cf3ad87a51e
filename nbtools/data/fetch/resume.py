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

from nbtools.data.fetch.checksums import check_content, digests_of, new_digests
from nbtools.data.fetch.remote import AGAIN, TRIES, Remote, Version, ask, check_answer, version_mark, whole_size
from nbtools.errors import InputError
from nbtools.files import PREFIX, write_text

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


def kept(remote: Remote, version: Version) -> int:
    """Return how many bytes there are that the rest can be added to: none of an unmarked or another version."""
    part, note = _beside(remote.file)
    try:
        same = version.stamp and json.loads(note.read_text(encoding="utf-8")) == _note(remote, version)
        return part.stat().st_size if same and part.stat().st_size <= version.size else 0
    except (FileNotFoundError, ValueError):
        return 0


def _beside(file: Path) -> tuple[Path, Path]:
    return file.with_name(f"{PREFIX}{file.name}.part"), file.with_name(f"{PREFIX}{file.name}.json")


def _note(remote: Remote, version: Version) -> dict[str, Any]:
    return {"url": remote.url, **version._asdict()}


class _Part:
    """What there is of a file: `size` bytes of a version, and their digests."""

    def __init__(self, remote: Remote, version: Version, line: Line):
        self.remote, self.line, self.version = remote, line, version
        self.path, self.note = _beside(remote.file)
        self.size = kept(remote, version)
        if self.size:
            self.digests = digests_of(self.path, remote)
        else:
            self.restart(version)

    def restart(self, version: Version) -> None:
        """Throw away what there is; what comes is of this version."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        write_text(self.note, json.dumps(_note(self.remote, version)))
        self.line.advance(-self.size)
        self.version, self.size = version, 0
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
                if self.size > self.version.size:  # there may be no end to it
                    return

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def transfer(remote: Remote, version: Version, line: Line) -> tuple[Version, str]:
    """Fetch a file from where it broke off, and put it in its place once it is whole.

    Parameters
    ----------
    remote : Remote
        The file.
    version : Version
        As `announced`.
    line : Line
        What it comes over.

    Returns
    -------
    tuple of Version, str
        Version and sha256 of what came: another version, if the server's has just changed.

    Raises
    ------
    InputError
        If nothing more comes, or what comes is not the file. What there is is kept, unless it cannot be right.
    """
    part = _Part(remote, version, line)
    most, idle, trouble = part.size, 0, ""
    while part.size != part.version.size:
        if idle > TRIES:
            raise InputError(
                "the transfer breaks off again and again",
                file=remote.file,
                expected=f"{part.version.size} bytes from {remote.url}",
                got=f"{part.size} bytes; {trouble}",
                fix=AGAIN,
            )
        if line.stop.wait(line.pause * 2**idle if trouble else 0):
            raise CancelledError
        try:
            trouble = _attempt(part, version)
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            trouble = str(error)
        idle = 0 if part.size > most else idle + 1
        most = max(most, part.size)
    try:
        check_content(remote, part.path, part.digests)
    except InputError:
        part.discard()  # nothing that is added can make it right
        raise
    part.path.replace(remote.file)
    part.discard()
    return part.version, part.digests["sha256"].hexdigest()


def _attempt(part: _Part, said: Version) -> str:
    """Ask for what is missing and keep what comes; return why that may be too little."""
    mark = part.version.stamp
    rest = {"Range": f"bytes={part.size}-", "If-Range": mark} if part.size and mark else {}
    with ask("GET", part.remote.url, part.line.session, rest) as response:
        if response.status_code != 416:  # the file has become shorter
            check_answer(response, part.remote)
        if response.status_code == 200:
            part.restart(_version(response, part.remote, said))
        elif not (rest and _continues(response, part)):
            part.restart(said)
            return "the server gives another part than was asked for"
        # As they are stored: some servers call a .gz file a packed answer, and it would be unpacked.
        part.extend(response.raw.stream(_CHUNK, decode_content=False))
    if part.size > part.version.size:
        got = part.size
        part.restart(said)
        raise _untrue(part.remote, said, f"{got} bytes")
    return "the server stops early"


def _continues(response: requests.Response, part: _Part) -> bool:
    """Whether an answer goes on where the part ends, in the same version: not every server minds ``If-Range``."""
    start = response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-")
    return start and whole_size(response) == part.version.size and version_mark(response) in ("", part.version.stamp)


def _version(response: requests.Response, remote: Remote, said: Version) -> Version:
    """Return the version of the file that now comes, from its start: what was announced, or a newer one."""
    now = Version(whole_size(response) or said.size, version_mark(response) or said.stamp)
    if now.size != said.size and now.stamp == said.stamp:
        raise _untrue(remote, said, f"{now.size} bytes of the same version")
    return now


def _untrue(remote: Remote, said: Version, got: str) -> InputError:
    expected = f"{said.size} bytes, as announced"
    fix = f"the server or a proxy is at fault: try later or another mirror; then {AGAIN}"
    return InputError("the server contradicts itself", file=remote.file, expected=expected, got=got, fix=fix)
