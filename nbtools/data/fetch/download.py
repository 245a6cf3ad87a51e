"""Fetch many large files: announced first, side by side, each checked and recorded so that it can be verified later."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

import requests

from nbtools.data.fetch.checksums import CHECKSUMS, Ledger, check_content, digests_of
from nbtools.data.fetch.remote import AGAIN, Remote, Version, announced, open_session, troubles_told
from nbtools.data.fetch.resume import Line, kept, transfer
from nbtools.errors import InputError
from nbtools.files import free_space, locked, require_space
from nbtools.processes import Bar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Planned:
    """What the server says of a file, and what there is of it.

    Attributes
    ----------
    remote : Remote
        The file.
    version : Version
        The one the server has now.
    there : bool
        Whether the whole file lies in its place.
    partial : int
        Bytes there are of it, if not.
    """

    remote: Remote
    version: Version
    there: bool
    partial: int


def fetch(
    remotes: Sequence[Remote],
    *,
    root: Path,
    jobs: int = 4,
    proxy: str | None = None,
    dry_run: bool = False,
    arrived: Callable[[Path], None] | None = None,
    have: Callable[[Remote], bool] | None = None,
    at_once: int | None = None,
    unpacked: float = 0.0,
    pause: float = 1.0,
) -> list[Planned]:
    """Fetch files, after printing how large they are and how much room there is.

    Parameters
    ----------
    remotes : sequence of Remote
        The files, all below `root`.
    root : Path
        Holds the record of what was fetched. One process at a time fetches into it.
    jobs : int
        Files fetched at the same time.
    proxy : str, optional
        For both http and https. Without it, that of the environment is used.
    dry_run : bool
        Print, and stop there.
    arrived : callable, optional
        Called with each file that is there and recorded, also where an earlier run fetched it, in one of `jobs`
        threads. It may delete the file.
    have : callable, optional
        Says of a file that it is no longer needed, as what `arrived` made of it is there.
    at_once : int, optional
        How many of the files lie on the disk at the same time, where `arrived` deletes them. None: all.
    unpacked : float
        How large what is made of the files is, in parts of their size: told, and asked for, with those to be fetched.
    pause : float
        Seconds before a broken transfer goes on; doubled each time.

    Returns
    -------
    list of Planned
        What there was of each file before, in the order of `remotes`, without those that `have` knows.

    Raises
    ------
    InputError
        If files could not be fetched: one error for all of them, once the others are there. Before anything is
        fetched, if there is too little room, the record is damaged, or another process fetches into this root.
    """
    root = root.absolute()
    remotes = list(dict.fromkeys(remotes))
    wanted = [remote for remote in remotes if have is None or not have(remote)]
    with open_session(proxy, jobs, pause) as session, nullcontext() if dry_run else locked(root / "fetch", patience=0):
        ledger = Ledger(root)
        plans, failures = _each(partial(_look, session, ledger), wanted, jobs, Event())
        more = round(unpacked * sum(plan.version.size for plan in plans if not plan.there))
        print(_table(plans, len(remotes), len(remotes) - len(wanted), more, free_space(root)))
        if not dry_run:
            require_space(root, sum(_missing(plans)[:at_once]) + more)
            with _bar(plans) as advance:
                line = Line(session, pause, advance, Event())
                deliver = partial(_deliver, line, ledger, arrived)
                failures += _each(deliver, plans, min(jobs, at_once or jobs), line.stop)[1]
    if failures:
        raise InputError(
            f"{len(failures)} of {len(remotes)} files could not be fetched",
            expected="every file, whole",
            got="".join(f"\n\n{textwrap.indent(str(error), '    ')}" for error in failures) + "\n",
            fix=AGAIN,
        )
    return plans


def _each(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, stop: Event
) -> tuple[list[Result], list[InputError]]:
    """Do the work for each item in threads; return results and failures."""
    results, failures = [], []
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                try:
                    results.append(future.result())
                except InputError as error:
                    failures.append(error)
        except BaseException:  # an interrupt, or a mistake in the program: nobody waits for the rest
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results, failures


def _look(session: requests.Session, ledger: Ledger, remote: Remote) -> Planned:
    """Compare what the server announces with what was recorded and what is there."""
    with troubles_told(remote.file, remote.url):
        version = announced(remote, session)
        entry = ledger.get(remote)
        if entry:
            _check_unchanged(remote, entry, version)
        there = remote.file.exists()
        if there and (found := remote.file.stat().st_size) != version.size:
            raise InputError(
                "the file is damaged or was changed" if entry else "another file is in its place",
                file=remote.file,
                expected=f"{version.size} bytes",
                got=f"{found} bytes",
                fix="delete it and fetch again",
            )
        return Planned(remote, version, there, 0 if there else kept(remote, version))


def _check_unchanged(remote: Remote, entry: dict[str, Any], version: Version) -> None:
    # Only the same server marks the same version alike.
    another = remote.url == entry["url"] and version.stamp != entry["etag"]
    if another or version.size != entry["size"]:
        raise InputError(
            "the file on the server has changed since it was fetched",
            file=remote.file,
            expected=f"{entry['size']} bytes, version {entry['etag']}",
            got=f"{version.size} bytes, version {version.stamp}",
            fix=f"to have the new one, delete the file and its entry in {CHECKSUMS}, and fetch again",
        )


def _deliver(line: Line, ledger: Ledger, arrived: Callable[[Path], None] | None, plan: Planned) -> None:
    remote = plan.remote
    with troubles_told(remote.file, remote.url):
        if not plan.there:
            ledger.add(remote, *transfer(remote, plan.version, line))
        elif not ledger.get(remote):  # put there by other hands, or by a process killed before it was recorded
            digests = digests_of(remote.file, remote)
            check_content(remote, remote.file, digests)
            ledger.add(remote, plan.version, digests["sha256"].hexdigest())
    if arrived:
        arrived(remote.file)


@contextmanager
def _bar(plans: Sequence[Planned]) -> Iterator[Callable[[int], None]]:
    """Show one bar for all files; give what moves it."""
    total = sum(plan.version.size for plan in plans if not plan.there)
    had, lock = sum(plan.partial for plan in plans), Lock()
    with Bar(desc="fetch", total=total, initial=had, unit="B", unit_scale=True) as bar:

        def advance(n: int) -> None:
            with lock:
                bar.update(n)

        yield advance


def _missing(plans: Sequence[Planned]) -> list[int]:
    """Bytes still to come of each file, most first."""
    return sorted((plan.version.size - plan.partial for plan in plans if not plan.there), reverse=True)


def _table(plans: Sequence[Planned], n_files: int, n_had: int, unpacked: int, free: int) -> str:
    there, missing = [plan.version.size for plan in plans if plan.there], _missing(plans)
    total = sum(plan.version.size for plan in plans)
    rows = [
        ("all", n_files, total),
        ("already there", len(there) + n_had, total - sum(missing)),
        ("to fetch", len(missing), sum(missing)),
        *[("to unpack", "", unpacked)] * bool(unpacked),
        ("free disk", "", free),
    ]
    lines = (f"{name:15}{n:>6}{n_bytes / 1e9:>10.2f}" for name, n, n_bytes in rows)
    return "\n".join([f"{'':15}{'files':>6}{'GB':>10}", *lines])
