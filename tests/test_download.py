"""Fetching, against a server on loopback that drops, truncates, lies and changes its files as a test tells it to."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings, strategies as st
from tqdm import tqdm

from nbtools.data.fetch import catalogue, obtain
from nbtools.data.fetch.checksums import CHECKSUMS, Ledger, verify
from nbtools.data.fetch.download import fetch
from nbtools.data.fetch.remote import TRIES, Remote, Version
from nbtools.errors import InputError

CONTENT = bytes(i * 7 % 251 for i in range(5000))
NEWER = CONTENT[::-1] + b"more"
SLICE = 2**18  # as much as is written at a time


@dataclass
class Page:
    """What the server does at one address."""

    content: bytes = CONTENT
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    cuts: list[int] = field(default_factory=list)  # after how many bytes each GET in turn breaks off; -1: at once
    statuses: list[int] = field(default_factory=list)  # of the GETs in turn, in place of an answer
    heads: list[int] = field(default_factory=list)  # the same of the HEADs; -1: breaks off
    reset: bool = False  # breaks off by a reset, which may take with it what was sent
    said: Callable[[str, int], int | None] = lambda method, length: length  # the Content-Length
    ranges: bool = True
    if_range: bool = True
    chunked: bool = False
    shift: int = 0  # how far Content-Range is from the truth
    before: Callable[[Page, int], None] = lambda page, nth: None  # done before the n-th GET
    during: Callable[[], Any] = lambda: None  # done before each slice of content
    gets: list[dict[str, str]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    @property
    def asked(self) -> list[str | None]:
        """The ranges asked for."""
        return [get.get("Range") for get in self.gets]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        page = self.page()
        status = page.heads.pop(0) if page.heads else 200
        self.drop(page) if status < 0 else self.reply(page, status, len(page.content))

    def do_GET(self) -> None:
        page = self.page()
        page.gets.append(dict(self.headers))
        page.before(page, len(page.gets))
        cut = page.cuts.pop(0) if page.cuts else None
        if cut == -1:
            self.drop(page)
        elif page.statuses and (status := page.statuses.pop(0)) != 200:
            self.reply(page, status, 0)
        else:
            self.send(page, cut)

    def page(self) -> Page:
        self.server.lines.append(self.requestline)
        page = self.server.pages.get(urlsplit(self.path).path) or Page(heads=[404], statuses=[404])
        page.methods.append(self.command)
        return page

    def send(self, page: Page, cut: int | None) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        same = not page.if_range or self.headers.get("If-Range") in (None, *page.headers.values())
        if span and same and page.ranges:
            start, stop = int(span[1]), int(span[2] or len(page.content) - 1) + 1
            if start >= len(page.content):
                return self.reply(page, 416, 0)
            where = f"bytes {start + page.shift}-{stop - 1}/{len(page.content)}"
            self.reply(page, 206, stop - start, {"Content-Range": where})
        else:
            start, stop = 0, len(page.content)
            self.reply(page, 200, stop)
        body = page.content[start:stop][:cut]
        for i in range(0, len(body), SLICE):
            page.during()
            part = body[i : i + SLICE]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if page.chunked else part)
        if page.chunked and cut is None:
            self.wfile.write(b"0\r\n\r\n")
        if cut is not None or page.said("GET", 0) != 0:  # where more or less was said, only the end can tell
            self.drop(page)
        return None

    def reply(self, page: Page, status: int, length: int, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**page.headers, **(more or {})}.items():
            self.send_header(name, value)
        said = page.said(self.command, length)
        if page.chunked and self.command == "GET":
            self.send_header("Transfer-Encoding", "chunked")
        elif said is not None:
            self.send_header("Content-Length", str(said))
        self.end_headers()

    def drop(self, page: Page) -> None:
        self.close_connection = True
        if page.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Server(ThreadingHTTPServer):
    """Serves in a thread of its own for as long as a block lasts."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, Page] = {}
        self.lines: list[str] = []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Server:
        self.thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # no farewell before it, or it would never be a reset

    def handle_error(self, *_: object) -> None:  # a client that hangs up is no news
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "my data – α"


@dataclass
class Site:
    """The server and a root to fetch into: puts pages up and fetches them."""

    server: Server
    root: Path

    def put(self, name: str = "a.nii.gz", page: Page | None = None, digest: str | None = None) -> tuple[Remote, Page]:
        page = page or Page()
        self.server.pages[f"/{self.root.parent.name}/{name}"] = page
        return Remote(f"{self.server.url}/{self.root.parent.name}/{name}", self.root / "sub" / name, digest), page

    def fetch(self, *remotes: Remote, **options: Any) -> list[Any]:
        return fetch(remotes, root=self.root, **{"pause": 0.0, **options})

    def refused(self, *remotes: Remote, **options: Any) -> str:
        with pytest.raises(InputError) as caught:
            self.fetch(*remotes, **options)
        return str(caught.value)

    def records(self) -> dict[str, dict[str, Any]]:
        return json.loads((self.root / CHECKSUMS).read_text())


