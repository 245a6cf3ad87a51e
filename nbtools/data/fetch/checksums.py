"""Digests of files, and the record of what was fetched: ``checksums.json`` in the root of the data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from threading import Lock
from typing import Any

from nbtools.checks import reading
from nbtools.data.fetch.remote import Remote, Version
from nbtools.data.kinds import check_kind, read_head
from nbtools.errors import InputError
from nbtools.files import write_text
from nbtools.processes import Bar

CHECKSUMS = "checksums.json"
_CHUNK = 2**20


def digests_of(file: Path, remote: Remote | None = None) -> dict[str, Any]:
    """Read a file into digests, as `new_digests` chooses them."""
    digests = new_digests(remote)
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    return digests


def new_digests(remote: Remote | None) -> dict[str, Any]:
    """Return digests of nothing yet, by name: sha256, and what the file's publisher uses."""
    names = {"sha256", *(remote.digest.split(":")[:1] if remote and remote.digest else [])}
    return {name: hashlib.new(name, usedforsecurity=False) for name in names}


def check_content(remote: Remote, file: Path, digests: dict[str, Any]) -> None:
    """Look at what came, which lies in `file`: raise `InputError` if it is of another kind or has another digest."""
    check_kind(read_head(file), remote.kinds, remote.file)
    name, _, published = (remote.digest or "").partition(":")
    if name and (got := digests[name].hexdigest()) != published.lower():
        raise InputError(
            "the file is not the published one",
            file=remote.file,
            expected=f"{name} {published}",
            got=f"{name} {got}",
            fix="delete it if it is there, and fetch it again; if this repeats, the server's copy is another",
        )


class Ledger:
    """The record of what was fetched into a root, written down after each file.

    Raises
    ------
    InputError
        If there is one that cannot be read.
    """

    def __init__(self, root: Path):
        self.root, self.lock = root, Lock()
        self.entries = _read_entries(root / CHECKSUMS)

    def get(self, remote: Remote) -> dict[str, Any] | None:
        """Return a file's ``sha256``, ``size``, ``etag`` and ``url``, None if it was never fetched."""
        return self.entries.get(self._name(remote))

    def add(self, remote: Remote, version: Version, sha256: str) -> None:
        """Record a file that is whole; threads may do so at the same time."""
        with self.lock:
            entry = {"sha256": sha256, "size": version.size, "etag": version.stamp, "url": remote.url}
            self.entries[self._name(remote)] = entry
            write_text(self.root / CHECKSUMS, json.dumps(self.entries, indent=1, sort_keys=True) + "\n")

    def _name(self, remote: Remote) -> str:
        return remote.file.absolute().relative_to(self.root).as_posix()


def _read_entries(file: Path) -> dict[str, dict[str, Any]]:
    with reading(
        "the record of what was fetched cannot be read",
        *(OSError, ValueError, TypeError, AttributeError),
        file=file,
        expected="JSON: sha256, size, etag and url of each file",
        fix="delete it: files that are there will be read once and recorded again",
    ):
        entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not all({"sha256", "size", "etag", "url"} <= set(entry) for entry in entries.values()):
            raise ValueError("an entry is incomplete")
        return entries


def verify(root: Path) -> list[tuple[Path, str]]:
    """Read every recorded file again; return those that are not as they came, each with what is wrong.

    Raises
    ------
    InputError
        If the record is damaged.
    """
    problems = []
    entries = Ledger(root).entries
    for name, entry in Bar(entries.items(), desc="verify", unit="file", leave=False):
        file = root / name
        if not file.is_file():
            problems.append((file, "missing"))
        elif (size := file.stat().st_size) != entry["size"]:
            problems.append((file, f"{size} bytes in place of {entry['size']}"))
        elif (sha256 := digests_of(file)["sha256"].hexdigest()) != entry["sha256"]:
            problems.append((file, f"sha256 {sha256} in place of {entry['sha256']}"))
    return problems
