"""What a file is by its first bytes, whatever it is called, and what it should be by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nbtools.checks import reading
from nbtools.errors import InputError

HEAD = 1024  # bytes that tell
ARCHIVES = ("a zip archive", "a gzip file", "a tar archive")
# Where such files begin, with what, and what they are. HDF5 and MATLAB 7.3, which is HDF5, are read alike.
_SIGNATURES = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"MATLAB 7.3 MAT-file", "an HDF5 file"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive"),  # of nothing
    (0, b"\x1f\x8b", "a gzip file"),
    (257, b"ustar", "a tar archive"),
)
_NOTES = (
    (rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body|meta|title|script)\b", "a web page"),
    (rb"(\xef\xbb\xbf)?\s*<\?xml\b", "a message in XML"),
    (rb"[\w./-]*annex/objects/", "a git-annex pointer"),
    (rb"version https://git-lfs", "a Git LFS pointer"),
)
_FIXES = {
    "a git-annex pointer": "this address gives the place of the file, not the file: take it from another, by --mirror, "
    "or with a browser, and put it there",
    "a web page": "a network's log-in page or a proxy may be in between: open the address in a browser; then run the "
    "same command again",
}
_FIXES["a Git LFS pointer"] = _FIXES["a git-annex pointer"]
_ENDINGS = {
    (".nii.gz",): ("a gzip file",),
    (".h5", ".hdf5"): ("an HDF5 file",),
    (".mat",): ("an HDF5 file", "a MATLAB file"),
    (".zip", ".tar", ".tar.gz"): ARCHIVES,
    (".tsv", ".csv"): ("text",),
}


def kind_of(head: bytes) -> str:
    """Say what a file is that begins with these bytes (`HEAD` of them or more, or all there are)."""
    for start, signature, kind in _SIGNATURES:
        if head[start:].startswith(signature):
            return kind
    for pattern, kind in _NOTES:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return kind
    return "unknown data" if b"\0" in head else "text"


def read_head(file: Path) -> bytes:
    """Read the bytes that tell what a file is; raise `InputError` if there is no such file."""
    expected, fix = "a file that may be read", "correct the path, or fetch the file"
    with reading("the file cannot be opened", OSError, file=file, expected=expected, fix=fix), file.open("rb") as raw:
        return raw.read(HEAD)


def kinds_by_name(name: str) -> tuple[str, ...]:
    """Return what a file of this name may be, by its ending; nothing where the ending does not tell."""
    return next((kinds for endings, kinds in _ENDINGS.items() if name.endswith(endings)), ())


def check_kind(head: bytes, kinds: Sequence[str], file: Path) -> None:
    """Raise `InputError` unless a file that begins so is of one of these kinds; where none is named, of any."""
    kind = kind_of(head)
    if kinds and kind not in kinds:
        begins = head[:60].decode("ascii", "replace").strip() if kind != "unknown data" else head[:8].hex(" ")
        raise InputError(
            f"what came is not the file, but {kind}",
            file=file,
            expected=" or ".join(kinds),
            got=f"{kind}, which begins with {begins!r}",
            fix=_FIXES.get(kind, "another address or mirror may have it; then run the same command again"),
        )
