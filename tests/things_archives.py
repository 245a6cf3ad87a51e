"""Archives and tables as THINGS and THINGS-fMRI publish them, small, of simulated content."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from things_files import COLUMNS, PAIRED

PASSWORD = b"things4all"
CRC = [zlib.crc32(bytes([i]), 2**32 - 1) ^ (2**32 - 1) for i in range(256)]


def encrypted(content: bytes, password: bytes, known: int) -> bytes:
    """Encrypt as PKWARE's APPNOTE 6.1 has it, byte by byte: twelve bytes go before, the last of them known."""
    keys, out = [0x12345678, 0x23456789, 0x34567890], bytearray()

    def stir(byte: int) -> None:
        keys[0] = CRC[(keys[0] ^ byte) & 255] ^ keys[0] >> 8
        keys[1] = (keys[1] + (keys[0] & 255)) * 134775813 + 1 & 2**32 - 1
        keys[2] = CRC[(keys[2] ^ keys[1] >> 24) & 255] ^ keys[2] >> 8

    for byte in password:
        stir(byte)
    for byte in bytes(range(11)) + bytes([known]) + content:
        k = keys[2] & 0xFFFF | 2
        out.append(byte ^ (k * (k ^ 1) >> 8 & 255))
        stir(byte)
    return bytes(out)


def encrypted_zip(
    files: Mapping[str, bytes], password: bytes = PASSWORD, *, deflate: bool = True, streamed: bool = False
) -> bytes:
    """A traditional encrypted zip; `streamed` as programs write it that learn the checksum last."""
    body, listing = b"", b""
    for name, content in files.items():
        raw, flags, crc = name.encode(), 1 | 8 * streamed | 0x800, zlib.crc32(content)
        pack = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = pack.compress(content) + pack.flush() if deflate else content
        time, date = 13 << 11 | 37 << 5 | 3, (2019 - 1980) << 9 | 10 << 5 | 15
        packed = encrypted(packed, password, time >> 8 if streamed else crc >> 24)
        fields = (20, flags, 8 * deflate, time, date, crc, len(packed), len(content), len(raw), 0)
        entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, *fields, 0, 0, 0, 0, len(body))
        listing += entry + raw
        body += struct.pack("<4s5H3L2H", b"PK\3\4", *fields) + raw + packed
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(files), len(files), len(listing), len(body), 0)
    return body + listing + end


def plain_zip(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as tree:
        for name, content in files.items():
            tree.writestr(name, content)
    return out.getvalue()


def tar(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tree:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tree.addfile(member, io.BytesIO(content))
    return out.getvalue()


# --- THINGS-fMRI ----------------------------------------------------------------------------------------------


def voxel_table(ids: np.ndarray, regions: Mapping[str, Sequence[int]], *, spelled: str = "LO1 (prf)") -> pd.DataFrame:
    """The table of voxels: `regions` says which rows belong to which column."""
    spelling = {f"LO{part}": spelled.replace("1", part) for part in "12"}
    paired = [f"{side}{name}" for name in PAIRED for side in "lr"]
    names = [spelling.get(name, name) for name in COLUMNS]
    table = pd.DataFrame({"voxel_id": ids, "subject_id": 1, "nc_testset": np.linspace(0, 60, len(ids))})
    for name in [*names, *paired, "glasser-V1"]:
        table[name] = np.isin(np.arange(len(ids)), regions.get(name, ())).astype(int)
    return table


def write_responses(
    file: Path,
    ids: np.ndarray,
    responses: np.ndarray,
    *,
    chunks: tuple[int, int] | None = None,
    names: np.ndarray | None = None,
) -> None:
    """The table of responses in the fixed format of pandas: a block of columns for each type, with their names."""
    names = np.arange(responses.shape[1]).astype("S") if names is None else names
    with h5py.File(file, "w") as tree:
        tree.attrs["simulated"] = True
        group = tree.create_group("ResponseData")
        group.attrs["pandas_type"], group.attrs["nblocks"] = "frame", 2
        group["axis0"] = np.concatenate([[b"voxel_id"], np.arange(responses.shape[1]).astype("S")])
        group["axis1"] = np.arange(len(ids))
        group["block0_items"] = names
        options = {"chunks": chunks, "compression": "gzip"} if chunks else {}
        group.create_dataset("block0_values", data=responses, **options)
        group["block1_items"] = np.array([b"voxel_id"])
        group["block1_values"] = ids[:, None]


def pickled_names(file: Path) -> None:
    """Turn the names of the columns into what pandas makes of names of mixed types: a pickle."""
    with h5py.File(file, "r+") as tree:
        del tree["ResponseData/block0_items"]
        kind = h5py.vlen_dtype(np.uint8)
        stored = tree.create_dataset("ResponseData/block0_items", (1,), kind)
        stored[0] = np.frombuffer(b"\x80\x04cos\nsystem\n", np.uint8)