@pytest.fixture
def site(server: Server, root: Path) -> Site:
    return Site(server, root)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def holding(released: threading.Event) -> Page:
    """A page that sends three slices and then holds until it is released."""
    slices = iter(range(3))
    return Page(bytes(range(256)) * 8192, during=lambda: next(slices, None) is None and released.wait(30))


def part_of(remote: Remote) -> Path:
    return remote.file.with_name(f".tmp-{remote.file.name}.part")


def beside(remote: Remote) -> list[str]:
    return sorted(path.name for path in remote.file.parent.iterdir())


def assert_whole(site: Site, remote: Remote, content: bytes = CONTENT) -> None:
    assert remote.file.read_bytes() == content
    assert beside(remote) == [remote.file.name]
    entry = site.records()[f"sub/{remote.file.name}"]
    assert (entry["sha256"], entry["size"], entry["url"]) == (sha256(content), len(content), remote.url)
    assert verify(site.root) == []


def test_a_file_comes_whole_and_is_recorded(site: Site) -> None:
    remote, page = site.put()
    (plan,) = site.fetch(remote)
    assert_whole(site, remote)
    assert (plan.version, plan.there, plan.partial) == ((len(CONTENT), '"1"'), False, 0)
    assert page.methods == ["HEAD", "GET"]
    assert page.gets[0]["Accept-Encoding"] == "identity"


def test_what_is_there_is_not_fetched_again(site: Site) -> None:
    remote, page = site.put()
    site.fetch(remote)
    (plan,) = site.fetch(remote)
    assert plan.there
    assert page.methods == ["HEAD", "GET", "HEAD"]


@pytest.mark.parametrize(
    ("cuts", "asked"),
    [
        ([1000], [None, "bytes=1000-"]),
        ([0, 1000, 500], [None, None, "bytes=1000-", "bytes=1500-"]),
        ([-1, -1, -1, 1000], [None, None, None, None, "bytes=1000-"]),
        ([1] * 20, [None, *(f"bytes={n}-" for n in range(1, 21))]),  # slow, but each brings something
    ],
)
def test_a_dropped_connection_goes_on_where_it_stopped(site: Site, cuts: list[int], asked: list[str | None]) -> None:
    remote, page = site.put(page=Page(cuts=list(cuts)))
    site.fetch(remote)
    assert_whole(site, remote)
    assert page.asked == asked
    assert all(get["If-Range"] == '"1"' for get in page.gets if "Range" in get)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, len(CONTENT)), max_size=TRIES), st.booleans(), st.booleans(), st.booleans())
