"""Zip archives read file by file, encrypted ones too.

Python's zipfile decrypts two megabytes a second, and what patches it to be faster does so for the whole process. The
cipher is ten lines (PKWARE's APPNOTE, 6.1), which numba makes some twenty times as fast. It keeps nothing secret
today: a password is a publisher's way to have terms read.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache, cached_property, partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from nbtools.errors import InputError

BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, LookupError, struct.error)
_HEADER = struct.Struct("<4s22xHH")  # before a file: signature; lengths of its name and of what follows that
_SALT = 12  # bytes before an encrypted file's own, of which the last is known
_ENCRYPTED, _STREAMED = 1, 8  # flags; with the second, the known byte is not of the checksum but of the time
_CRC = np.array([zlib.crc32(bytes([i]), 2**32 - 1) ^ (2**32 - 1) for i in range(256)], np.uint32)


class Member(NamedTuple):
    """An entry of an archive: its name, its bytes, and whether it is a folder, or a file and nothing else."""

    name: str
    size: int
    is_folder: bool
    is_file: bool


def zip_members(raw: IO[bytes], password: bytes | None, archive: Path) -> Iterator[tuple[Member, IO[bytes]]]:
    """Give the entries of a zip archive, and what to read each from; what is not read is not decrypted.

    Raises
    ------
    InputError
        If another password opens it.
    zipfile.BadZipFile, RuntimeError or another of `BROKEN`
        If it is damaged, or encrypted and no password given.
    """
    with zipfile.ZipFile(raw) as tree:
        for entry in tree.infolist():
            usual = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            unlinked = stat.S_IFMT(entry.external_attr >> 16) in (0, stat.S_IFREG)
            is_file = usual and unlinked and not entry.is_dir()
            member = Member(entry.filename, entry.file_size, entry.is_dir(), is_file)
            if not is_file:
                yield member, io.BytesIO()
            elif password and entry.flag_bits & _ENCRYPTED:
                yield member, _Late(partial(_decrypted, raw, entry, password, archive))  # type: ignore[misc]
            else:
                yield member, tree.open(entry)


class _Late(io.RawIOBase):
    """A stream whose bytes are made when the first is read."""

    def __init__(self, make: Callable[[], bytes]):
        self._make = make

    @cached_property
    def _made(self) -> io.BytesIO:
        return io.BytesIO(self._make())

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._made.readinto(buffer)


def _decrypted(raw: IO[bytes], entry: zipfile.ZipInfo, password: bytes, archive: Path) -> bytes:
    """Read one file whole: pictures are small."""
    raw.seek(entry.header_offset)
    signature, name, more = _HEADER.unpack(raw.read(_HEADER.size))
    raw.seek(name + more, io.SEEK_CUR)
    most = 2 * entry.file_size + 2**16  # whatever the archive says: memory is taken for it at once
    data = np.frombuffer(bytearray(raw.read(min(entry.compress_size, most))), np.uint8)
    if signature != b"PK\x03\x04" or len(data) != max(entry.compress_size, _SALT):
        raise zipfile.BadZipFile(f"{entry.filename} is not where it should be")
    _cipher()(data, np.frombuffer(password, np.uint8), _CRC)
    _, _, _, hour, minute, _ = entry.date_time
    if data[_SALT - 1] != (hour << 3 | minute >> 3 if entry.flag_bits & _STREAMED else entry.CRC >> 24):
        raise InputError(
            "the archive is encrypted with another password",
            file=archive,
            expected="the archive as published, which opens with the published password",
            got=f"{entry.filename}, which does not",
            fix="delete it, and fetch it from its original source",
        )
    content = data[_SALT:].tobytes()
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, entry.file_size + 1)
    if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
        raise zipfile.BadZipFile(f"{entry.filename} has another checksum")
    return content


@cache
def _cipher() -> Callable[..., None]:
    from numba import njit  # seldom needed, and slow to import

    return njit(_decrypt)


def _decrypt(data: np.ndarray, password: np.ndarray, crc: np.ndarray) -> None:
    """Decrypt bytes in their place: the password stirs three keys, then each byte does that the keys gave."""
    word = np.uint32
    k0, k1, k2 = word(0x12345678), word(0x23456789), word(0x34567890)
    n = len(password)
    for i in range(n + len(data)):
        if i < n:
            byte = password[i]
        else:
            k = (k2 | word(2)) & word(0xFFFF)
            byte = data[i - n] ^ np.uint8((k * (k ^ word(1))) >> word(8))
            data[i - n] = byte
        k0 = crc[(k0 ^ byte) & word(0xFF)] ^ (k0 >> word(8))
        k1 = word((k1 + (k0 & word(0xFF))) * word(134775813) + word(1))
        k2 = crc[(k2 ^ (k1 >> word(24))) & word(0xFF)] ^ (k2 >> word(8))
