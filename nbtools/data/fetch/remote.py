"""One file on a server: its address, what the server announces of it, and which answers are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from nbtools.checks import reading
from nbtools.errors import InputError
from nbtools.files import writable

AGAIN = "run the same command again: what is there is kept"
TRIES = 5  # repetitions in a row that bring nothing new
TIMEOUT = (15, 60)  # seconds to connect, and without a byte
_LATER = (429, 500, 502, 503, 504)
_REFUSALS = {
    401: ("access refused", "put the mirror's credentials into ~/.netrc"),
    403: ("access refused", "fill in the data's access form; if a mirror needs credentials, put them into ~/.netrc"),
    404: ("no such file on the server", "check the address; not every mirror holds every file"),
}


class Version(NamedTuple):
    """What a server says of a file: its bytes, and its mark of this version: ETag, else date, else empty."""

    size: int
    stamp: str


@dataclass(frozen=True)
class Remote:
    """One file to have.

    Attributes
    ----------
    url : str
        Where it is, http or https.
    file : Path
        Where it goes; the server has no say in it.
    digest : str or None
        ``md5:…`` or ``sha256:…`` where one is published.
    kinds : tuple of str
        What it may be by its first bytes, as `kind_of` tells them; empty: anything.

    Raises
    ------
    InputError
        If the address is of another kind.
    """

    url: str
    file: Path
    digest: str | None = None
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/]", self.url):
            raise InputError(
                "this address cannot be fetched from",
                expected="http://… or https://…",
                got=self.url,
                fix="give the address a browser would take",
            )


def open_session(proxy: str | None, jobs: int, pause: float) -> requests.Session:
    """Open a session that waits and asks again where a server says "later", as long as the server asks it to."""
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"  # packed on the way, a file would have another length
    session.proxies = {"http": proxy, "https": proxy} if proxy else {}
    later = Retry(
        TRIES,
        connect=1,  # what breaks off is repeated in `transfer`, which can resume
        read=1,
        status_forcelist=_LATER,
        allowed_methods=("HEAD", "GET"),
        backoff_factor=pause,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=jobs, max_retries=later))
    return session


@contextmanager
def troubles_told(file: Path, url: str) -> Iterator[None]:
    """Say in words what the network or the disk does not allow."""
    wanted, other = "a folder with room, that you may write to", f"choose another folder; then {AGAIN}"
    address = f"check address, network and proxy; then {AGAIN}"
    with (
        reading("this cannot be read or written", OSError, file=file, expected=wanted, fix=other),
        writable(file),
        reading("the server cannot be reached", requests.RequestException, file=file, expected=url, fix=address),
    ):
        yield


def ask(method: str, url: str, session: requests.Session, headers: dict[str, str]) -> requests.Response:
    """Send a request; the answer's content is still to come."""
    proxies = dict(session.proxies)  # with each request, as the environment's proxies go before a session's
    return session.request(method, url, headers=headers, proxies=proxies, stream=True, timeout=TIMEOUT)


def announced(remote: Remote, session: requests.Session) -> Version:
    """Ask a server which version of a file it has.

    Raises
    ------
    InputError
        If it refuses, does not say, or offers a web page.
    """
    with ask("HEAD", remote.url, session, {}) as response:
        answered = response.ok and whole_size(response)
    if not answered and response.status_code not in _LATER:  # some servers tell it only of a file they send
        with ask("GET", remote.url, session, {"Range": "bytes=0-0"}) as response:
            pass
    check_answer(response, remote)
    if not (size := whole_size(response)):
        raise InputError(
            "the server does not say how large the file is",
            file=remote.file,
            expected="a Content-Length",
            got=f"none from {remote.url}",
            fix="fetch this file with a browser and put it there",
        )
    return Version(size, version_mark(response))


def whole_size(response: requests.Response) -> int:
    """Return the size of the whole file, 0 where it is not told."""
    ranged = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
    whole = ranged or re.fullmatch(r"(\d+)", response.headers.get("Content-Length", ""))
    return int(whole[1]) if whole else 0


def version_mark(response: requests.Response) -> str:
    """Return what the server marks this version of the file with: ETag, else date, else empty."""
    etag = response.headers.get("ETag", "")
    # A weak ETag is shared by files that mean the same and differ in bytes.
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def check_answer(response: requests.Response, remote: Remote) -> None:
    """Raise `InputError` for an answer that is not the file or a part of it."""
    status, kind = response.status_code, response.headers.get("Content-Type", "")
    if status not in (200, 206):
        problem, fix = _REFUSALS.get(status, ("the server does not give the file", f"try later: {AGAIN}"))
        got = f"{status} {response.reason}"
        raise InputError(problem, file=remote.file, expected=f"an answer from {remote.url}", got=got, fix=fix)
    if kind.lower().startswith(("text/html", "application/xhtml")):
        raise InputError(
            "the server sends a web page in place of the file",
            file=remote.file,
            expected=f"data from {remote.url}",
            got=kind,
            fix=f"a network's log-in page or a proxy may be in between: open the address in a browser; then {AGAIN}",
        )
