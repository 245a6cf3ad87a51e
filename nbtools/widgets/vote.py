"""A vote of a room: phones open a page and choose, the lectern's page counts; the server gives nothing else."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tornado.web import Application, HTTPError, RequestHandler

from nbtools.checks import check_enough, reading

_PAGE = (Path(__file__).parent / "vote.html").read_text(encoding="utf-8")
_VOTER = "voter"  # cookie: one vote a browser, the last one counts
MAX_VOTERS = 2000  # a room, and not whoever fills the memory


class Ballot:
    """A question, its options, and what each browser chose.

    Parameters
    ----------
    question : str
    options : sequence of str
        Two at least, each once; blanks around and between their words do not count.

    Raises
    ------
    InputError
        If there is nothing to choose from.
    """

    def __init__(self, question: str, options: Sequence[str]):
        named = (" ".join(option.split()) for option in options)  # as a form sends them back
        self.question, self.options = question, list(dict.fromkeys(filter(None, named)))
        check_enough("there is nothing to choose from", len(self.options), 2, fix="name two options or more")
        self.chosen: dict[str, str] = {}

    def count(self) -> dict[str, int]:
        """Return the votes for each option."""
        votes = Counter(self.chosen.values())
        return {option: votes[option] for option in self.options}


class _Page(RequestHandler):
    def initialize(self, ballot: Ballot, lectern: bool) -> None:
        self.ballot, self.lectern = ballot, lectern

    def get(self) -> None:
        if not self.get_cookie(_VOTER):
            self.set_cookie(_VOTER, secrets.token_urlsafe(12), httponly=True, samesite="Strict")
        told = {"question": self.ballot.question, "options": self.ballot.options, "lectern": self.lectern}
        self.set_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'")
        self.finish(_PAGE.replace("null /* told */", json.dumps(told).replace("<", "\\u003c")))


class _Vote(RequestHandler):
    def initialize(self, ballot: Ballot) -> None:
        self.ballot = ballot

    def post(self) -> None:
        voter, option = self.get_cookie(_VOTER), self.get_body_argument("option")
        chosen = self.ballot.chosen
        if not voter or option not in self.ballot.options or (voter not in chosen and len(chosen) >= MAX_VOTERS):
            raise HTTPError(400, "open the page first, and choose one of its options")
        chosen[voter] = option
        self.finish({"voted": option})


class _Count(RequestHandler):
    def initialize(self, ballot: Ballot) -> None:
        self.ballot = ballot

    def get(self) -> None:
        self.finish({"count": self.ballot.count()})


def application(ballot: Ballot, token: str) -> Application:
    """Return the server's pages: ``/`` for the room, ``/<token>/`` and its count for the lectern."""
    return Application(
        [
            ("/", _Page, {"ballot": ballot, "lectern": False}),
            ("/vote", _Vote, {"ballot": ballot}),
            (f"/{token}/", _Page, {"ballot": ballot, "lectern": True}),
            (f"/{token}/count", _Count, {"ballot": ballot}),
        ]
    )


def hold_vote(ballot: Ballot, port: int, *, room: bool) -> None:
    """Serve a vote until Ctrl-C, then print its count.

    Parameters
    ----------
    ballot : Ballot
    port : int
    room : bool
        Whether other machines of the network may vote; else this one alone.

    Raises
    ------
    InputError
        If the port is taken, or not for everybody to take.
    """
    token = secrets.token_urlsafe(12)
    asyncio.run(_serve(application(ballot, token), port, token, room=room))
    print("\n".join(f"{votes:5}  {option}" for option, votes in ballot.count().items()))


async def _serve(pages: Application, port: int, token: str, *, room: bool) -> None:
    fix = "name another one, such as --port 8899, or end what serves there"
    with reading(f"no vote can be held at port {port}", OSError, expected="a free port, from 1024 on", fix=fix):
        server = pages.listen(port, "0.0.0.0" if room else "127.0.0.1", max_body_size=10_000)
    print(f"the room votes at  http://{_address() if room else '127.0.0.1'}:{port}/")
    print(f"the lectern counts at  http://127.0.0.1:{port}/{token}/\nCtrl-C ends the vote.", flush=True)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        server.stop()


def _address() -> str:
    """Return this machine's address in its network: where a packet to elsewhere would come from; none is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