def test_wherever_it_breaks_off_the_file_is_the_source(
    server: Server, cuts: list[int], ranges: bool, marked: bool, reset: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(server, Path(folder) / "root")
        page = Page(cuts=cuts, ranges=ranges, reset=reset, headers={"ETag": '"1"'} if marked else {})
        remote, page = site.put(page=page)
        site.fetch(remote)
        assert_whole(site, remote)


def test_a_later_run_asks_for_the_rest_only(site: Site) -> None:
    remote, page = site.put(page=Page(cuts=[1000], statuses=[200, 404]))
    told = site.refused(remote)
    assert "no such file on the server" in told
    assert not remote.file.exists()
    assert part_of(remote).read_bytes() == CONTENT[:1000]
    assert not (site.root / CHECKSUMS).exists()
    (plan,) = site.fetch(remote)
    assert plan.partial == 1000
    assert page.asked == [None, "bytes=1000-", "bytes=1000-"]
    assert_whole(site, remote)


def test_a_transfer_that_stands_still_is_given_up(site: Site) -> None:
    remote, page = site.put(page=Page(cuts=[2000] + [0] * 20))
    told = site.refused(remote)
    assert "the transfer breaks off again and again" in told
    assert f"expected: {len(CONTENT)} bytes" in told
    assert "got:      2000 bytes" in told
    assert str(remote.file) in told
    assert "run the same command again" in told
    assert page.asked == [None] + ["bytes=2000-"] * (TRIES + 1)
    assert beside(remote) == [".tmp-a.nii.gz.json", ".tmp-a.nii.gz.part"]
    page.cuts.clear()
    site.fetch(remote)
    assert_whole(site, remote)


def test_pauses_grow_and_a_server_may_set_them(site: Site) -> None:
    remote, _ = site.put(page=Page(cuts=[0, 0]))
    start = time.monotonic()
    site.fetch(remote, pause=0.05)
    assert 0.05 * (2 + 4) <= time.monotonic() - start < 1
    remote, _ = site.put("b", Page(statuses=[503], headers={"ETag": '"1"', "Retry-After": "1"}))
    start = time.monotonic()
    site.fetch(remote)
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_later_is_taken_as_later(site: Site, status: int) -> None:
    remote, page = site.put(page=Page(statuses=[status] * TRIES, heads=[status] * TRIES))
    site.fetch(remote)
    assert_whole(site, remote)
    assert page.methods == ["HEAD"] * (TRIES + 1) + ["GET"] * (TRIES + 1)


def test_a_question_that_breaks_off_is_asked_again(site: Site) -> None:
    remote, page = site.put(page=Page(heads=[-1]))
    site.fetch(remote)
    assert page.methods == ["HEAD", "HEAD", "GET"]


def test_a_server_that_falls_silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbtools.data.fetch.remote.TIMEOUT", (1, 0.2))
    released = threading.Event()
    remote, page = site.put(page=holding(released))

    def release(page: Page, nth: int) -> None:
        if nth == 2:
            released.set()

    page.before = release
    site.fetch(remote)
    assert page.asked == [None, f"bytes={3 * SLICE}-"]
    assert_whole(site, remote, page.content)


def test_never_is_told_at_last(site: Site) -> None:
    remote, page = site.put(page=Page(heads=[503] * 20))
    told = site.refused(remote)
    assert re.search(r"does not give the file\n +file: .*a\.nii\.gz\n.*\n +got: +503 Service Unavailable", told)
    assert page.methods == ["HEAD"] * (TRIES + 1)


@pytest.mark.parametrize(
    ("status", "problem", "fix"),
    [
        (401, "access refused", "credentials"),
        (403, "access refused", "access form"),
        (404, "no such file on the server", "check the address"),
        (410, "does not give the file", "try later"),
    ],
)
def test_a_refusal_is_told_at_once(site: Site, status: int, problem: str, fix: str) -> None:
    remote, page = site.put(page=Page(heads=[status], statuses=[status]))
    told = site.refused(remote)
    assert re.search(rf"{problem}\n +file: +{re.escape(str(remote.file))}\n +expected: .*\n +got: +{status}", told)
    assert fix in told
    assert page.methods == ["HEAD", "GET"]
    assert not remote.file.parent.exists()


@pytest.mark.parametrize(
    ("head", "get", "chunked"),
    [(0, -10, False), (0, 10, False), (-10, 0, True)],
    ids=["less than announced", "more than announced", "more than announced, and how much is not told"],
)
def test_a_server_that_contradicts_itself_is_not_believed(site: Site, head: int, get: int, chunked: bool) -> None:
    page = Page(said=lambda method, length: length + (head if method == "HEAD" else get), chunked=chunked)
    remote, _ = site.put(page=page)
    told = site.refused(remote)
    assert "the server contradicts itself" in told
    assert "as announced" in told
    assert not remote.file.exists()
    assert not (site.root / CHECKSUMS).exists()


def test_a_length_that_never_comes_is_not_believed(site: Site) -> None:
    remote, _ = site.put(page=Page(said=lambda method, length: length + 10))
    assert "breaks off again and again" in site.refused(remote)
    assert not remote.file.exists()


def test_a_length_that_is_too_short_is_found_by_the_published_digest(site: Site) -> None:
    page = Page(said=lambda method, length: length - 10)
    remote, _ = site.put(page=page, digest=f"sha256:{sha256(CONTENT)}")
    assert "not the published one" in site.refused(remote)
    assert not remote.file.exists()


def test_ranges_are_not_honoured(site: Site) -> None:
    remote, page = site.put(page=Page(cuts=[3000, 1000], ranges=False))
    site.fetch(remote)
    assert page.asked == [None, "bytes=3000-", "bytes=1000-"]
    assert_whole(site, remote)


@pytest.mark.parametrize("content", [NEWER, NEWER[: len(CONTENT)], NEWER[:500]], ids=["longer", "as long", "shorter"])
@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_changed_between_attempts_starts_anew(site: Site, content: bytes, if_range: bool) -> None:
    def change(page: Page, nth: int) -> None:
        if nth == 2:
            page.content, page.headers = content, {"ETag": '"2"'}

    remote, page = site.put(page=Page(cuts=[1000], before=change, if_range=if_range))
    site.fetch(remote)
    assert_whole(site, remote, content)
    assert site.records()["sub/a.nii.gz"]["etag"] == '"2"'
    assert page.asked == [None, "bytes=1000-"] + [None] * (not if_range)


@pytest.mark.parametrize("content", [NEWER, NEWER[: len(CONTENT)]], ids=["longer", "as long"])
@pytest.mark.parametrize("headers", [{"ETag": '"2"'}, {}, {"ETag": 'W/"1"'}])
def test_a_file_changed_between_runs_starts_anew(site: Site, content: bytes, headers: dict[str, str]) -> None:
    remote, page = site.put(page=Page(cuts=[1000], statuses=[200, 404]))
    site.refused(remote)
    page.content, page.headers = content, headers
    (plan,) = site.fetch(remote)
    assert plan.partial == 0
    assert page.asked == [None, "bytes=1000-", None]
    assert_whole(site, remote, content)


def test_another_size_under_the_same_mark_is_not_believed(site: Site) -> None:
    def shorten(page: Page, nth: int) -> None:
        page.content = CONTENT if nth == 1 else CONTENT[:3000]

    remote, page = site.put(page=Page(cuts=[1000], before=shorten))
    assert "the server contradicts itself" in site.refused(remote)
    assert page.asked == [None, "bytes=1000-", None]
    assert not remote.file.exists()


def test_a_part_without_a_mark_is_not_resumed(site: Site) -> None:
    remote, page = site.put(page=Page(cuts=[1000, 1000], statuses=[200, 200, 404], headers={}, if_range=False))
    site.refused(remote)
    (plan,) = site.fetch(remote)
    assert plan.partial == 0
    assert page.asked == [None] * 4
    assert_whole(site, remote)


def test_a_part_from_another_server_is_not_resumed(site: Site) -> None:
    remote, _ = site.put(page=Page(cuts=[1000], statuses=[200, 404]))
    site.refused(remote)
    mirror, page = site.put("mirror", Page(NEWER[: len(CONTENT)]))
    mirror = Remote(mirror.url, remote.file)
    site.fetch(mirror)
    assert page.asked == [None]
    assert_whole(site, mirror, page.content)


def test_a_date_marks_a_version_too(site: Site) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    remote, page = site.put(page=Page(cuts=[1000], headers={"ETag": 'W/"1"', "Last-Modified": date}))
    site.fetch(remote)
    assert page.gets[1]["If-Range"] == date
    assert_whole(site, remote)


def test_another_part_than_asked_for_is_not_appended(site: Site) -> None:
    remote, page = site.put(page=Page(cuts=[1000], shift=-1000))
    site.fetch(remote)
    assert page.asked == [None, "bytes=1000-", None]
    assert_whole(site, remote)


def test_a_damaged_note_is_no_reason_to_append(site: Site) -> None:
    remote, page = site.put(page=Page(cuts=[1000], statuses=[200, 404]))
    site.refused(remote)
    remote.file.with_name(".tmp-a.nii.gz.json").write_text("{")
    site.fetch(remote)
    assert page.asked[-1] is None
    assert_whole(site, remote)


def test_a_part_longer_than_the_file_is_thrown_away(site: Site) -> None:
    remote, page = site.put(page=Page(cuts=[1000], statuses=[200, 404]))
    site.refused(remote)
    part_of(remote).write_bytes(CONTENT + b"more")
    site.fetch(remote)
    assert page.asked == [None, "bytes=1000-", None]
    assert_whole(site, remote)


def test_a_part_that_is_whole_is_not_asked_for(site: Site) -> None:
    remote, page = site.put(page=Page(cuts=[4999], statuses=[200, 404]))
    site.refused(remote)
    with part_of(remote).open("ab") as part:
        part.write(CONTENT[4999:])
    site.fetch(remote)
    assert len(page.gets) == 2
    assert_whole(site, remote)


def test_a_web_page_is_not_taken_for_the_file(site: Site) -> None:
    html = {"Content-Type": "text/html; charset=utf-8"}
    login, _ = site.put("a.tar.gz", Page(headers=html))
    told = site.refused(login)
    assert "a web page in place of the file" in told
    assert "got:      text/html" in told
    assert "log-in page" in told

    def captured(page: Page, nth: int) -> None:
        page.headers = html

    later, _ = site.put("b.tar.gz", Page(before=captured))
    assert "a web page in place of the file" in site.refused(later)
    assert not login.file.exists()
    assert not later.file.exists()


@pytest.mark.parametrize("heads", [[405], [403], []])
def test_a_server_that_tells_sizes_only_with_content(site: Site, heads: list[int]) -> None:
    page = Page(heads=heads, said=lambda method, length: None if method == "HEAD" else length)
    remote, page = site.put(page=page)
    site.fetch(remote)
    assert page.asked == ["bytes=0-0", None]
    assert_whole(site, remote)


def test_a_server_that_tells_no_size(site: Site) -> None:
    remote, _ = site.put(page=Page(said=lambda method, length: None, chunked=True, ranges=False))
    assert "does not say how large" in site.refused(remote)


def test_a_packed_file_stays_packed(site: Site) -> None:
    packed = gzip.compress(CONTENT)
    remote, _ = site.put(page=Page(packed, headers={"ETag": '"1"', "Content-Encoding": "gzip"}, cuts=[20]))
    site.fetch(remote)
    assert_whole(site, remote, packed)


def test_a_redirect_is_followed_and_names_nothing(site: Site) -> None:
    target, page = site.put("target")
    remote, door = site.put("a.tar.gz", Page(heads=[302], statuses=[302, 302]))
    door.headers = {"Location": target.url}
    page.headers["Content-Disposition"] = 'attachment; filename="../../evil"'
    site.fetch(remote)
    assert_whole(site, remote)


def test_one_failure_does_not_stop_the_others(site: Site) -> None:
    good, _ = site.put("good")
    gone = Remote(f"{site.server.url}/gone", site.root / "sub/gone")
    stuck, _ = site.put("stuck", Page(cuts=[10] + [0] * 20))
    told = site.refused(gone, stuck, good, jobs=1)
    assert told.startswith("2 of 3 files could not be fetched")
    assert str(gone.file) in told
    assert str(stuck.file) in told
    assert str(good.file) not in told
    assert good.file.read_bytes() == CONTENT
    assert list(site.records()) == ["sub/good"]


def test_files_come_side_by_side(site: Site) -> None:
    together = threading.Barrier(3)
    remotes = [site.put(f"{i}", Page(before=lambda page, nth: together.wait(10)))[0] for i in range(3)]
    site.fetch(*remotes, jobs=3)
    assert sorted(site.records()) == ["sub/0", "sub/1", "sub/2"]


def test_a_server_that_is_not_there(site: Site) -> None:
    start = time.monotonic()
    told = site.refused(Remote("http://127.0.0.1:9/a", site.root / "a"), pause=1.0)
    assert "the server cannot be reached" in told
    assert "http://127.0.0.1:9/a" in told
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("url", ["s3://bucket/a", "file:///etc/passwd", "a.nii.gz", "http:///a"])
def test_only_http(url: str) -> None:
    with pytest.raises(InputError, match=re.escape(url)):
        Remote(url, Path("a"))


FETCH = """
import sys
from pathlib import Path
from nbtools.data.fetch.download import fetch
from nbtools.data.fetch.remote import Remote
fetch([Remote(sys.argv[1], Path(sys.argv[2]))], root=Path(sys.argv[3]))
"""


def test_one_process_at_a_time_and_a_killed_one_leaves_what_it_had(site: Site) -> None:
    released = threading.Event()
    remote, page = site.put(page=holding(released))
    part = part_of(remote)
    with subprocess.Popen([sys.executable, "-c", FETCH, remote.url, remote.file, site.root]) as process:
        try:
            _until(lambda: part.exists() and part.stat().st_size == 3 * SLICE)
            told = site.refused(remote)
            assert "another process is at work on this" in told
            assert str(site.root) in told
        finally:
            process.kill()
            process.wait()
            released.set()
    assert process.returncode == -signal.SIGKILL
    assert beside(remote) == [".tmp-a.nii.gz.json", ".tmp-a.nii.gz.part"]
    (plan,) = site.fetch(remote)
    assert plan.partial == 3 * SLICE
    assert page.asked == [None, f"bytes={3 * SLICE}-"]
    assert_whole(site, remote, page.content)


def _until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_a_file_system_without_locks_is_good_enough(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    remote, _ = site.put()
    site.fetch(remote)
    assert_whole(site, remote)


def test_an_interrupt_stops_all_and_loses_nothing(site: Site) -> None:
    def interrupt(file: Path) -> None:
        _until(lambda: part_of(slow).exists() and part_of(slow).stat().st_size > 0)
        raise KeyboardInterrupt

    def slowly() -> Page:
        return Page(bytes(100 * SLICE), during=lambda: time.sleep(0.02))

    slow, page = site.put("slow", slowly())
    quick, _ = site.put("quick")
    waiting, _ = site.put("waiting", slowly())
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        site.fetch(quick, slow, waiting, jobs=2, arrived=interrupt)
    assert time.monotonic() - start < 2
    assert quick.file.exists()
    assert not slow.file.exists()
    assert not waiting.file.exists()
    page.during = lambda: None
    site.fetch(slow)
    assert page.asked[1] is not None
    assert sha256(slow.file.read_bytes()) == sha256(page.content)


def test_the_table_and_a_dry_run(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    small, page = site.put("small")
    large, big = site.put("large", Page(said=lambda method, length: 12_340_000_000))
    site.fetch(small)
    capsys.readouterr()
    plans = site.fetch(small, large, dry_run=True)
    table = capsys.readouterr().out
    assert re.search(r"all +2 +12\.34\nalready there +1 +0\.00\nto fetch +1 +12\.34\nfree disk +\d+\.\d\d\n", table)
    assert [plan.there for plan in plans] == [True, False]
    assert (len(page.gets), len(big.gets)) == (1, 0)


def test_a_dry_run_leaves_no_trace(site: Site) -> None:
    remote, page = site.put()
    site.fetch(remote, dry_run=True)
    assert page.methods == ["HEAD"]
    assert not site.root.exists()


def test_too_little_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(site.root.parent)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage._replace(free=11_000))
    remotes = [site.put(f"{i}")[0] for i in range(3)]
    told = site.refused(*remotes)
    assert "not enough room" in told
    assert str(site.root) in told
    assert not remotes[0].file.parent.exists()
    site.fetch(*remotes, at_once=2, arrived=Path.unlink)


def test_room_is_needed_for_the_rest_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, _ = site.put(page=Page(cuts=[3000], statuses=[200, 404]))
    site.refused(remote)
    usage = shutil.disk_usage(site.root)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage._replace(free=2000))
    site.fetch(remote)
    assert_whole(site, remote)


def test_the_bar_counts_what_is_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []

    class Bar(tqdm):
        def __init__(self, **options: Any):
            super().__init__(**{**options, "disable": False, "file": io.StringIO()})
            bars.append((self, options))

    monkeypatch.setattr("nbtools.data.fetch.download.Bar", Bar)
    resumed, _ = site.put("resumed", Page(cuts=[3000], statuses=[200, 404]))
    site.refused(resumed)
    restarted, _ = site.put("restarted", Page(cuts=[1000], ranges=False))
    site.fetch(resumed, restarted)
    bar, options = bars[-1]
    assert (options["total"], options["initial"]) == (2 * len(CONTENT), 3000)
    assert bar.n == bar.total


def test_no_more_files_than_agreed_lie_there(site: Site) -> None:
    lying, most = set(), []

    def reduce(file: Path) -> None:
        lying.add(file)
        most.append(len(lying))
        time.sleep(0.01)
        lying.remove(file)
        file.unlink()

    site.fetch(*(site.put(f"{i}")[0] for i in range(8)), jobs=4, at_once=2, arrived=reduce)
    assert len(most) == 8
    assert max(most) <= 2


def test_what_arrived_is_consumed_and_not_fetched_again(site: Site) -> None:
    reduced = site.root.parent / "reduced"
    remotes = [site.put(f"{i}") for i in range(2)]

    def reduce(file: Path) -> None:
        assert site.records()[f"sub/{file.name}"]["sha256"] == sha256(file.read_bytes())
        reduced.mkdir(exist_ok=True)
        file.rename(reduced / file.name)

    def have(remote: Remote) -> bool:
        return (reduced / remote.file.name).exists()

    site.fetch(remotes[0][0])  # as by a process killed before it was reduced
    assert len(site.fetch(*(remote for remote, _ in remotes), arrived=reduce, have=have)) == 2
    assert site.fetch(*(remote for remote, _ in remotes), arrived=reduce, have=have) == []
    assert [page.methods for _, page in remotes] == [["HEAD", "GET", "HEAD"], ["HEAD", "GET"]]


def test_a_failing_reduction_is_a_failure_of_its_file(site: Site) -> None:
    def refuse(file: Path) -> None:
        if file.name == "bad":
            raise InputError("no voxels", expected="some", got="none", fix="look")

    told = site.refused(site.put("bad")[0], site.put("good")[0], arrived=refuse)
    assert "1 of 2 files" in told
    assert "no voxels" in told
    assert sorted(site.records()) == ["sub/bad", "sub/good"]


class Full:
    """A file on a disk with room for 1000 bytes."""

    def __init__(self, file: Any):
        self.file = file

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, page = site.put()
    path_open = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = path_open(self, mode, *args, **kwargs)
        return Full(file) if mode == "ab" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        told = site.refused(remote)
    assert "cannot be written" in told
    assert os.strerror(errno.ENOSPC) in told
    assert str(remote.file) in told
    assert "make room" in told
    assert part_of(remote).read_bytes() == CONTENT[:1000]
    site.fetch(remote)
    assert page.asked == [None, "bytes=1000-"]
    assert_whole(site, remote)


def test_a_folder_that_cannot_be_written_to(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, page = site.put()
    site.root.mkdir()
    site.root.chmod(0o500)
    if os.access(site.root, os.W_OK):  # nothing is closed to root
        path_open = Path.open
        denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        def deny(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode != "r":
                raise denied
            return path_open(self, mode, *args, **kwargs)

        monkeypatch.setattr(Path, "open", deny)
    told = site.refused(remote)
    assert "cannot be written" in told
    assert "choose a folder of your own" in told
    assert page.gets == []


def test_a_root_below_a_file(site: Site) -> None:
    remote, _ = site.put()
    site.root.write_bytes(b"")
    assert "cannot be written" in site.refused(remote)


def test_a_proxy_is_used_before_the_environments(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    site.put("behind")
    path = f"/{site.root.parent.name}/behind"
    remote = Remote(f"http://nsd.invalid{path}", site.root / "sub/behind")
    site.fetch(remote, proxy=site.server.url)
    assert [line for line in site.server.lines if "nsd.invalid" in line and path in line] == [
        f"{method} http://nsd.invalid{path} HTTP/1.1" for method in ("HEAD", "GET")
    ]
    assert_whole(site, remote)


def test_the_environments_proxy_is_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", site.server.url)
    site.put("behind")
    remote = Remote(f"http://nsd.invalid/{site.root.parent.name}/behind", site.root / "sub/behind")
    site.fetch(remote)
    assert_whole(site, remote)


def test_a_published_digest(site: Site) -> None:
    right, _ = site.put("right", digest=f"md5:{hashlib.md5(CONTENT).hexdigest()}")
    wrong, page = site.put("wrong", digest=f"md5:{hashlib.md5(NEWER).hexdigest()}")
    told = site.refused(right, wrong)
    assert f"expected: md5 {hashlib.md5(NEWER).hexdigest()}" in told
    assert f"got:      md5 {hashlib.md5(CONTENT).hexdigest()}" in told
    assert beside(right) == ["right"]
    assert list(site.records()) == ["sub/right"]
    page.content = NEWER
    site.fetch(wrong)
    assert page.asked == [None, None]


def test_a_digest_covers_what_was_there_before(site: Site) -> None:
    remote, _ = site.put(page=Page(cuts=[1000], statuses=[200, 404]), digest=f"sha256:{sha256(CONTENT)}")
    site.refused(remote)
    with part_of(remote).open("r+b") as part:
        part.write(b"\xff")
    assert "not the published one" in site.refused(remote)
    site.fetch(remote)
    assert_whole(site, remote)


def test_a_file_that_was_not_recorded_is_read_once(site: Site) -> None:
    remote, page = site.put()
    remote.file.parent.mkdir(parents=True)
    remote.file.write_bytes(CONTENT)
    site.fetch(remote)
    assert page.gets == []
    assert_whole(site, remote)
    remote.file.write_bytes(NEWER[: len(CONTENT)])  # of the right size: recorded, so not read again
    assert site.fetch(remote)[0].there
    assert site.records()["sub/a.nii.gz"]["sha256"] == sha256(CONTENT)


def test_a_file_of_other_origin_is_not_touched(site: Site) -> None:
    remote, _ = site.put()
    remote.file.parent.mkdir(parents=True)
    remote.file.write_bytes(b"mine")
    told = site.refused(remote)
    assert "another file is in its place" in told
    assert f"expected: {len(CONTENT)} bytes" in told
    assert "got:      4 bytes" in told
    assert remote.file.read_bytes() == b"mine"
    forged, _ = site.put("b", digest=f"sha256:{sha256(NEWER)}")
    forged.file.write_bytes(CONTENT)
    assert "not the published one" in site.refused(forged)
    assert forged.file.exists()


def test_a_file_damaged_since(site: Site) -> None:
    remote, _ = site.put()
    site.fetch(remote)
    remote.file.write_bytes(CONTENT[:-1])
    told = site.refused(remote)
    assert "damaged or was changed" in told
    assert "delete it and fetch again" in told
    remote.file.unlink()
    site.fetch(remote)
    assert_whole(site, remote)


@pytest.mark.parametrize(("content", "etag"), [(CONTENT, '"2"'), (NEWER, '"1"')])
def test_a_file_changed_on_the_server_since(site: Site, content: bytes, etag: str) -> None:
    remote, page = site.put()
    site.fetch(remote)
    page.content, page.headers = content, {"ETag": etag}
    told = site.refused(remote)
    assert "has changed since it was fetched" in told
    assert CHECKSUMS in told
    assert remote.file.read_bytes() == CONTENT
    remote.file.unlink()
    (site.root / CHECKSUMS).write_text("{}")
    site.fetch(remote)
    assert_whole(site, remote, content)


def test_another_mirror_marks_versions_otherwise(site: Site) -> None:
    remote, _ = site.put()
    site.fetch(remote)
    mirror, page = site.put("mirror", Page(headers={"ETag": '"other"'}))
    site.fetch(Remote(mirror.url, remote.file))
    assert page.gets == []
    page.content = NEWER
    assert "has changed" in site.refused(Remote(mirror.url, remote.file))


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"size": 3}}'])
def test_a_damaged_record(site: Site, text: str) -> None:
    remote, page = site.put()
    site.fetch(remote)
    (site.root / CHECKSUMS).write_text(text)
    assert CHECKSUMS in site.refused(remote)
    (site.root / CHECKSUMS).unlink()
    site.fetch(remote)
    assert len(page.gets) == 1
    assert_whole(site, remote)


def test_threads_record_at_the_same_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    remotes = [Remote("http://nsd.invalid/a", tmp_path / str(i)) for i in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda remote: ledger.add(remote, Version(1, ""), ""), remotes))
    assert len(Ledger(tmp_path).entries) == 100


def test_verify_finds_what_is_wrong(site: Site) -> None:
    remotes = [site.put(name)[0] for name in ("fine", "flipped", "gone", "short")]
    site.fetch(*remotes)
    _, flipped, gone, short = (remote.file for remote in remotes)
    flipped.write_bytes(CONTENT[:77] + bytes([CONTENT[77] ^ 1]) + CONTENT[78:])
    gone.unlink()
    short.write_bytes(CONTENT[:-1])
    problems = dict(verify(site.root))
    assert problems.keys() == {flipped, gone, short}
    assert f"in place of {sha256(CONTENT)}" in problems[flipped]
    assert problems[gone] == "missing"
    assert problems[short] == "4999 bytes in place of 5000"


def test_nsd_is_where_its_manual_says(tmp_path: Path) -> None:
    bucket = "https://natural-scenes-dataset.s3.amazonaws.com/"
    files = catalogue.nsd_files(tmp_path, 3)
    sessions = catalogue.nsd_sessions(tmp_path, 3, [1, 32], ending=".hdf5", betas="betas_assumehrf")
    remotes = [*files, *sessions, catalogue.stimuli_file(tmp_path)]
    assert [remote.url.removeprefix(bucket) for remote in remotes] == [
        "nsddata/experiments/nsd/nsd_expdesign.mat",
        "nsddata/ppdata/subj03/func1pt8mm/roi/Kastner2015.nii.gz",
        "nsddata/ppdata/subj03/func1pt8mm/roi/nsdgeneral.nii.gz",
        "nsddata/ppdata/subj03/func1pt8mm/roi/prf-visualrois.nii.gz",
        "nsddata/ppdata/subj03/func1pt8mm/roi/streams.nii.gz",
        "nsddata/ppdata/subj03/func1pt8mm/roi/floc-faces.nii.gz",
        "nsddata/ppdata/subj03/func1pt8mm/roi/floc-places.nii.gz",
        "nsddata/ppdata/subj03/func1pt8mm/roi/floc-bodies.nii.gz",
        "nsddata/ppdata/subj03/func1pt8mm/roi/floc-words.nii.gz",
        "nsddata_betas/ppdata/subj03/func1pt8mm/betas_assumehrf/betas_session01.hdf5",
        "nsddata_betas/ppdata/subj03/func1pt8mm/betas_assumehrf/betas_session32.hdf5",
        "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
    ]
    assert all(remote.file == tmp_path / remote.url.removeprefix(bucket) for remote in remotes)


@pytest.mark.parametrize(("subject", "session"), [(1, 41), (3, 33), (8, 31), (1, 0), (9, 1), (0, 1)])
def test_a_session_nobody_was_scanned_in(subject: int, session: int) -> None:
    with pytest.raises(InputError):
        catalogue.nsd_sessions(Path(), subject, [1, session])


@pytest.mark.parametrize("base", ["http://mirror.example/nsd", "http://mirror.example/nsd/"])
def test_a_mirror(base: str) -> None:
    (design, *_) = catalogue.nsd_files(Path("d"), 1, base=base)
    assert design.url == "http://mirror.example/nsd/nsddata/experiments/nsd/nsd_expdesign.mat"
    assert (
        catalogue.archive_file("cifar-100", Path("d"), base=base).url
        == "http://mirror.example/nsd/cifar-100-binary.tar.gz"
    )
    assert catalogue.archive_file("cue-conflict", Path("d"), base=base).file == Path("d/cue-conflict.tar.gz")


def test_an_archive_comes_from_a_mirror_and_is_unpacked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[tuple[Path, Path]] = []
    monkeypatch.setattr(obtain, "unpack_cue_conflict", lambda *paths: unpacked.append(paths))
    content = gzip.compress(CONTENT)
    remote, _ = site.put("cue-conflict.tar.gz", Page(content))
    route = obtain.Route(mirror=remote.url.rsplit("/", 1)[0], dry_run=True)
    obtain.obtain_cue_conflict(site.root / "images", route)
    assert not site.root.exists()
    obtain.obtain_cue_conflict(site.root / "images", replace(route, dry_run=False))
    assert unpacked == [(site.root / "cue-conflict.tar.gz", site.root / "images")]
    assert unpacked[0][0].read_bytes() == content


@pytest.mark.parametrize("source", catalogue.TERMS)
def test_terms_say_whom_to_cite(source: str) -> None:
    assert "Cite: " in catalogue.TERMS[source]
    assert max(map(len, catalogue.TERMS[source].splitlines())) <= 120
